"""Sets in COCO's layout: one to read, one to change."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.coco import small_coco


@pytest.fixture(scope="package")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_coco.write(tmp_path_factory.mktemp("data") / "coco")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A set that may be changed."""
    return small_coco.write(tmp_path / "coco", train=4, val=2)
