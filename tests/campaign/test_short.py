"""The campaigns of kills and of a disk that refuses, a handful of trials of each."""

from __future__ import annotations

import shutil

import pytest

from tests.campaign import disk, kills
from tests.campaign.options import Options

pytestmark = pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler")


def test_a_run_that_is_killed_again_and_again_ends_in_the_same_bytes_and_leaves_nothing(tmp_path) -> None:
    tally = kills.run(Options(count=6, work=tmp_path))
    assert tally.tried >= 6 and not tally.failed, tally.table()


def test_a_disk_that_refuses_is_one_line_and_harms_no_result(tmp_path) -> None:
    tally = disk.run(Options(count=4, work=tmp_path))
    assert tally.tried == 4 and not tally.failed, tally.table()
