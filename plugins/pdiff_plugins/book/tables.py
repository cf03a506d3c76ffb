"""Tables and figures of the paper, and the cells of each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from pdiff_plugins.book.cells import MAIN, Cell, official, rows
from pdiff_plugins.book.more import DRAWN, SIZES, more


@dataclass(frozen=True)
class Table:
    """A table or a figure. `own_cells` are those that lie in its folder; the others lie in an earlier one's."""

    title: str
    own_cells: tuple[str, ...]
    others: tuple[str, ...] = ()

    @property
    def cells(self) -> tuple[str, ...]:
        return self.others + self.own_cells


def _tagged(category: str, start: str = "") -> tuple[str, ...]:
    return tuple(row["tag"] for row in rows() if row["cat"] == category and row["tag"].startswith(start))


def tables() -> dict[str, Table]:
    """Return the tables by name.

    The authors' repository names its ablations, not the letters of Table 3: which letter an ablation has here is ours.
    """
    main = (MAIN,)
    full = _tagged("full")
    small = tuple(tag for tag in full if tag.endswith("cnnmedium"))
    return {
        "table1": Table("Six architectures, seven data sets: the last two normalisation layers", _tagged("main")),
        "table2": Table("Five small networks, whole", tuple(tag for tag in full if tag not in small)),
        "table3a": Table(
            "Noise on parameters and on latents", ("noise_0000a00", "noise_0001a00", "noise_0000a01"), main
        ),
        "table3b": Table("Scale of both noises", ("noise_x001", "noise_x01", "noise_x10", "noise_x100"), main),
        "table3c": Table("Optimiser that makes the checkpoints", ("adam_optimizer", "sgd_optimizer"), main),
        "table3d": Table("Number of checkpoints", _tagged("ablation", "numberckpt"), main),
        "table3e": Table("Number of networks drawn", tuple(f"drawn_{count:03}" for count in DRAWN), main),
        "table3f": Table("Which normalisation layers", ("layers_bn1013", "layers_bn1415"), main),
        "table4": Table(
            "Other layers: the first convolution, the classifier", ("layers_cv0000", "layers_fc0000"), main
        ),
        "fig3": Table("Epochs before collection", ("save_epoch1", "save_epoch3"), main),
        "fig4": Table("Learning rate of collection", ("save_lr00003", "save_lr03000"), main),
        "fig5": Table("Accuracy against similarity", (), main),
        "table7": Table("The CNNs of the hyper-representations", (*small, "mnist_hypercnn", "svhn_hypercnn")),
        "table8": Table("A VAE instead of diffusion", ("vae_sample",), main),
        "table9": Table("Diffusion steps", _tagged("ablation", "diffusionstep"), main),
        "table10": Table("Object detection", ("coco_fasterrcnn", "coco_fcos")),
        "table11": Table("Segmentation", ("coco_fcn",)),
        "table12": Table("Image generation", ("cifar10_ddpm",)),
        "table13": Table("Memory by size", tuple(f"memory_{size:06}" for size in SIZES)),
    }


@cache
def cells() -> dict[str, Cell]:
    """Return all cells by name."""
    return {cell.name: cell for cell in (*official(), *more())}
