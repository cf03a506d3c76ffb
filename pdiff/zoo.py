"""Zoo: N checkpoints as one tensor; Layout: the map between state-dict entries and its columns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pdiff.errors import UserError
from pdiff.files import load_tensors, read_json, save_rows, save_tensors, write_json
from pdiff.mapped import take

CONDITIONS = "conditions.safetensors"
SMALLEST_VARIANCE = 1e-10
"""Channels that are always zero have a variance of zero, whose logarithm would be infinite."""


@dataclass(frozen=True)
class Entry:
    """One selected state-dict entry: columns `start:stop` of the vector."""

    key: str
    shape: tuple[int, ...]
    start: int
    positive: bool = False
    """True for variances: values must stay above zero."""
    also: tuple[str, ...] = ()
    """Further names of the same tensor: parameters that are tied count once."""
    is_complex: bool = False
    """Whether the last side of `shape`, which is 2, holds real and imaginary parts."""

    @property
    def stop(self) -> int:
        """The column behind its last."""
        return self.start + math.prod(self.shape)

    @property
    def columns(self) -> slice:
        """Its columns of the vector."""
        return slice(self.start, self.stop)


def tied(state: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """Return the names of each tensor that a network's state dict holds under several, by each of them."""
    names: dict[Any, list[str]] = {}
    for key, value in state.items():
        if value.numel() and value.layout == torch.strided and not value.is_meta:
            at = (value.data_ptr(), value.dtype, value.shape, value.stride())
            names.setdefault(at, []).append(key)
    return {key: alike for alike in names.values() if len(alike) > 1 for key in alike}


@dataclass(frozen=True)
class Layout:
    """The selected entries of a state dict, in order."""

    entries: tuple[Entry, ...]

    @classmethod
    def of(cls, model: nn.Module, keys: Sequence[str]) -> Layout:
        """Return the layout of `keys`; entries of whole numbers (counters, masks) or of none stay with the anchor."""
        state, entries, start, known = model.state_dict(), list[Entry](), 0, set[str]()
        names = tied(state)
        for key in keys:
            if key not in state:
                raise UserError(f"selector: names {key!r}, which is not in the network's state dict")
            value, is_complex = state[key], state[key].is_complex()
            if key in known or not value.numel() or not (value.is_floating_point() or is_complex):
                continue
            positive = key.rsplit(".", 1)[-1] == "running_var"
            also = tuple(name for name in names.get(key, ()) if name != key)
            shape = (*value.shape, 2) if is_complex else tuple(value.shape)
            entries.append(Entry(key, shape, start, positive, also, is_complex))
            start = entries[-1].stop
            known |= {key, *also}
        if not start:
            raise UserError("selector: the selected entries hold no floating-point numbers; select others")
        return cls(tuple(entries))

    @property
    def dim(self) -> int:
        """D, the number of selected parameters."""
        return self.entries[-1].stop

    @property
    def keys(self) -> list[str]:
        """The entries' keys in the state dict, and their further names."""
        return [key for entry in self.entries for key in (entry.key, *entry.also)]

    def vector(self, state: Mapping[str, Tensor]) -> Tensor:
        """Return theta_D, float32 on the CPU, from a state dict."""
        return self.joined(state).cpu()

    def joined(self, state: Mapping[str, Tensor]) -> Tensor:
        """Return theta_D, float32 on the device of the state dict: from there it is one copy."""
        values = ((e, state[e.key].detach()) for e in self.entries)
        reals = [torch.view_as_real(value.resolve_conj()) if e.is_complex else value for e, value in values]
        return torch.cat([value.to(torch.float32).reshape(-1) for value in reals])

    def tensors(self, theta: Tensor) -> dict[str, Tensor]:
        """Return state-dict entries as views of `theta` `[..., D]`, each `[..., *shape]`."""
        tensors, parts = dict[str, Tensor](), theta.split([math.prod(e.shape) for e in self.entries], dim=-1)
        for e, part in zip(self.entries, parts, strict=True):  # by slices, each would have a whole gradient of its own
            value = part.reshape((*theta.shape[:-1], *e.shape))
            value = torch.complex(value[..., 0], value[..., 1]) if e.is_complex else value
            tensors |= dict.fromkeys((e.key, *e.also), value)
        return tensors

    def to_free(self, theta: Tensor) -> Tensor:
        """Return coordinates without bounds: the logarithm where an entry must be positive, else itself."""
        return self._on_positive(theta, lambda values: values.clamp_min(SMALLEST_VARIANCE).log())

    def from_free(self, x: Tensor) -> Tensor:
        """Invert `to_free`; what it returns is positive where it must be."""
        return self._on_positive(x, torch.exp)

    def _on_positive(self, values: Tensor, function: Any) -> Tensor:
        if not any(e.positive for e in self.entries):
            return values
        values = values.clone()
        for e in self.entries:
            if e.positive:
                values[..., e.columns] = function(values[..., e.columns])
        return values

    def per_entry(self, values: Sequence[float] | Tensor) -> Tensor:
        """Return a `[D]` tensor from one number per entry."""
        counts = torch.tensor([math.prod(e.shape) for e in self.entries])
        return torch.as_tensor(values, dtype=torch.float32).repeat_interleave(counts)

    def to_json(self) -> list[dict[str, Any]]:
        """Return what `from_json` reads."""
        rows = []
        for e in self.entries:
            more = ({"also": list(e.also)} if e.also else {}) | ({"is_complex": True} if e.is_complex else {})
            rows.append({"key": e.key, "shape": list(e.shape), "positive": e.positive} | more)
        return rows

    @classmethod
    def from_json(cls, rows: list[dict[str, Any]]) -> Layout:
        """Rebuild a layout."""
        entries, start = [], 0
        for row in rows:
            also, is_complex = tuple(row.get("also", ())), bool(row.get("is_complex"))
            entries.append(Entry(row["key"], tuple(row["shape"]), start, row["positive"], also, is_complex))
            start = entries[-1].stop
        return cls(tuple(entries))


