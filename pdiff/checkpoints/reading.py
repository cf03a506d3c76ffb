"""A checkpoint file for one network: which of its state dicts is meant, and under which names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pdiff.checkpoints.names import WRAPPERS, is_counter, listed, prefixes, renamed, unwrapped
from pdiff.checkpoints.opening import opened, weights_in
from pdiff.checkpoints.order import by_numbers, in_order
from pdiff.errors import UserError, did_you_mean
from pdiff.zoo import tied

ADAPTER = re.compile(r"(\blora_\w+)\.(\w+?)((?:\.weight)?)$")
"""The end of a low-rank adapter's name in memory: its layer, its own name, "weight"."""
TOP = "."
"""The key of what lies in no other mapping of a file and behind no prefix."""
DEPTH = 4
"""Of mappings within mappings in which a state dict is looked for."""

State = dict[str, Tensor]
Convert = Callable[[State], Mapping[str, Tensor]]
Place = tuple[str, State, list[str]]
"""A mapping within a file: the keys that lead to it, its tensors, and its other keys."""


@dataclass(frozen=True)
class Found:
    """A state dict within a file: where it is, what of it has a network's names, and what was done for that."""

    place: str
    """The keys that lead to it, and the prefix of its entries, with dots between."""
    state: State
    done: tuple[str, ...] = ()


def load_state(path: str | Path) -> State:
    """Read the one state dict of a file, whatever network it is of: its names are kept but for torch's own prefixes.

    Raises UserError for a missing, damaged or code-carrying file, and for one that holds none or several.
    """
    found = {place: state for place, state, _ in mappings(opened(Path(path)))}
    place = next((place for place in ("", "state_dict", "model", *found) if place in found), None)
    if place is None or (len(found) > 1 and place not in ("", "state_dict", "model")):
        several = f"several state dicts ({listed(found)})" if found else "no state dict"
        raise UserError(f"{path}: holds {several}; save one mapping of names to tensors")
    state = found[place]
    if odd := next((key for key, value in state.items() if value.is_complex() or not _is_dense(value)), None):
        raise UserError(f"{path}: {odd} is no dense tensor of real numbers; save it as one")
    names = {name: unwrapped(name, ()) for name in state}
    known = re.compile(rf"({'|'.join(map(re.escape, ('module.', *WRAPPERS)))})*")
    shared = min((match[0] for name in names.values() if (match := known.match(name))), key=len)
    return {names[name].removeprefix(shared): value for name, value in state.items()}


def mappings(data: Any, place: str = "", depth: int = DEPTH) -> Iterator[Place]:
    """Yield each mapping that holds tensors by name: the keys that lead to it, its tensors, and its other keys."""
    if not isinstance(data, Mapping):
        return
    state = {key: value for key, value in data.items() if isinstance(key, str) and isinstance(value, Tensor)}
    if state:
        yield place, state, [str(key) for key in data if key not in state]
    for key, value in data.items() if depth else ():
        yield from mappings(value, f"{place}.{key}" if place else str(key), depth - 1)


def _is_dense(value: Tensor) -> bool:
    return value.layout == torch.strided and not value.is_meta and not value.is_quantized


