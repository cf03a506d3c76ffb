"""ResNet-20 with published weights."""

from __future__ import annotations

import pytest
import torch

from pdiff.checkpoints.reading import load_state
from pdiff_plugins.networks.small import (
    ResNet20,
)
from tests.helpers import SHARED

RESNET20 = SHARED / "weights" / "cifar10_resnet20.safetensors"
needs_resnet20 = pytest.mark.skipif(not RESNET20.is_file(), reason="PDIFF_SHARED_DATA holds no cifar10_resnet20")


@needs_resnet20
def test_resnet20_takes_the_published_weights():
    network = ResNet20().build(input_shape=(3, 32, 32), outputs=10)
    state = load_state(RESNET20)
    counters = {key for key in network.state_dict() if key.endswith("num_batches_tracked")}
    assert set(state) == set(network.state_dict()) - counters
    assert len(counters) == 19
    network.load_state_dict(state, strict=True)
    assert {key.rpartition(".")[2] for key, _ in network.named_parameters()} == {"weight", "bias"}
    assert not any("shortcut" in key or "downsample" in key for key in network.state_dict())


@needs_resnet20
def test_resnet20_reaches_the_published_accuracy():
    if not (SHARED / "cifar10" / "frame.xz").is_file():
        pytest.skip("PDIFF_SHARED_DATA holds no cifar10")
    network = ResNet20().build(input_shape=(3, 32, 32), outputs=10).eval()
    network.load_state_dict(load_state(RESNET20))
    images, labels = cifar10_test(count=1000)
    mean, std = (torch.tensor(v)[:, None, None] for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    with torch.no_grad():
        accuracy = (network((images / 255 - mean) / std).argmax(1) == labels).double().mean().item()
    # Published: 91.73 % on all 10,000; 1,000 of them have a standard error of 0.9 points.
    assert accuracy == pytest.approx(0.9173, abs=0.027)


def cifar10_test(count):
    """Return the first test images, `[count, 3, 32, 32]`, and labels from the shared mosaics."""
    import json
    import lzma
    import struct

    import numpy as np
    from PIL import Image

    mosaic = np.asarray(Image.open(SHARED / "cifar10" / "test_00.webp").convert("RGB"))
    tiles = mosaic.reshape(50, 32, 50, 32, 3).transpose(0, 2, 4, 1, 3).reshape(-1, 3, 32, 32)[:count]
    frame = lzma.decompress((SHARED / "cifar10" / "frame.xz").read_bytes())
    (header,) = struct.unpack_from("<I", frame)
    position = 4 + header
    for name, (head, tail) in json.loads(frame[4:position]).items():
        if name == "test_batch":
            break
        position += head + (tail or 0)
    middle = position + head
    official = frame[position:middle] + bytes(10_000 * 3072) + frame[middle : middle + tail]
    return torch.tensor(tiles, dtype=torch.float32), torch.tensor(longest_list_of_numbers(official)[:count])


def longest_list_of_numbers(pickled):
    """Read the labels out of the official file's instructions without running them."""
    import pickletools

    runs = [[]]
    for operation, argument, _ in pickletools.genops(pickled):
        if operation.name in ("BININT1", "BININT"):
            runs[-1].append(argument)
        elif operation.name not in ("MARK", "APPENDS", "BINPUT", "LONG_BINPUT", "EMPTY_LIST"):
            runs.append([])
    return max(runs, key=len)
