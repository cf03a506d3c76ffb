"""config.json: what timm reads to build a network again, and for any other network what pdiff needs to."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

import pdiff
from pdiff.errors import UserError
from pdiff.files import load_tensors
from pdiff.networks import build_network, load_into
from pdiff.plugins.discovery import registry
from pdiff_plugins.own import PythonArchitecture
from pdiff_plugins.own.targets import file_of

if TYPE_CHECKING:
    from pdiff.components import Architecture
    from pdiff_plugins.sharing.folder import Choice


def config(choice: Choice, state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return what config.json holds. Raises UserError where the network's sizes cannot be known."""
    shape, outputs, network = _sizes(choice, state)
    if _of_timm(network):
        return _timm(network, shape, outputs, choice)
    return {
        "library": "pdiff", "pdiff_version": pdiff.__version__, "needs": _needs(choice),
        "network": f"{type(network).__module__}.{type(network).__qualname__}",
        "architecture": choice.recipe["architecture"] | {"weights": ""},
        "input_shape": shape, "outputs": outputs, "preprocessing": preprocessing(choice),
    } | ({"about": about} if (about := choice.about) else {})  # fmt: skip


def _needs(choice: Choice) -> str:
    """Return what has to be at hand for the architecture to be known, beside pdiff itself."""
    architecture = choice.run.recipe.architecture
    if isinstance(architecture, PythonArchitecture):
        file = file_of(architecture.target)
        return f"file {file.name}" if file else f"module {architecture.target.partition(':')[0]}"
    owner = next((plugin for plugin in registry().plugins if type(architecture) in plugin.components), None)
    if owner and owner.file:
        return f"plugin file {owner.package}.py"
    theirs = f"{owner.distribution} {owner.version}" if owner else registry().qualified(type(architecture))
    return "" if owner and owner.module.startswith("pdiff_plugins.") else theirs


def _sizes(choice: Choice, state: Mapping[str, Tensor]) -> tuple[Any, int, nn.Module]:
    """Return (input shape, outputs, a network of them).

    They are the data set's; where its files are not at hand, what its options say, and the number of outputs with which
    the architecture has entries of these shapes. Raises UserError where there is none.
    """
    run = choice.run
    try:
        data = run.pipeline.data
        return data.input_shape, data.outputs, build_network(_blank(choice), data, run.recipe.seed)
    except UserError:
        shape: Any = getattr(run.recipe.dataset, "shape", None)
        shapes = {key: value.shape for key, value in state.items()}
        for outputs in sorted({len(value) for value in state.values() if value.ndim == 1}) if shape else ():
            with contextlib.suppress(Exception):  # of an architecture that cannot have so many
                network = _blank(choice).build(input_shape=shape, outputs=outputs)
                if {key: value.shape for key, value in network.state_dict().items()} == shapes:
                    return shape, outputs, network
        raise


def _blank(choice: Choice) -> Architecture:
    """Return the architecture without weights to start from."""
    return choice.run.recipe.architecture.model_copy(update={"weights": ""})


def _of_timm(network: nn.Module) -> bool:
    import timm

    known = getattr(network, "pretrained_cfg", None)
    return isinstance(known, Mapping) and timm.is_model(str(known.get("architecture", "")))


def preprocessing(choice: Choice) -> dict[str, Any]:
    """Return the dataset's options that say what a network sees: sizes, means, deviations, as far as it has them."""
    dataset = choice.recipe["dataset"]
    return {key: dataset[key] for key in ("image_size", "channels", "mean", "std") if key in dataset}


def _timm(network: Any, shape: tuple[int, ...], outputs: int, choice: Choice) -> dict[str, Any]:
    """Return what timm's create_model("local-dir:...") and ("hf-hub:...") read."""
    known, seen = network.pretrained_cfg, preprocessing(choice)
    channels, *sides = shape
    arguments: dict[str, Any] = {"num_classes": outputs, "in_chans": channels}
    if known.get("fixed_input_size") and list(known["input_size"][1:]) != sides:
        arguments["img_size"] = sides

    def each(key: str) -> list[float]:
        values = list(seen.get(key, known[key]))
        return values if len(values) == channels else values[:1] * channels

    return {
        "architecture": known["architecture"],
        "num_classes": outputs,
        "num_features": network.num_features,
        "model_args": arguments,
        "pretrained_cfg": {
            "tag": "pdiff", "custom_load": False, "input_size": list(shape), "num_classes": outputs,
            "fixed_input_size": bool(known.get("fixed_input_size")),
            # As evaluation resamples: the triangle filter, the short side to 256 for 224 and to the side itself else.
            "interpolation": "bilinear", "crop_mode": "center", "crop_pct": 224 / 256 if sides[0] == 224 else 1.0,
            "mean": each("mean"), "std": each("std"), "pool_size": None, "classifier": known.get("classifier"),
            # Without its name timm leaves the first layer alone, which it would else take for one of three channels.
            "first_conv": known.get("first_conv") if channels == 3 else None,
        },
    }  # fmt: skip


def checked(choice: Choice, about: Mapping[str, Any], folder: Path, state: Mapping[str, Tensor]) -> None:
    """Load the network again from what was written. Raises UserError where that gives another one."""
    with torch.random.fork_rng(devices=[]):
        again = _loaded(choice, about, folder).state_dict()
    other = [key for key in state if key not in again or not torch.equal(again[key], state[key])]
    if other or len(again) != len(state):
        key = other[0] if other else next(key for key in again if key not in state)
        raise UserError(f"{choice.run.folder.name}: the network cannot be loaded again from its folder: {key} differs")


def _loaded(choice: Choice, about: Mapping[str, Any], folder: Path) -> nn.Module:
    if "library" not in about:
        import timm

        return timm.create_model(f"local-dir:{folder}", pretrained=True)
    state = load_tensors(folder / "model.safetensors")
    network = _sizes(choice, state)[2]
    load_into(network, state, "model.safetensors")
    return network
