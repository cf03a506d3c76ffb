"""Adapters as PEFT reads them: adapter_model.safetensors beside adapter_config.json, written without the library."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from pdiff.errors import UserError
from pdiff.files import save_tensors, write_json, write_text
from pdiff_plugins.adapters.files.adapter import Adapter, dense
from pdiff_plugins.adapters.files.config import CONFIG
from pdiff_plugins.adapters.files.names import BEFORE
from pdiff_plugins.adapters.layers import CONVOLUTIONS, A, B, owner

WEIGHTS = "adapter_model.safetensors"
TWICE = "0.21.2"
"""The last version of PEFT that is known to add the adapter of attention's out_proj twice."""
README = """# An adapter

Low-rank factors of a network's layers, for [PEFT](https://github.com/huggingface/peft). The network's own weights are
`base.safetensors`, here or in the folder above; `net` is a network of its architecture:

    net.load_state_dict(safetensors.torch.load_file("base.safetensors"))
    net = peft.PeftModel.from_pretrained(net, "{name}").eval()
"""


def write(adapter: Adapter, model: nn.Module, folder: Path, halved: bool | None = None) -> None:
    """Write an adapter into a folder. Raises UserError, before that, where PEFT would compute something else.

    `halved`: of attention's out_proj, which PEFT adds twice up to version 0.21.2 (its pull request 3774), B / 2 is
    written, or B as it is; None: there must be none.
    """
    for name in adapter.factors:
        _check(name, model)
    within = {name for name in adapter.factors if owner(name, _keys(adapter)) != name}
    if halved is None and (wanted := next((name for name in within if adapter.factors[name][1].any()), None)):
        raise UserError(
            f"--format peft: {wanted} has an adapter, which PEFT to 0.21.2 adds twice (its pull request 3774): for "
            "these say -o halved=true, for later ones that add it once -o halved=false"
        )
    state: dict[str, Tensor] = {}
    for name, (first, second) in adapter.factors.items():
        key = BEFORE + (f"{owner(name, _keys(adapter))}.base_layer.out_proj" if name in within else name)
        if isinstance(model.get_submodule(name), nn.Embedding):
            state |= {f"{key}.lora_embedding_A": second.T, f"{key}.lora_embedding_B": first.T}
        else:
            second = second / 2 if halved and name in within else second
            state |= {f"{key}.{A}.weight": dense(first, adapter.groups[name]), f"{key}.{B}.weight": second}
        if name in adapter.biases:
            state[f"{key}.base_layer.bias"] = adapter.biases[name]
    version = {"peft_version": TWICE if halved else None} if within else {}
    save_tensors(folder / WEIGHTS, state)
    write_json(folder / CONFIG, config(adapter, model, within) | version)
    write_text(folder / "README.md", README.format(name=folder.name.removeprefix(".").removesuffix(".part")))


def _keys(adapter: Adapter) -> set[str]:
    return {f"{name}.{A}.weight" for name in adapter.factors}


def config(adapter: Adapter, model: nn.Module, within: Collection[str] = ()) -> dict[str, Any]:
    """Return what adapter_config.json says; it names no layers `within` attention."""
    ranks = {name: len(pair[0]) for name, pair in adapter.factors.items() if name not in within}
    alphas = {name: alpha_for(adapter.scales[name], rank) for name, rank in ranks.items()}
    (rank, _), (alpha, _) = Counter(ranks.values()).most_common(1)[0], Counter(alphas.values()).most_common(1)[0]
    return {
        "peft_type": "LORA", "task_type": None, "base_model_name_or_path": None, "inference_mode": True,
        "r": rank, "lora_alpha": alpha, "target_modules": targets(list(ranks), model),
        "rank_pattern": {_whole(name): other for name, other in ranks.items() if other != rank},
        "alpha_pattern": {_whole(name): other for name, other in alphas.items() if other != alpha},
        "bias": "lora_only" if adapter.biases else "none", "lora_dropout": 0.0, "fan_in_fan_out": False,
        "use_rslora": False, "use_dora": False, "modules_to_save": None, "init_lora_weights": True,
    }  # fmt: skip


def alpha_for(scale: float, rank: int) -> float:
    """Return the alpha whose alpha / rank is the scale, to the last bit; a whole number where it is one."""
    near = scale * rank
    exact = (
        alpha for alpha in (near, math.nextafter(near, math.inf), math.nextafter(near, 0)) if alpha / rank == scale
    )
    alpha = next(exact, near)
    return int(alpha) if alpha == int(alpha) else alpha


def targets(names: Sequence[str], model: nn.Module) -> list[str] | str:
    """Return names of layers as PEFT finds these and no others: it takes all that end in one, so else an expression."""
    others = [name for name, _ in model.named_modules() if name not in names]
    if any(other.endswith(f".{name}") for other in others for name in names):
        return "|".join(map(re.escape, names))
    return list(names)


def _whole(name: str) -> str:
    """Return the expression that PEFT finds a layer by, and no other that ends in its name."""
    return f"^{re.escape(name)}"


def _check(name: str, model: nn.Module) -> None:
    """Raise UserError where PEFT's adapter of a layer is not this one."""
    layer: Any = model.get_submodule(name)
    if not name:
        raise UserError("--format peft: the network is one layer, and PEFT adapts layers within one; export without")
    for option, theirs in (("dilation", {1}), ("padding_mode", {"zeros"})) if isinstance(layer, CONVOLUTIONS) else ():
        ours = getattr(layer, option)
        if not {*([ours] if isinstance(ours, str) else ours)} <= theirs:
            raise UserError(
                f"--format peft: layer {name} has {option} = {ours}, which PEFT leaves out of its adapters; export "
                "without --format, which merges them, or leave the layer out by selector.exclude"
            )


def written(
    state: Mapping[str, Tensor], model: nn.Module, folder: Path, biases: bool, options: Mapping[str, Any]
) -> dict[str, float]:
    """Write a network's adapter, cut to a rank where that is asked for; return the share of energy that was lost.

    Raises UserError for an option that is neither `rank` nor `halved`, and for values that they cannot have.
    """
    if other := next((key for key in options if key not in ("rank", "halved")), None):
        raise UserError(f"-o {other}: format peft has no such option; it has: rank, halved")
    rank, halved, adapter = options.get("rank"), options.get("halved"), Adapter.of(state, model, biases)
    if not isinstance(halved, bool | None):
        raise UserError(f"-o halved={halved}: give true or false")
    if rank is None:
        write(adapter, model, folder, halved)
        return {}
    if not isinstance(rank, int) or isinstance(rank, bool) or rank < 1:
        raise UserError(f"-o rank={rank}: give the rank that each layer is cut to, 1 or more")
    adapter, lost = adapter.cut(rank)
    write(adapter, model, folder, halved)
    return {"energy lost": lost}