def about(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the network of a row is for: its `about`, or the label that it has; nothing where it says nothing."""
    return dict(row.get("about") or ({"label": row["label"]} if "label" in row else {}))


@dataclass
class Zoo:
    """Checkpoints that differ only in the selected parameters."""

    theta_ND: Tensor
    """float32, on the CPU; of a stored zoo a map of its file, which is read by windows or by rows (`pdiff.mapped`)."""
    layout: Layout
    anchor: dict[str, Tensor]
    """The base network's whole state dict."""
    rows: list[dict[str, Any]] = field(default_factory=list)
    """One per checkpoint: `run`, `step`, `metrics`, and where there are such, `about` (see `about`), `part` and `file`.

    After steps also `of`, its number as it was collected, and of copies `copy`, counted from 1.
    """
    holdout: Zoo | None = None
    """Checkpoints that no method has seen, for evaluators to compare with."""
    condition_NC: Tensor | None = None
    """float32, on the CPU: what each is about, as the recipe's encoder has it."""

    def __post_init__(self) -> None:
        count, dim = self.theta_ND.shape
        assert dim == self.layout.dim and len(self.rows) == count
        assert self.condition_NC is None or len(self.condition_NC) == count

    def __len__(self) -> int:
        return len(self.theta_ND)

    @classmethod
    def of_one(cls, state: dict[str, Tensor], layout: Layout) -> Zoo:
        """Return a zoo of one network, given its whole state dict."""
        return cls(layout.vector(state)[None], layout, state, [{"run": 0, "step": 0, "metrics": {}}])

    def subset(self, index: Sequence[int], folder: Path | None = None) -> Zoo:
        """Return the checkpoints of these numbers, in this order, and what is held out as it is.

        Large ones that must be copied lie in a file of that folder (of a step: `ctx.snapshot.folder`).
        """
        chosen = list(index)
        rows, condition_NC = [self.rows[row] for row in chosen], self.condition_NC
        condition_NC = condition_NC if condition_NC is None else condition_NC[chosen]
        return replace(self, theta_ND=take(self.theta_ND, chosen, folder), rows=rows, condition_NC=condition_NC)

    @property
    def base(self) -> Tensor:
        """The base network's selected parameters, theta_D."""
        return self.layout.vector(self.anchor)

    def state_dict(self, theta_D: Tensor) -> dict[str, Tensor]:
        """Return a whole state dict: the anchor with the selected parameters replaced."""
        state = {key: value.clone() for key, value in self.anchor.items()}
        for key, value in self.layout.tensors(theta_D).items():
            state[key] = value.to(state[key].dtype).clone()
        return state

    def save(self, folder: Path) -> None:
        """Write zoo.safetensors, anchor.safetensors and zoo.json, and the checkpoints held out beside them."""
        save_rows(folder / "zoo.safetensors", self.theta_ND)
        save_tensors(folder / "anchor.safetensors", self.anchor)
        about: dict[str, Any] = {"layout": self.layout.to_json(), "rows": self.rows}
        if self.holdout is not None:
            save_rows(folder / "holdout.safetensors", self.holdout.theta_ND)
            about["holdout"] = self.holdout.rows
        if self.condition_NC is not None:
            tables = {"zoo": self.condition_NC}
            if self.holdout is not None and self.holdout.condition_NC is not None:
                tables["holdout"] = self.holdout.condition_NC
            save_tensors(folder / CONDITIONS, tables)
        write_json(folder / "zoo.json", about)

    @classmethod
    def open(cls, folder: Path) -> Zoo:
        """Read what `save` wrote; theta is memory-mapped. Raises UserError where its files do not fit together."""
        about, anchor = read_json(folder / "zoo.json"), load_tensors(folder / "anchor.safetensors")
        try:
            layout = Layout.from_json(about["layout"])
            zoo = cls(load_tensors(folder / "zoo.safetensors")["theta"], layout, anchor, about["rows"])
            if "holdout" in about:
                theta_HD = load_tensors(folder / "holdout.safetensors")["theta"]
                zoo.holdout = cls(theta_HD, layout, anchor, about["holdout"])
            if (folder / CONDITIONS).is_file():
                conditions = load_tensors(folder / CONDITIONS)
                zoo.condition_NC = conditions["zoo"]
                if zoo.holdout is not None:
                    zoo.holdout.condition_NC = conditions["holdout"]
        except (AssertionError, AttributeError, LookupError, OverflowError, TypeError) as error:
            why = f"{type(error).__name__} {error}".strip()
            raise UserError(f"{folder}: the stored zoo is damaged ({why}); delete the folder and run again") from None
        return zoo
