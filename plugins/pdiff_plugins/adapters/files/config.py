"""adapter_config.json: what PEFT computes of a file's factors, and what of that pdiff does not."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pdiff.errors import UserError

CONFIG = "adapter_config.json"
"""The file beside an adapter's weights."""

READ = {"peft_type", "r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "bias"}
IDLE = {
    "auto_mapping", "base_model_name_or_path", "corda_config", "ensure_weight_tying",
    "eva_config", "exclude_modules", "fan_in_fan_out", "inference_mode", "layers_pattern", "layers_to_transform",
    "loftq_config", "lora_dropout", "lora_ga_config", "megatron_config", "megatron_core", "peft_version",
    "qalora_group_size", "revision", "runtime_config", "target_modules", "task_type", "velora_config",
}  # fmt: skip
"""What changes nothing of what factors compute: training, names, and which layers there are, as keys say."""
STARTS = (None, True, False, "gaussian", "eva", "orthogonal", "true", "false")
"""Ways to begin that leave the network as it was."""
OTHER = {
    "use_dora": "scales each row of the sum anew; train plain LoRA, or merge it and take whole networks",
    "modules_to_save": "holds whole layers, which the selector does not generate; train without",
    "init_lora_weights": "changes the network itself; let peft convert it (path_initial_model_for_weight_conversion)",
    "lora_bias": "gives B a bias; train without",
    "trainable_token_indices": "holds rows of an embedding; train without",
    "target_parameters": "adapts parameters that are no layers; name layers by target_modules",
}  # fmt: skip
"""Why some options are refused, and what to do."""
UNKNOWN = "is not read; where it changes nothing of what the adapter computes, take it out of the file"


def config_of(folder: Path) -> Path | None:
    """Return a folder's adapter_config.json; None where there is none."""
    file = folder / CONFIG
    return file if file.is_file() else None


def read_config(file: Path) -> dict[str, Any]:
    """Return what the file says. Raises UserError."""
    try:
        given = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file}: is no JSON ({' '.join(str(error).split())}); fetch the adapter again") from None
    if not isinstance(given, dict):
        raise UserError(f"{file}: is no table; fetch the adapter again")
    return given


def fault(given: Mapping[str, Any]) -> str:
    """Return the first thing in which an adapter is not plain LoRA, and what to do; "" where it is."""
    return next(_faults(given), "")


def _faults(given: Mapping[str, Any]) -> Iterator[str]:
    if given.get("peft_type") != "LORA":
        yield f'peft_type = {given.get("peft_type")!r} is no LoRA; only "LORA" is read'
    if not _is_count(given.get("r")):
        yield f"r = {given.get('r')!r} is no rank; write the whole number that the adapter was trained with"
    if not _is_number(given.get("lora_alpha")):
        yield f"lora_alpha = {given.get('lora_alpha')!r} is no number above 0; write what the adapter was trained with"
    for key, right in (("rank_pattern", _is_count), ("alpha_pattern", _is_number)):
        pattern = given.get(key) or {}
        if not isinstance(pattern, dict) or not all(map(right, pattern.values())) or not all(map(_compiles, pattern)):
            yield f"{key} = {pattern!r} is no table of numbers by layer; write what the adapter was trained with"
    for key in ("target_modules", "exclude_modules"):
        names = given.get(key) or []
        if not (isinstance(names, list) and all(isinstance(name, str) for name in names)) and not _compiles(names):
            yield f"{key} = {names!r} is neither an expression nor a list of names; fetch the file again"
    if given.get("bias", "none") not in ("none", "all", "lora_only"):
        yield f"bias = {given['bias']!r} is none of none, all, lora_only"
    if given.get("init_lora_weights") not in STARTS:
        yield f"init_lora_weights = {given['init_lora_weights']!r} {OTHER['init_lora_weights']}"
    for key, value in given.items():
        if value and key not in READ | IDLE | {"init_lora_weights"}:
            yield f"{key} = {json.dumps(value)} {OTHER.get(key, UNKNOWN)}"


def faults(files: Sequence[Path]) -> list[str]:
    """Return a line for each thing that keeps adapters from being read: the first file that has it, and how many do."""
    found: dict[str, list[Path]] = {}
    for file in files:
        if why := fault(read_config(file)):
            found.setdefault(why, []).append(file)
    return [f"{having[0]}{f' and {len(having) - 1} more' * (len(having) > 1)}: {why}" for why, having in found.items()]


def scale(given: Mapping[str, Any], module: str, rank: int) -> float:
    """Return what PEFT multiplies a layer's B A by."""
    alpha = _found(given.get("alpha_pattern"), module, given["lora_alpha"])
    return alpha / (math.sqrt(rank) if given.get("use_rslora") else rank)


def adds_twice(given: Mapping[str, Any]) -> bool:
    """Return whether the version of PEFT that wrote a file adds the adapter of attention's out_proj twice.

    Its versions up to 0.21.2 do (its pull request 3774), of which the older ones do not say theirs.
    """
    version = given.get("peft_version", "0")
    numbers = [int(number) for number in re.findall(r"\d+", str(version))[:3]]
    return version is not None and numbers <= [0, 21, 2]


def targeted(given: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """Return which of a network's layers PEFT gives an adapter; none where that is not said by their names alone."""
    target, exclude = given.get("target_modules"), given.get("exclude_modules")
    if not target or target == "all-linear" or given.get("layers_to_transform") is not None:
        return []
    return [name for name in names if _named(name, target) and not (exclude and _named(name, exclude))]


def _named(name: str, names: str | Sequence[str]) -> bool:
    """Return whether an expression is of a whole name, or one of several names is its end."""
    if isinstance(names, str):
        return re.fullmatch(names, name) is not None
    return any(name == end or name.endswith(f".{end}") for end in names)


def rank_of(given: Mapping[str, Any], module: str) -> int:
    """Return the rank that a layer's adapter has by the file."""
    return int(_found(given.get("rank_pattern"), module, given["r"]))


def _found(pattern: Mapping[str, Any] | None, module: str, otherwise: Any) -> Any:
    """Return what a pattern says of a layer, as PEFT finds it: the first expression that ends its name counts."""
    matching = (value for key, value in (pattern or {}).items() if re.match(rf"(.*\.)?({key})$", module))
    return next(matching, otherwise)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


def _compiles(text: object) -> bool:
    try:
        re.compile(str(text) if isinstance(text, str) else "(")
    except re.error:
        return False
    return True
