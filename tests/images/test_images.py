"""Crop-and-resize, augmentation and the splits, against Pillow and torchvision."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision import transforms
from torchvision.transforms.v2 import functional as reference

from pdiff.errors import UserError
from pdiff_plugins.images import splits
from pdiff_plugins.images.plain import crop_resize
from pdiff_plugins.images.splits import Decoder, FileSplit, ImageSplit, Transform, pad_crop_flip, random_boxes

CPU = torch.device("cpu")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator(seed))


def to_pil(image_CHW: torch.Tensor) -> Image.Image:
    return Image.fromarray(image_CHW.permute(1, 2, 0).numpy())


def from_pil(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


@st.composite
def crops(draw):
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    tall, wide = draw(st.integers(1, height)), draw(st.integers(1, width))
    top, left = draw(st.integers(0, height - tall)), draw(st.integers(0, width - wide))
    return (height, width), (top, left, tall, wide), draw(st.integers(1, 48)), draw(st.integers(0, 2**20))


@settings(max_examples=200)
@given(crops())
def test_a_crop_is_what_pillow_makes_of_it(case):
    shape, (top, left, tall, wide), size, seed = case
    image = noise(3, *shape, seed=seed)
    ours = crop_resize(image[None], torch.tensor([[top, left, tall, wide]]).float(), size)[0]
    cropped = to_pil(image).crop((left, top, left + wide, top + tall))
    pillow = from_pil(cropped.resize((size, size), Image.Resampling.BILINEAR))
    assert (ours - pillow).abs().max() <= 1.01
    exact = reference.resized_crop(image.float(), top, left, tall, wide, [size, size], antialias=True)
    assert torch.allclose(ours, exact, atol=0.01)


@settings(max_examples=100)
@given(st.integers(2, 40), st.integers(2, 40), st.lists(st.floats(0, 1), min_size=4, max_size=4), st.integers(1, 48))
def test_a_fractional_box_draws_on_the_whole_extent_as_in_pillow(height, width, parts, size):
    tall, wide = max(1, parts[0] * height), max(1, parts[1] * width)
    top, left = parts[2] * (height - tall), parts[3] * (width - wide)
    image = noise(3, height, width, seed=size)
    whole = torch.tensor([[0, 0, height, width]]).float()
    ours = crop_resize(image[None], torch.tensor([[top, left, tall, wide]]), size, whole)[0]
    box = (left, top, min(left + wide, width), min(top + tall, height))
    pillow = from_pil(to_pil(image).resize((size, size), Image.Resampling.BILINEAR, box=box))
    assert (ours - pillow).abs().max() <= 1.01


def test_pixels_outside_the_box_never_contribute():
    image = noise(1, 3, 20, 20)
    box = torch.tensor([[4.0, 5.0, 12.0, 9.0]])
    other = torch.full_like(image, 255)
    other[..., 4:16, 5:14] = image[..., 4:16, 5:14]
    assert torch.equal(crop_resize(image, box, 7), crop_resize(other, box, 7))


def test_every_sample_of_a_batch_gets_its_own_box_and_flip():
    images, boxes = noise(16, 3, 24, 30), random_boxes(16, 24, 30, generator=generator())
    flips = torch.arange(16) % 2 == 0
    together = crop_resize(images, boxes, 20, flip_B=flips)
    for image, box, flip, got in zip(images, boxes, flips, together, strict=True):
        alone = crop_resize(image[None], box[None], 20)[0]
        assert torch.allclose(got, alone.flip(-1) if flip else alone, atol=1e-3)


@pytest.mark.parametrize("scale", [(0.08, 1.0), (0.3, 0.6), (0.5, 0.9)])
@pytest.mark.parametrize("size", [(32, 32), (20, 60)])
def test_random_boxes_have_the_distribution_of_torchvision(size, scale):
    height, width = size
    ours = random_boxes(20_000, height, width, scale, generator=generator(1)).double()
    with torch.random.fork_rng():
        torch.manual_seed(2)
        draw, blank, ratio = transforms.RandomResizedCrop.get_params, torch.empty(1, height, width), [3 / 4, 4 / 3]
        theirs = torch.tensor([draw(blank, list(scale), ratio) for _ in range(20_000)]).double()
    for boxes in (ours, theirs):
        top, left, tall, wide = boxes.unbind(1)
        assert (boxes == boxes.round()).all() and (tall >= 1).all() and (wide >= 1).all()
        assert (top >= 0).all() and (left >= 0).all() and (top + tall <= height).all() and (left + wide <= width).all()
    for statistic in (
        lambda b: b[:, 2] * b[:, 3],
        lambda b: (b[:, 3] / b[:, 2]).log(),
        lambda b: (b[:, 2] * b[:, 3]) ** 2,
        lambda b: b[:, 0],
        lambda b: b[:, 1],
        lambda b: b[:, 1] ** 2,
    ):
        a, b = statistic(ours), statistic(theirs)
        assert abs(a.mean() - b.mean()) <= 4.5 * math.sqrt(a.var() / len(a) + b.var() / len(b))


@pytest.mark.parametrize("size", [(10, 100), (100, 10), (9, 64), (50, 50)])
def test_an_impossible_crop_falls_back_to_the_centre(size):
    ours = random_boxes(5, *size, (1.2, 1.2), generator=generator())
    theirs = transforms.RandomResizedCrop.get_params(torch.empty(1, *size), [1.2, 1.2], [3 / 4, 4 / 3])
    assert ours.tolist() == [list(map(float, theirs))] * 5


def test_boxes_fit_images_of_different_sizes():
    sizes = torch.randint(1, 300, (2000, 2), generator=generator())
    boxes = random_boxes(2000, *sizes.unbind(1), generator=generator())
    assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] >= 1).all() and (boxes[:, :2] + boxes[:, 2:] <= sizes).all()


MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


def pipeline(size: int) -> transforms.Compose:
    resize = 256 if size == 224 else size
    return transforms.Compose(
        [
            transforms.Resize(resize),
            transforms.CenterCrop(size),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )


@pytest.mark.parametrize("shape", [(32, 32), (96, 96), (45, 80), (300, 231)])
@pytest.mark.parametrize("size", [16, 64, 224])
def test_evaluation_is_torchvisions_pipeline(shape, size):
    images = noise(2, 3, *shape)
    ours = ImageSplit(images, torch.arange(2), Transform(size, MEAN, STD)).batch(torch.arange(2), CPU).inputs
    theirs = torch.stack([pipeline(size)(to_pil(image)) for image in images])
    assert (ours - theirs).abs().max() <= 1.01 / 255 / min(STD)


def test_without_resampling_the_numbers_are_torchvisions_to_the_bit():
    images = noise(4, 3, 32, 32)
    split = ImageSplit(images, torch.arange(4), Transform(32, MEAN, STD, "none"))
    theirs = torch.stack([pipeline(32)(to_pil(image)) for image in images])
    assert torch.equal(split.batch(torch.arange(4), CPU).inputs, theirs)
    assert torch.equal(split.batch(torch.arange(4), CPU, generator()).inputs, theirs)


@pytest.mark.parametrize("augment", ["crop_flip", "crop", "pad_crop_flip", "flip"])
def test_a_batch_depends_on_index_and_generator_only(augment):
    split = ImageSplit(noise(9, 1, 12, 12), torch.arange(9), Transform(16, (0.5,), (0.5,), augment))
    index = torch.tensor([8, 0, 0, 3])
    first, again, other = (split.batch(index, CPU, generator(seed)) for seed in (5, 5, 6))
    assert torch.equal(first.inputs, again.inputs) and not torch.equal(first.inputs, other.inputs)
    assert first.targets.tolist() == [8, 0, 0, 3]
    assert first.inputs.shape == (4, 3, 16, 16) and first.inputs.dtype == torch.float32
    assert torch.equal(first.inputs[:, 0], first.inputs[:, 2])
    evaluated = split.batch(index, CPU).inputs
    assert torch.equal(evaluated, split.batch(index, CPU).inputs) and torch.equal(evaluated[1], evaluated[2])
    assert split.batch(torch.arange(0), CPU, generator()).inputs.shape == (0, 3, 16, 16)


def test_crop_alone_mirrors_nothing_and_crop_flip_half():
    ramp = torch.arange(32, dtype=torch.uint8).expand(400, 1, 32, 32).contiguous()

    def mirrored(augment: str) -> float:
        split = ImageSplit(ramp, torch.zeros(400), Transform(16, (0.0,), (1.0,), augment, (0.3, 1.0), channels=1))
        inputs = split.batch(torch.arange(400), CPU, generator()).inputs
        return (inputs[..., 0] > inputs[..., -1]).all(-1).float().mean().item()

    assert mirrored("crop") == 0 and all(0.4 < mirrored(augment) < 0.6 for augment in ("crop_flip", "flip"))


def test_pad_crop_flip_shifts_by_up_to_four_pixels_over_black():
    image = 1 + noise(3, 9, 7) // 2
    padded = torch.nn.functional.pad(image, [4] * 4)
    expected = {}
    for flip in (False, True):
        for top in range(9):
            for left in range(9):
                window = padded[:, top : top + 9, left : left + 7]
                expected[(window.flip(-1) if flip else window).numpy().tobytes()] = (flip, top, left)
    got = pad_crop_flip(image.expand(3000, -1, -1, -1), generator())
    seen = {expected[one.contiguous().numpy().tobytes()] for one in got}
    assert len(seen) == 162


@pytest.fixture
def files(tmp_path):
    """Images of several sizes, modes and formats."""
    paths = []
    for i, (height, width) in enumerate([(40, 60), (64, 33), (20, 20), (31, 90), (50, 50)]):
        image = to_pil(noise(3, height, width, seed=i))
        paths.append(tmp_path / f"{i}.{'jpg' if i == 3 else 'png'}")
        (image.convert("L") if i == 2 else image).save(paths[-1])
    return paths


def file_split(files, augment="none", budget=2**20, workers=2, size=24) -> FileSplit:
    return FileSplit(files, torch.arange(len(files)), Transform(size, MEAN, STD, augment), Decoder(budget), workers)


@pytest.mark.parametrize("size", [24, 224])
def test_files_are_evaluated_as_by_torchvision(files, size):
    split = file_split(files, size=size)
    ours = split.batch(torch.arange(5), CPU).inputs
    theirs = torch.stack([pipeline(size)(Image.open(path).convert("RGB")) for path in files])
    assert (ours - theirs).abs().max() <= 1.01 / 255 / min(STD)
    assert torch.equal(ours, split.batch(torch.arange(5), CPU).inputs)


def test_a_file_and_a_tensor_are_augmented_alike(tmp_path):
    images = noise(6, 3, 40, 56)
    paths = [tmp_path / f"{i}.png" for i in range(6)]
    for path, image in zip(paths, images, strict=True):
        to_pil(image).save(path)
    memory = ImageSplit(images, torch.arange(6), Transform(24, MEAN, STD, "crop_flip"))
    index = torch.tensor([5, 1, 1, 0])
    ours = file_split(paths, "crop_flip").batch(index, CPU, generator(3))
    theirs = memory.batch(index, CPU, generator(3))
    assert (ours.inputs - theirs.inputs).abs().max() <= 1.01 / 255 / min(STD)
    assert torch.equal(ours.targets, theirs.targets)


def test_neither_threads_nor_memory_change_a_batch(files):
    index = torch.tensor([0, 1, 2, 3, 4, 4, 0])
    made = [
        file_split(files, "crop_flip", budget, workers).batch(index, CPU, generator(1)).inputs
        for budget, workers in ((2**20, 1), (2**20, 5), (0, 3))
    ]
    assert torch.equal(made[0], made[1]) and torch.equal(made[0], made[2])


def test_decoded_images_are_kept_within_the_budget(files):
    roomy, tight = (file_split(files, budget=budget) for budget in (2**20, 10_000))
    for split in (roomy, tight):
        before = split.batch(torch.arange(5), CPU).inputs
        assert torch.equal(before, split.batch(torch.arange(5), CPU).inputs)
    assert len(roomy.decoder.pixels) == 5
    assert 0 < sum(pixels.nbytes for pixels in tight.decoder.pixels.values()) <= 10_000
    for path in files:
        path.unlink()
    assert len(roomy.batch(torch.arange(5), CPU, generator()).inputs) == 5


@pytest.mark.parametrize("augment", [None, 1])
@pytest.mark.parametrize("damage", ["empty", "text", "truncated", "missing"])
def test_a_broken_file_is_named(files, damage, augment):
    whole = files[3].read_bytes()
    files[3].unlink()
    if damage != "missing":
        files[3].write_bytes({"empty": b"", "text": b"no image", "truncated": whole[: len(whole) // 2]}[damage])
    split = file_split(files, "crop_flip")
    with pytest.raises(UserError, match=r"3\.jpg: not a readable image") as caught:
        split.batch(torch.arange(5), CPU, augment and generator())
    assert "\n" not in str(caught.value)


@given(st.lists(st.lists(st.integers(0, 11), min_size=1, max_size=8), min_size=1, max_size=6), st.integers(0, 14))
def test_training_images_that_are_kept_are_those_of_every_batch(batches, room):
    images, transform = noise(12, 3, 9, 7), Transform(16, (0.4,), (0.3,))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(splits, "KEPT_BYTES", room * 4 * 3 * 16 * 16)
        split = ImageSplit(images, torch.arange(12), transform)
        for rows in map(torch.tensor, batches):
            evaluated = ImageSplit(images, torch.arange(12), transform).batch(rows, CPU)
            trained = split.batch(rows, CPU, generator())
            assert trained.inputs.equal(evaluated.inputs) and trained.targets.equal(evaluated.targets)
        assert split.kept_KCSS is not None and len(split.kept_KCSS) == min(room, 12)


def test_images_that_are_not_resampled_or_are_augmented_are_not_kept():
    for size, augment in ((8, "none"), (16, "crop_flip"), (8, "pad_crop_flip")):
        split = ImageSplit(noise(4, 3, 8, 8), torch.arange(4), Transform(size, (0.4,), (0.3,), augment))
        split.batch(torch.arange(4), CPU, generator())
        assert split.kept_KCSS is None
