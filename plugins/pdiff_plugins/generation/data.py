"""Image generation by diffusion: its data, its task, and the Fréchet distance of what is drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from pdiff.components import Dataset
from pdiff.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.context import Context
    from pdiff.data import DatasetSplits, Split


class GenerationData(Dataset):
    """Images to learn to draw.

    Train gives the images, validation and test give pairs of starting noise and a real image.
    """

    name = "generation"
    images: Dataset = Field(description="image data set; its images must come in -1..1: mean = [0.5], std = [0.5]")
    examples: int = Field(1000, gt=1, description="images drawn by each network; no more than there are real ones")
    reference: Literal["split", "train"] = Field(
        "split", description="real images compared with: those of the same split, or of train, as papers do on CIFAR-10"
    )

    def content(self, data_root: Any) -> str:
        return self.images.content(data_root)

    def load(self, ctx: Context) -> DatasetSplits:
        from pdiff.data import DatasetSplits

        images = self.images.load(ctx)
        if len(images.input_shape) != 3:
            raise UserError(f"dataset.images: {self.images.name} holds no images")
        validation, test = (self._pairs(images, name, ctx) for name in ("validation", "test"))
        return DatasetSplits(images.train, validation, test, images.input_shape, outputs=images.input_shape[0])

    def _pairs(self, images: DatasetSplits, name: str, ctx: Context) -> Split:
        """Return starting noise and, as uint8 targets, real images chosen at random."""
        import torch

        from pdiff.data import TensorSplit

        real = images.split("train" if self.reference == "train" and len(images.split(name)) else name)
        chosen = torch.randperm(len(real), generator=ctx.generator("real", name))[: self.examples].sort().values
        noise = torch.randn(len(chosen), *images.input_shape, generator=ctx.generator("noise", name))
        return TensorSplit(noise, self._pixels(real, chosen, images.input_shape))

    def _pixels(self, split: Split, chosen: Tensor, shape: tuple[int, ...]) -> Tensor:
        import torch

        from pdiff_plugins.generation.frechet import to_pixels

        parts = [split.batch(index, torch.device("cpu")).inputs for index in chosen.split(1024)]
        images = torch.cat(parts) if parts else torch.empty(0, *shape)
        if images.numel() and images.abs().max() > 1.001:
            raise UserError(
                f"dataset.images: the images of {self.images.name} come in {images.min():.3g}..{images.max():.3g}, "
                "the noise of diffusion is for -1..1; write mean = [0.5] and std = [0.5]"
            )
        return to_pixels(images)
