"""Vectors in files: what is written is never lost, what is read is let go of, and a kept file becomes the zoo's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from pdiff import mapped
from pdiff.errors import UserError
from pdiff.files import load_tensors, save_rows, save_tensors
from tests.helpers import HANG_S

LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems let go by themselves, or never")


@given(st.integers(1, 5), st.integers(1, 40), st.integers(1, 17))
@settings(deadline=None, max_examples=40)
def test_windows_and_rows_see_every_number_once(count: int, dim: int, width: int) -> None:
    theta_ND = torch.arange(count * dim).float().view(count, dim)
    parts = [(columns, a, b) for columns, a, b in mapped.windows(theta_ND, -theta_ND, width=width)]
    assert torch.cat([a for _, a, _ in parts], dim=1).equal(theta_ND)
    assert all(b.equal(-a) and a.shape[1] == columns.stop - columns.start <= width for columns, a, b in parts)
    assert torch.stack(list(mapped.rows(theta_ND))).equal(theta_ND)
    torch.testing.assert_close(mapped.mean_of(theta_ND), theta_ND.mean(dim=0))


def test_rows_that_are_not_finite_are_found() -> None:
    theta_ND = torch.zeros(4, mapped.COLUMNS + 3)
    theta_ND[1, -1], theta_ND[3, 5] = float("nan"), float("-inf")
    assert mapped.finite_rows(theta_ND).tolist() == [True, False, True, False]


@given(st.lists(st.integers(0, 9), min_size=1, max_size=12))
@settings(deadline=None, max_examples=60)
def test_rows_are_taken_as_an_index_takes_them(index: list[int]) -> None:
    theta_ND = torch.randn(10, 3, generator=torch.Generator().manual_seed(0))
    assert mapped.take(theta_ND, index, None).equal(theta_ND[index])
    assert mapped.take(theta_ND, range(2, 9, 3), None).data_ptr() == theta_ND[2].data_ptr()  # a view, no copy


def test_large_vectors_lie_in_a_file_without_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped, "LARGE", 64)
    theta_ND = mapped.empty(4, 5, tmp_path)
    theta_ND.fill_(3)
    assert not list(tmp_path.iterdir()) and float(theta_ND.sum()) == 60
    mapped.release(theta_ND)
    assert float(theta_ND.sum()) == 60
    assert mapped.empty(4, 5, None).shape == (4, 5)


@LINUX
def test_nothing_that_was_written_is_let_go_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped, "LARGE", 64)
    page = os.sysconf("SC_PAGE_SIZE")
    save_tensors(tmp_path / "a.safetensors", {"theta": torch.zeros(4, page)})
    private = load_tensors(tmp_path / "a.safetensors")["theta"]
    held = torch.full((4, page), 5.0)  # no file's memory: to let go of it would lose it
    private[1, 7] = 9
    mapped.release(private, held)
    assert private[1, 7] == 9 and float(held.mean()) == 5
    assert float(load_file(tmp_path / "a.safetensors")["theta"].sum()) == 0


@LINUX
def test_a_kept_file_becomes_the_zoos_and_outlives_a_kill(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from pdiff.running.snapshot import Snapshot\n"
        "rows = Snapshot(Path(sys.argv[1])).rows(3, 1000); rows[:2] = 7; os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], timeout=HANG_S, check=False).returncode == 9
    kept = tmp_path / f"snapshot{mapped.KEPT}"
    theta_ND = mapped.kept(kept, 3, 1000)
    assert float(theta_ND.sum()) == 7 * 2000
    theta_ND[2] = torch.arange(1000)
    before = kept.stat().st_ino
    save_rows(tmp_path / "zoo.safetensors", theta_ND)
    assert (tmp_path / "zoo.safetensors").stat().st_ino == kept.stat().st_ino == before  # linked, not copied
    assert load_file(tmp_path / "zoo.safetensors")["theta"].equal(theta_ND)
    save_rows(tmp_path / "some.safetensors", theta_ND[:2])
    save_rows(tmp_path / "turned.safetensors", theta_ND[::2])
    assert load_file(tmp_path / "some.safetensors")["theta"].equal(theta_ND[:2])
    assert load_file(tmp_path / "turned.safetensors")["theta"].equal(theta_ND[::2])


def test_a_disk_that_is_too_small_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"\d GiB cannot be written there .*; make room, then run again"):
        mapped.empty(2**20, 2**33, tmp_path)


@LINUX
def test_a_large_zoo_is_read_in_little_memory(tmp_path: Path) -> None:
    theta_ND = mapped.kept(tmp_path / f"a{mapped.KEPT}", 16, 2**22)  # 256 MiB
    for row, theta_D in enumerate(mapped.rows(theta_ND)):
        theta_D.fill_(row)
    save_rows(tmp_path / "a.safetensors", theta_ND)
    code = (
        "import sys; from pathlib import Path; from pdiff import mapped; import torch\n"
        "from pdiff.files import load_tensors, save_rows\n"
        "def peak(): return next(int(l.split()[1]) for l in open('/proc/self/status') if l.startswith('VmHWM'))\n"
        "folder = Path(sys.argv[1]); theta = load_tensors(folder / 'a.safetensors')['theta']; before = peak()\n"
        "assert float(mapped.mean_of(theta)[0]) == 7.5 and bool(mapped.finite_rows(theta).all())\n"
        "save_rows(folder / 'b.safetensors', mapped.take(theta, [*range(8), 0], folder)); print(peak() - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=HANG_S, check=True
    )
    assert int(done.stdout) < 160 * 1024  # KiB; the zoo has 262,144 and its copy 147,456
