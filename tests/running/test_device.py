"""The device of a run: which networks are laid out channels-last, and freed memory that is kept."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest
import torch
from torch import nn

from pdiff.running.device import placed
from pdiff_plugins.networks.small import ConvNetMini, ResNet20


def test_networks_with_batch_norm_are_laid_out_channels_last_and_answer_alike() -> None:
    torch.manual_seed(0)
    model, x = ResNet20().build(input_shape=(3, 32, 32), outputs=10).eval(), torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        expected = model(x)
        before = {key: value.clone() for key, value in model.state_dict().items()}
        ours = placed(model, torch.device("cpu"))(x)
    kernels = [module.weight for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert all(kernel.is_contiguous(memory_format=torch.channels_last) for kernel in kernels)
    assert all(value.equal(before[key]) for key, value in model.state_dict().items())
    assert (ours - expected).abs().max() < 1e-5 * expected.abs().max()


def test_others_stay_as_they_are_on_a_cpu() -> None:
    model = placed(ConvNetMini().build(input_shape=(3, 32, 32), outputs=10), torch.device("cpu"))
    assert all(value.is_contiguous() for value in model.state_dict().values())


FAULTS = """
import resource, torch
from pdiff.running.device import device_for
def faults():
    start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(2**21) + 1  # twice 8 MiB, or 4,096 pages
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - start
torch.set_num_threads(1)
device_for("cpu")
faults()
print(sum(faults() for _ in range(3)))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone has such thresholds")
def test_a_run_takes_freed_memory_again_and_no_new_pages() -> None:
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, check=True)
    assert int(done.stdout) < 3 * 20 * 4096 / 4
