"""scikit-learn's handwritten digits: a real data set that needs no download."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from pdiff import hookimpl
from pdiff_plugins.images.dataset import Augment, Channels, ImageDataset, Mean, Side, Std, Validation

if TYPE_CHECKING:
    from numpy import ndarray
    from torch import Tensor

    from pdiff.context import Context
    from pdiff.data import DatasetSplits


class Digits(ImageDataset):
    """1,797 handwritten digits of 8 x 8, shipped with scikit-learn.

    Their grey levels are 0..16: with image_size 8, mean 0 and std 1 inputs are exactly x / 16.
    """

    name = "digits"
    version = 2
    source: ClassVar[str] = "Alpaydin and Kaynak 1998, UCI Optical Recognition of Handwritten Digits, test part"
    image_size: Side = 16
    channels: Channels = 1
    mean: Mean = (0.305,)
    std: Std = (0.376,)
    augment: Augment = "none"
    validation: Validation = 0.2
    test_count: int = Field(500, gt=0, lt=1700, description="examples of the test split")
    test: Literal["last", "stratified"] = Field(
        "last", description="which they are: the last, of other writers; or of each class alike, always the same ones"
    )

    def load(self, ctx: Context) -> DatasetSplits:
        """See `Dataset.load`. The test split is the same for every seed."""
        import torch
        from sklearn.datasets import load_digits

        pixels, labels = load_digits(return_X_y=True)
        images = torch.from_numpy(pixels * 255 / 16).float().view(-1, 1, 8, 8)  # exact in float32
        targets, order = torch.from_numpy(labels).long(), torch.arange(len(labels))
        if self.test == "stratified":
            order = torch.cat(_stratified(labels, self.test_count))
        train, test = order[: -self.test_count], order[-self.test_count :]
        return self.splits((images[train], targets[train]), (images[test], targets[test]), 10, ctx)


def _stratified(labels: ndarray, count: int) -> tuple[Tensor, Tensor]:
    """Return the numbers of all other examples and of `count` test examples."""
    import torch
    from sklearn.model_selection import train_test_split

    other, test = train_test_split(torch.arange(len(labels)), test_size=count, stratify=labels, random_state=0)
    return other.sort().values, test.sort().values


@hookimpl
def register_datasets(register: Any) -> None:
    """Register the digits."""
    register(Digits)
