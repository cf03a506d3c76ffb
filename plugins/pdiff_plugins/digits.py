"""scikit-learn's handwritten digits: a real data set that needs no download."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from pdiff import hookimpl
from pdiff_plugins.vision import Augment, Channels, ImageDataset, Mean, Side, Std, Validation

if TYPE_CHECKING:
    from pdiff.context import Context
    from pdiff.data import DatasetSplits


class Digits(ImageDataset):
    """1,797 handwritten digits of 8 x 8, shipped with scikit-learn."""

    name = "digits"
    source: ClassVar[str] = "Alpaydin and Kaynak 1998, UCI Optical Recognition of Handwritten Digits, test part"
    image_size: Side = 16
    channels: Channels = 1
    mean: Mean = (0.305,)
    std: Std = (0.376,)
    augment: Augment = "none"
    validation: Validation = 0.2
    test_count: int = Field(500, gt=0, lt=1700, description="the last so many examples are the test split")

    def load(self, ctx: Context) -> DatasetSplits:
        """See `Dataset.load`. The test split is the same for every seed."""
        import torch
        from sklearn.datasets import load_digits

        pixels, labels = load_digits(return_X_y=True)
        images = torch.from_numpy(pixels * 255 / 16).round().to(torch.uint8).view(-1, 1, 8, 8)
        targets, end = torch.from_numpy(labels).long(), len(labels) - self.test_count
        return self.splits((images[:end], targets[:end]), (images[end:], targets[end:]), 10, ctx)


@hookimpl
def register_datasets(register: Any) -> None:
    """Register the digits."""
    register(Digits)