class Reader:
    """Reads checkpoint files for one network, and keeps count of what it had to do for that."""

    def __init__(
        self, model: nn.Module, table: str, *, key: str = "", rename: Mapping[str, str] | None = None,
        match: Literal["names", "order"] = "names", needed: Collection[str] | None = None,
        new: Collection[str] = (), convert: Convert | None = None,
    ):  # fmt: skip
        """`table` is the recipe's, for messages; the options are those of the same names in it.

        `needed`: entries that a file must have (default: all), `new`: those that are left as they are; `convert` gives
        published state dicts the network's names.
        """
        self.expected, self.table = model.state_dict(), table
        self.key, self.rename, self.match, self.new, self.convert = key, dict(rename or {}), match, set(new), convert
        self.tied = tied(self.expected)
        whole = [name for name in self.expected if not is_counter(name) and name not in self.new]
        self.needed = [name for name in self.expected if name in needed] if needed is not None else whole
        self.ordered = True
        """Whether the file that is read keeps the order of its entries."""
        self.done, self.unused, self.count = Counter[str](), set(self.rename), 0

    def said(self) -> list[str]:
        """Return what was done to the files, in a line for each way in which they differ from the network's own."""
        counted = ((f"{count} {'file' if count == 1 else 'files'}", what) for what, count in self.done.items())
        lines = [f"{self.table}: {files}: {what}" for files, what in counted]
        if self.unused and self.count:
            lines.append(f"{self.table}.rename: {listed(sorted(self.unused))} matches no entry")
        return lines

    def read(self, path: Path) -> State:
        """Return the entries that a file or folder has of the network, in its names.

        Raises UserError, which names the file, where none or several of its state dicts fit, or entries do not.
        """
        data = opened(path)
        self.ordered = not any(file.suffix == ".safetensors" for file in [path, *weights_in(path)])
        places = list(mappings(data))
        if not places:
            keys = f"; it has the keys {listed(map(str, data), 8)}" if isinstance(data, Mapping) and data else ""
            raise UserError(f"{path}: holds no state dict (a mapping of names to tensors){keys}")
        places, found = self._asked(path, places, [one for place in places for one in self._named(*place)])
        fitting = [candidate for candidate in found if self._misfit(candidate.state) is None]
        if not fitting and self.match == "names":
            fitting = [new for place in places for new in self._converted(*place)]
        if not fitting:
            raise UserError(self._told(path, found, places))
        self._check_alone(path, fitting[0], [*fitting[1:], *(one for one in found if self._lacking(one.state) is None)])
        state, more = self._finished(path, fitting[0].state)
        self.count += 1
        if what := "; ".join([*fitting[0].done, *more]):
            self.done[what] += 1
        return state

    def _check_alone(self, path: Path, chosen: Found, others: Sequence[Found]) -> None:
        """Raise UserError where other state dicts of the file have all that is needed, too, and other values."""
        others = [one for one in others if any(not _same(one.state, chosen.state, name) for name in self.needed)]
        if others:
            places = dict.fromkeys(one.place for one in [chosen, *others])
            shown = listed((repr(place) if place else f"its top ({TOP!r})" for place in places), 6)
            key = [place for place in places if place][-1]
            raise UserError(
                f"{path}: holds several state dicts that fit: {shown}; say which, as {self.table}.key = {key!r}"
            )

    def _named(self, place: str, state: State, others: list[str]) -> Iterator[Found]:
        """Yield a mapping's entries under each prefix behind which the network's names stand."""
        done, new = list(_taken(place, others)), renamed(list(state), self.rename)
        if new:
            self.unused -= {rule for rule in self.rename if renamed(list(state), {rule: ""})}
            kept, gone = [f"{old} to {to}" for old, to in new.items() if to], [old for old, to in new.items() if not to]
            done += [f"renamed {listed(kept)}"] * bool(kept) + [f"left out {listed(gone)}"] * bool(gone)
        names = {unwrapped(new.get(name, name), self.expected): name for name in state if new.get(name, name)}
        kept = [name for name in state if new.get(name, name)]
        if len(names) < len(kept):
            return  # two entries would have one name
        if self.match == "order":
            yield from self._in_order(place, {name: state[old] for name, old in names.items()}, done)
            return
        befores = prefixes(names, self.expected)
        for prefix in befores:
            apart = tuple(filter(None, befores)) if self.key == TOP and not prefix else ()
            mine = [name for name in names if name.startswith(prefix)]
            mine = [name for name in mine if name in self.expected or not name.startswith(apart)]
            within = {name.removeprefix(prefix): names[name] for name in mine}
            taken = set(within.values())
            outside = [old for old in names.values() if old not in taken]
            shown = next((old.removesuffix(name) for name, old in within.items() if old.endswith(name)), prefix)
            more = [f"prefix {shown!r} dropped"] * bool(shown) + [f"ignored {listed(outside)}"] * bool(outside)
            found = {name: state[old] for name, old in within.items()}
            yield Found(".".join(filter(None, (place, prefix.rstrip(".")))), found, (*done, *more))

    def _in_order(self, place: str, state: State, done: list[str]) -> Iterator[Found]:
        pairs = self._paired(state)
        if pairs:
            shown = f"matched by shape and order ({listed(f'{old} as {new}' for new, old in pairs.items())})"
            yield Found(place, {new: state[old] for new, old in pairs.items()}, (*done, shown))

    def _paired(self, state: State) -> dict[str, str] | None:
        """Return theirs for each of our names as shapes and order have it; None where they do not tell."""
        theirs = {name: value for name, value in state.items() if not is_counter(name)}
        every = [name for name in self.expected if not is_counter(name)]
        first = [name for name in every if self.tied.get(name, [name])[0] == name]
        for names in (every, first, [name for name in self.needed if name in first]):
            ours = {name: self.expected[name] for name in names}
            pairs = in_order(ours, theirs, self.new) if self.ordered else None
            pairs = pairs or by_numbers(ours, theirs, self.new)
            if pairs and not any(_other_kind(new, state[old], ours[new]) for new, old in pairs.items()):
                return pairs
        return None

    def _converted(self, place: str, state: State, others: list[str]) -> Iterator[Found]:
        """Yield what a published state dict is in the network's names, where it then fits."""
        for convert in filter(None, (self.convert, self._adapters)):
            for shared in _shared_prefixes(list(state)):
                names = {unwrapped(name, self.expected).removeprefix(shared): name for name in state}
                try:
                    new = dict(convert({name: state[old] for name, old in names.items()}))
                except Exception:  # a converter of one published kind can fail on another in any way
                    continue
                pairs = [f"{old} as {name}" for old, name in zip(names, new, strict=False) if old != name]
                done = f"published names read ({listed(pairs, 2)})" if pairs else "read as its publisher does"
                fitting = [one for one in self._named(place, new, others) if self._misfit(one.state) is None]
                yield from (replace(one, done=(*one.done, done)) for one in fitting)
                if fitting:
                    return

    def _adapters(self, state: State) -> State:
        """Return low-rank adapters as PEFT has them in memory: its files leave out the adapter's name."""
        full = {ADAPTER.sub(r"\1\3", name): name for name in self.expected}
        return {full.get(name, name): value for name, value in state.items()}

    def _asked(self, path: Path, places: list[Place], found: list[Found]) -> tuple[list[Place], list[Found]]:
        """Return the mappings and candidates that `key` names; all without. Raises UserError where there is none."""
        if not self.key:
            return places, found
        key, below = "" if self.key == TOP else self.key, f"{self.key}."
        mine = [one for one in places if one[0] == key] or [one for one in places if one[0].startswith(below)]
        named = [one for one in found if one.place == key] or [one for one in found if one.place.startswith(below)]
        if mine or named:
            return mine, named
        known = dict.fromkeys([one.place for one in found if one.place] or [place for place, _, _ in places if place])
        there = listed(known, 8) if known else "one state dict, at its top"
        near = did_you_mean(self.key, known)
        raise UserError(f"{path}: {self.table}.key = {self.key!r}: is not there{near}; there: {there}")

    def _misfit(self, state: State) -> str | None:
        """Return the first thing in which a state dict is not the network's; None where it is."""
        extra = next((name for name in state if name not in self.expected and not self._idle(name)), None)
        told = self._lacking(state)
        if extra is None or (told and told.startswith("lacks")):
            return told
        return (
            f"holds {extra!r}, which the architecture has not; is it another network? If it is of no account, "
            f'leave it out by {self.table}.rename = {{ "{extra}" = "" }}'
        )

    def _idle(self, name: str) -> bool:
        """Return whether an entry of a file is passed over."""
        return name in self.new or (is_counter(name) and name not in self.expected)

    def _lacking(self, state: State) -> str | None:
        """Return the first of the network's entries that a state dict lacks, or has in another shape or type."""
        for name in self.needed:
            if name not in state and not any(alias in state for alias in self.tied.get(name, ())):
                return f"lacks {name!r}" + (", which the selector names" if self.table == "collect" else "")
        for name, value in state.items():
            if name in self.expected and not self._idle(name):
                if value.shape != self.expected[name].shape:
                    return f"{name} has shape {list(value.shape)}, expected {list(self.expected[name].shape)}"
                if fault := _other_kind(name, value, self.expected[name]):
                    return fault
        return None

    def _told(self, path: Path, found: Sequence[Found], places: Sequence[Place]) -> str:
        """Return why nothing in a file fits, told of what comes nearest."""
        if clash := next(filter(None, (self._clash(state) for _, state, _ in places)), None):
            return f"{path}: {self.table}.rename makes {clash} one entry; correct its rules"
        best = max(found, key=lambda one: len(self.expected.keys() & one.state.keys()), default=None)
        hint = ""
        if self.match == "names" and any(self._paired(state) for _, state, _ in places):
            hint = f"; it has the same shapes in the same order: {self.table}.match = 'order' takes them so"
        if best is not None:
            keys = [place for place, _, _ in places if place]
            beside = f" (in {best.place!r}; {self.table}.key takes another)" if len(keys) > 1 and best.place else ""
            return f"{path}: {self._misfit(best.state)}{beside}{hint}"
        place, state, others = max(places, key=lambda one: len(one[1]), default=("", {}, []))
        has = f"{'under ' + repr(place) + ' ' if place else ''}{listed(map(repr, state), 2)}"
        shown = f"; its keys: {listed([*others, *(p for p, _, _ in places if p)], 8)}" if others or place else ""
        if self.match == "order":
            return f"{path}: its shapes are not the network's in their order: it has {has}{shown}{self._unordered()}"
        hint = hint or f'; map names by {self.table}.rename = {{ "theirs.*" = "ours.*" }}'
        return f"{path}: lacks {self.needed[0]!r}; it has {has}{shown}{hint}"

    def _clash(self, state: State) -> str:
        """Return two entries that get the same name, told; "" where there are none."""
        names: dict[str, str] = {}
        for name, new in ({name: name for name in state} | renamed(list(state), self.rename)).items():
            if new and names.setdefault(new, name) != name:
                return f"{names[new]!r} and {name!r}"
        return ""

    def _unordered(self) -> str:
        told = "; a .safetensors file keeps no order but that of numbers in names: save it by torch.save, or map names"
        return "" if self.ordered else f"{told} by {self.table}.rename"

    def _finished(self, path: Path, state: State) -> tuple[State, list[str]]:
        """Return the entries as they are kept, and what was done to them."""
        state = {name: value for name, value in state.items() if name in self.expected and name not in self.new}
        small = [name for name, value in state.items() if value.is_floating_point() and value.element_size() == 1]
        state |= {name: state[name].float() for name in small}
        done = [f"float8 read as float32 ({listed(small)})"] if small else []
        completed = []
        for names in {tuple(names) for names in self.tied.values()}:
            there = [name for name in names if name in state]
            if odd := next((name for name in there[1:] if not state[name].equal(state[there[0]])), None):
                raise UserError(
                    f"{path}: {there[0]} and {odd} differ, which are one tensor in the network; mend the file, or "
                    "build the network without the tie"
                )
            if there and len(there) < len(names):
                completed += [name for name in names if name not in state]
                state |= dict.fromkeys(names, state[there[0]])
        return state, done + ([f"tied {listed(completed)} completed"] if completed else [])


