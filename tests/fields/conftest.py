"""Shapes that several tests read."""

from __future__ import annotations

import pytest

from pdiff.context import Context
from tests.fields.helpers import SMALL


@pytest.fixture(scope="package")
def data():
    return SMALL.load(Context(seed=0))
