from __future__ import annotations

import pytest

from pdiff.runs import Run
from tests.reading.running import finished


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run of 120 varied networks, read by statistics."""
    return finished(tmp_path_factory.mktemp("reading"))
