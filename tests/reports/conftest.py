"""A run whose report is drawn."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest

import pdiff
from pdiff_plugins.reports.reports import Html
from tests.reports.helpers import RECIPE


@pytest.fixture(scope="package")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    (folder / "tiny.toml").write_text(RECIPE)
    return pdiff.run(folder / "tiny.toml", set={"run.out": str(folder / "runs"), "run.device": "cpu"}, quiet=True)


@pytest.fixture(scope="package")
def original(run):
    """The view as the pipeline gives it."""
    return run.pipeline.view(run.scores)


@pytest.fixture
def view(original):
    return replace(original, scores=copy.deepcopy(original.scores))


@pytest.fixture(scope="package")
def rendered(original, tmp_path_factory):
    return Html().render(original, tmp_path_factory.mktemp("html"))