def _taken(place: str, others: Sequence[str]) -> tuple[str, ...]:
    return (f"taken from {place!r}",) * bool(place) + (f"ignored {listed(others)}",) * bool(others)


def _shared_prefixes(names: Sequence[str]) -> Iterator[str]:
    """Yield "", and what all names begin with, ended by a dot: shorter ones first."""
    shared = ""
    while names:
        yield shared
        first, dot, _ = names[0].removeprefix(shared).partition(".")
        shared += first + dot
        if not dot or not all(name.startswith(shared) for name in names):
            return


def _same(one: State, other: State, name: str) -> bool:
    ours, theirs = one.get(name), other.get(name)
    return ours is theirs or (ours is not None and theirs is not None and ours.equal(theirs))


def _other_kind(name: str, value: Tensor, ours: Tensor) -> str | None:
    """Return why values of this type cannot stand for the network's; None where they can."""
    if not _is_dense(value):
        return f"{name} is no dense tensor of plain numbers; save it as one"
    kinds = [
        "complex" if tensor.is_complex() else "floating point" if tensor.is_floating_point() else "whole numbers"
        for tensor in (value, ours)
    ]
    if kinds[0] == kinds[1] or is_counter(name):
        return None
    scale = ": whole numbers of a quantised network need a scale; save it dequantised" * (kinds[0] == "whole numbers")
    return f"{name} is {str(value.dtype)[6:]}, the network's {str(ours.dtype)[6:]}{scale}"
