"""config.json: what timm reads to build a network again, and for any other network what pdiff needs to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

import pdiff
from pdiff.errors import UserError
from pdiff.networks import build_network

if TYPE_CHECKING:
    from pdiff_plugins.sharing.folder import Choice


def config(choice: Choice, state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return what config.json holds."""
    recipe, data = choice.run.recipe, choice.run.pipeline.data
    network = build_network(recipe.architecture.model_copy(update={"weights": ""}), data, recipe.seed)
    about = _timm(network, data.input_shape, data.outputs, choice) if _of_timm(network) else {}
    return about or {
        "library": "pdiff", "pdiff_version": pdiff.__version__,
        "network": f"{type(network).__module__}.{type(network).__qualname__}",
        "architecture": choice.recipe["architecture"] | {"weights": ""},
        "input_shape": data.input_shape, "outputs": data.outputs, "preprocessing": preprocessing(choice),
        "label_names": labels(choice),
    }  # fmt: skip


def _of_timm(network: nn.Module) -> bool:
    import timm

    known = getattr(network, "pretrained_cfg", None)
    return isinstance(known, Mapping) and timm.is_model(str(known.get("architecture", "")))


def preprocessing(choice: Choice) -> dict[str, Any]:
    """Return the dataset's options that say what a network sees: sizes, means, deviations, as far as it has them."""
    dataset = choice.recipe["dataset"]
    return {key: dataset[key] for key in ("image_size", "channels", "mean", "std") if key in dataset}


def labels(choice: Choice) -> list[str]:
    """Return the names of the classes in their order, where the dataset knows them."""
    data = choice.run.pipeline.data
    names = getattr(data, "classes", None) or getattr(data, "labels", None) or ()
    return [str(name) for name in names] if len(names) == data.outputs else []


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
        **({"label_names": labels(choice)} if labels(choice) else {}),
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
        network = _loaded(choice, about, folder)
    again = network.state_dict()
    other = [key for key in state if key not in again or not torch.equal(again[key], state[key])]
    if other or len(again) != len(state):
        key = other[0] if other else next(key for key in again if key not in state)
        raise UserError(f"{choice.run.folder.name}: the network cannot be loaded again from its folder: {key} differs")


def _loaded(choice: Choice, about: Mapping[str, Any], folder: Path) -> nn.Module:
    if "library" not in about:
        import timm

        return timm.create_model(f"local-dir:{folder}", pretrained=True)
    from pdiff.files import load_tensors
    from pdiff.networks import load_into

    architecture = choice.run.recipe.architecture.model_copy(update={"weights": ""})
    network = build_network(architecture, choice.run.pipeline.data, 0)
    load_into(network, load_tensors(folder / "model.safetensors"), "model.safetensors")
    return network
