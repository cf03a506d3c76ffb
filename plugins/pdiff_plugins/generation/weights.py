"""Weights of a UNet in diffusers' layout: a file, a folder with config.json, or google/ddpm-cifar10-32 of the hub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pdiff.checkpoints.opening import weights_in
from pdiff.errors import UserError
from pdiff.files import read_json
from pdiff_plugins.reach import ask_hub, in_cache

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.components import Ahead
    from pdiff_plugins.generation.networks import DdpmUnet

HUB = "google/ddpm-cifar10-32"
FILES = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
FIXED: dict[str, tuple[Any, Any]] = {
    "act_fn": ("silu", "silu"), "norm_eps": (1e-6, 1e-5), "downsample_padding": (0, 1), "freq_shift": (1, 0),
    "flip_sin_to_cos": (False, True), "time_embedding_type": ("positional", "positional"),
    "attention_head_dim": (None, 8), "mid_block_scale_factor": (1, 1), "center_input_sample": (False, False),
    "class_embed_type": (None, None), "resnet_time_scale_shift": ("default", "default"),
}  # fmt: skip
"""What our UNet is, whatever its sizes, and what a config.json that does not say so means."""


def file_of(architecture: DdpmUnet) -> Path:
    """Return the file or folder that `weights` names. Raises UserError where it is of another kind of network."""
    path = Path(architecture.weights)
    if not path.is_dir():
        return path
    files = weights_in(path)
    if not files or not (path / "config.json").is_file():
        lacks = "no config.json" if files else f"neither {' nor '.join(FILES)}"
        raise UserError(
            f"architecture.weights = {architecture.weights!r}: not a folder in diffusers' layout, it holds {lacks}; "
            "name the folder of the UNet itself (often called unet), or a file"
        )
    _compare(read_json(path / "config.json"), architecture)
    return path


def _compare(config: dict[str, Any], architecture: DdpmUnet) -> None:
    """Raise UserError that names the first setting in which the folder's network is another."""
    if not isinstance(config, dict):
        raise UserError(f"architecture.weights = {architecture.weights!r}: config.json is no table; choose another")
    levels = range(len(architecture.widths))
    kinds = ["AttnDownBlock2D" if level in architecture.attention else "DownBlock2D" for level in levels]
    sizes = {
        "block_out_channels": list(architecture.widths), "layers_per_block": architecture.layers,
        "norm_num_groups": architecture.groups, "down_block_types": kinds,
        "up_block_types": [kind.replace("Down", "Up") for kind in reversed(kinds)],
    }  # fmt: skip
    for key, ours in sizes.items():
        _same(key, config.get(key), ours, architecture)
    for key, (ours, otherwise) in FIXED.items():
        _same(key, config.get(key, otherwise), ours, architecture)


def _same(key: str, theirs: Any, ours: Any, architecture: DdpmUnet) -> None:
    if theirs != ours:
        raise UserError(
            f"architecture.weights = {architecture.weights!r}: config.json has {key} = {theirs!r}, this UNet {ours!r}; "
            "set widths, layers, attention and groups to the folder's, or choose another folder"
        )


def published() -> dict[str, Tensor]:
    """Return the weights of the hub's network, kept in the hub's cache. Raises UserError."""
    from pdiff.checkpoints.reading import load_state
    from pdiff_plugins.generation.nets.unet import renamed

    return renamed(load_state(_fetched()))


def _fetched() -> str:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    if (cached := next(filter(None, (in_cache(HUB, file) for file in FILES)), None)) is not None:
        return str(cached)
    if why := ask_hub(HUB, FILES).why:  # at once: the hub's library tries for more than a minute
        raise _unreachable(why)
    try:
        try:
            return hf_hub_download(HUB, FILES[0])
        except LocalEntryNotFoundError:  # the hub was not reached
            raise
        except EntryNotFoundError:
            return hf_hub_download(HUB, FILES[1])
    except Exception as error:  # of the network or the hub, of many kinds
        raise _unreachable((str(error).splitlines() or [type(error).__name__])[0]) from None


def foresee_published(ahead: Ahead) -> None:
    """Say whether the hub's network can be had, unless it is there."""
    if not any(in_cache(HUB, file) for file in FILES):
        answer = ask_hub(HUB, FILES)
        if answer.why:
            raise _unreachable(answer.why)
        ahead.fetches(f"weights {FILES[0]} of huggingface.co/{HUB}{answer.said}")


def _unreachable(why: str) -> UserError:
    return UserError(
        f"architecture.weights: {FILES[0]} of huggingface.co/{HUB} could not be fetched ({why}); connect and run "
        'again, name a mirror of the hub in HF_ENDPOINT, or write weights = "path/to/folder or file"'
    )
