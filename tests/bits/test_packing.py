"""Packing: every bit comes back, without pdiff, and takes the bytes that are counted."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pdiff.errors import UserError
from pdiff.files import load_tensors, save_tensors
from pdiff.zoo import Entry, Layout
from pdiff_plugins.bits import load as template
from pdiff_plugins.bits.exact import FLOAT, grids
from pdiff_plugins.bits.packing import counted, pack, packed_bits

LAYOUT = Layout((Entry("w", (4, 6), 0, also=("tied",)), Entry("b", (4,), 24), Entry("c", (3, 2, 2), 28)))
FRESH = """
import sys
sys.modules |= dict.fromkeys(["pdiff", "pdiff_plugins"])
sys.path.insert(0, sys.argv[1])
from load import load
from safetensors.torch import save_file
save_file({key: value.clone() for key, value in load(sys.argv[1] + "/packed.safetensors").items()}, sys.argv[2])
"""


def on_a_grid(seed: int, bits: int, keep: float = 1.0, layout: Layout = LAYOUT, count: int = 3) -> torch.Tensor:
    """Return networks of which every matrix holds its smallest and its largest code, and a share of zeros."""
    g = torch.Generator().manual_seed(seed)
    theta_MD = torch.randn(count, layout.dim, generator=g)
    most = 2 ** (bits - 1)
    for entry in layout.entries:
        if len(entry.shape) < 2:
            continue
        rows, size = entry.shape[0], math.prod(entry.shape)
        code = torch.randint(-most, most, (count, size), generator=g)
        code[:, 0], code[:, 1] = -most, most - 1
        step = (4 * torch.randn(count, rows, generator=g)).exp().bfloat16().float().repeat_interleave(size // rows, 1)
        alive = torch.rand(count, size, generator=g) < keep
        alive[:, :2] = True
        theta_MD[:, entry.columns] = (code + 0.5) * step * alive
    return theta_MD


def state_of(theta_D: torch.Tensor, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    own = {key: value.to(dtype) for key, value in LAYOUT.tensors(theta_D).items()}
    return own | {"seen": torch.tensor(7), "frozen": torch.arange(6.0).view(2, 3)}


@given(st.integers(0, 2**31), st.integers(2, 8), st.sampled_from([1.0, 0.7, 0.2]))
@settings(deadline=None, max_examples=25)
def test_what_is_packed_comes_back_to_the_last_bit(tmp_path_factory, seed: int, bits: int, keep: float) -> None:
    theta_D, path = on_a_grid(seed, bits, keep, count=1)[0], tmp_path_factory.mktemp("packed") / "n.safetensors"
    packed = pack(theta_D, LAYOUT, state := state_of(theta_D))
    save_tensors(path, packed.tensors, packed.metadata)
    back = template.load(str(path))
    assert back.keys() == state.keys()
    assert all(back[key].dtype == value.dtype and back[key].equal(value) for key, value in state.items())
    stored = sum(value.numel() * value.element_size() for key, value in packed.tensors.items())
    assert packed.bytes == stored - 8 - 24, "all but what is not selected"


@given(st.integers(0, 2**31), st.integers(2, 8))
@settings(deadline=None, max_examples=20)
def test_bits_are_those_of_the_smallest_grid(seed: int, bits: int) -> None:
    theta_MD = on_a_grid(seed, bits)
    count = counted(theta_MD, LAYOUT)
    assert count.codes_M.tolist() == [36 * bits] * 3
    assert count.steps_M.tolist() == [16 * 7] * 3
    assert count.masks_M.tolist() == [0] * 3
    assert count.rest_M.tolist() == [32 * 4] * 3
    assert count.bytes_M.tolist() == [math.ceil(24 * bits / 8) + math.ceil(12 * bits / 8) + 14 + 16] * 3
    assert count.width_M.tolist() == [bits] * 3


def test_a_mask_counts_by_its_entropy_and_takes_a_bit_for_each_weight() -> None:
    theta_MD = torch.randn(2, LAYOUT.dim, generator=torch.Generator().manual_seed(0))
    theta_MD[0, :17], theta_MD[1, 28:30] = 0.0, 0.0
    count = counted(theta_MD, LAYOUT)
    assert count.masks_M.tolist() == pytest.approx([math.log2(math.comb(24, 7)), math.log2(math.comb(12, 2))])
    assert count.codes_M.tolist() == [32 * (36 - 17), 32 * (36 - 2)]
    assert count.bytes_M.tolist() == [4 * (36 - 17) + 3 + 16, 4 * (36 - 2) + 2 + 16]
    assert count.kept_M.tolist() == pytest.approx([19 / 36, 34 / 36])


def test_a_row_that_is_wholly_cut_needs_no_mask() -> None:
    theta_MD = on_a_grid(0, 2)
    theta_MD[:, 6:12] = 0.0
    count = counted(theta_MD, LAYOUT)
    assert count.masks_M.tolist() == [0] * 3 and count.codes_M.tolist() == [72] * 3
    assert pack(theta_MD[0], LAYOUT, state_of(theta_MD[0])).tensors["w:steps"][1] == 0


def test_one_value_beside_the_grid_makes_floats_of_a_matrix() -> None:
    theta_MD = on_a_grid(1, 4)
    theta_MD[1, 30] = theta_MD[1, 30].nextafter(torch.tensor(torch.inf))
    count = counted(theta_MD, LAYOUT)
    assert count.codes_M.tolist() == [144, 24 * 4 + 12 * 32, 144]
    bits_M, step_MR = grids(torch.randn(5, 3, 40, generator=torch.Generator().manual_seed(0)))
    assert bits_M.tolist() == [FLOAT] * 5 and not step_MR.any()


def test_what_lies_on_no_grid_is_not_packed() -> None:
    theta_D = torch.randn(LAYOUT.dim, generator=torch.Generator().manual_seed(0))
    with pytest.raises(UserError, match=r"network 3: 'w' lies on no grid.*the step 'rounded'.*pdiff export") as caught:
        pack(theta_D, LAYOUT, state_of(theta_D), "network 3")
    assert "\n" not in str(caught.value)
    biases = Layout((Entry("b", (4,), 0),))
    with pytest.raises(UserError, match="no matrices"):
        pack(theta_D[:4], biases, {"b": theta_D[:4]})


def test_codes_lie_end_to_end() -> None:
    assert packed_bits(torch.tensor([1, 2, 3, 0, 3]), 2).tolist() == [0b00111001, 0b11]
    assert packed_bits(torch.tensor([5, 7]), 3).tolist() == [0b111101]


def test_numbers_of_other_types_come_back(tmp_path: Path) -> None:
    theta_D = on_a_grid(2, 2, count=1)[0]
    state = state_of(theta_D, torch.bfloat16)
    packed = pack(theta_D, LAYOUT, state)
    save_tensors(tmp_path / "n.safetensors", packed.tensors, packed.metadata)
    back = template.load(str(tmp_path / "n.safetensors"))
    assert all(back[key].dtype == value.dtype and back[key].equal(value) for key, value in state.items())
    assert packed.bytes == 6 + 3 + 14 + 2 * 4


def test_the_loader_needs_no_pdiff(tmp_path: Path) -> None:
    theta_D = on_a_grid(3, 3, 0.5, count=1)[0]
    packed = pack(theta_D, LAYOUT, state_of(theta_D))
    save_tensors(tmp_path / "packed.safetensors", packed.tensors, packed.metadata)
    (tmp_path / "load.py").write_text(Path(template.__file__).read_text())
    outside = os.environ | {"PYTHONPATH": "", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", FRESH, str(tmp_path), str(tmp_path / "back.safetensors")]
    done = subprocess.run(command, capture_output=True, text=True, env=outside, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    back = load_tensors(tmp_path / "back.safetensors")
    assert all(back[key].equal(value) for key, value in state_of(theta_D).items())
