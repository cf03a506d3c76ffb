"""Which layers of a network have adapters, of which rank: globs over names, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TypeVar

from torch import Tensor, nn
from torch.utils import _pytree as pytree

from pdiff.errors import UserError, did_you_mean
from pdiff_plugins.adapters.layers import adapted, groups, most, unfit, weights

Number = TypeVar("Number", int, float)


def matches(name: str, pattern: str) -> bool:
    """True where a glob is of a layer's name, or of its end; one without a dot is of the last part alone."""
    if "." not in pattern:
        return fnmatchcase(name.rpartition(".")[2], pattern)
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"*.{pattern}")


def first(name: str, table: Mapping[str, Number], otherwise: Number) -> Number:
    """Return what a layer's name stands for, or the first glob that is of it."""
    return (
        table[name]
        if name in table
        else next((value for pattern, value in table.items() if matches(name, pattern)), otherwise)
    )


def chosen(model: nn.Module, targets: Sequence[str], exclude: Sequence[str]) -> list[str]:
    """Return the names of the layers to adapt, in the network's order. Raises UserError; see `selector`."""
    modules, parts = dict(model.named_modules()), _parts(model)
    able = [name for name, module in modules.items() if name not in parts and not unfit(module)]
    for pattern in targets:
        _check_target(pattern, modules, able, parts)
    check_known("exclude", exclude, able)
    wanted = set()
    for pattern in targets:  # "*" is of embeddings, too, where they are named beside it
        plainly = [name for name in able if pattern != "*" or not isinstance(modules[name], nn.Embedding)]
        wanted |= {name for name in plainly if matches(name, pattern)}
    found = [name for name in able if name in wanted and not any(matches(name, pattern) for pattern in exclude)]
    if not found:
        raise UserError("selector.exclude leaves none of the layers that selector.targets matches")
    _check_tied(model, found)
    return found


def _parts(model: nn.Module) -> dict[str, str]:
    """Return the layers that attention reads the weights of, and never calls, with the attention that has them."""
    attention = [name for name, module in model.named_modules() if isinstance(module, nn.MultiheadAttention)]
    return {f"{name}.out_proj".removeprefix("."): name for name in attention}


def _check_target(
    pattern: str, modules: Mapping[str, nn.Module], able: Sequence[str], parts: Mapping[str, str]
) -> None:
    """Raise UserError where a glob is of no layer that can have an adapter, or is the name of one that cannot."""
    known = any(matches(name, pattern) for name in able)
    if known and any(sign in pattern for sign in "*?["):
        return
    for name in (name for name in modules if name not in able and matches(name, pattern)):
        layer = f"selector.targets: {name!r} ({type(modules[name]).__name__})"
        if name in parts:
            raise UserError(f"{layer} is a part of the attention {parts[name]!r}, whose adapter is of both; name that")
        if any(True for _ in modules[name].parameters(recurse=False)):
            raise UserError(f"{layer} {unfit(modules[name])}")
        if not known:
            inner = ", ".join([repr(one) for one in able if one.startswith(f"{name}.")][:3])
            raise UserError(f"{layer} is no layer{f'; it holds {inner}' if inner else ''}")
    if known:
        return
    raise UserError(
        f"selector.targets: {pattern!r} matches none of the {len(able)} layers that can have adapters"
        f"{_near(pattern, able)}"
    )


def check_known(option: str, patterns: Iterable[str], names: Sequence[str]) -> None:
    """Raise UserError where a glob is of none of the layers."""
    for pattern in patterns:
        if not any(matches(name, pattern) for name in names):
            raise UserError(
                f"selector.{option}: {pattern!r} matches none of the {len(names)} layers{_near(pattern, names)}"
            )


def _near(pattern: str, names: Sequence[str]) -> str:
    parts = names if "." in pattern else list(dict.fromkeys(name.rpartition(".")[2] for name in names))
    return did_you_mean(pattern, parts) or (f"; there are {', '.join(map(repr, parts[:6]))}" if parts else "")


def _check_tied(model: nn.Module, names: Sequence[str]) -> None:
    """Raise UserError where a layer's weight is another's, too."""
    owners: dict[int, list[str]] = {}
    for key, parameter in model.named_parameters(remove_duplicate=False):
        owners.setdefault(id(parameter), []).append(key)
    for name in names:
        for weight in weights(model.get_submodule(name)):
            if len(keys := owners[id(weight)]) > 1:
                raise UserError(
                    f"selector.targets: {name!r} shares its weight ({' = '.join(keys)}), so that an adapter "
                    f"could not be merged; leave it out: selector.exclude = [{name!r}]"
                )


def check_groups(name: str, layer: nn.Module, rank: int) -> None:
    """Raise UserError where a convolution cannot part a rank among its groups."""
    if rank % groups(layer):
        raise UserError(
            f"selector.rank = {rank}: {name!r} ({type(layer).__name__}) has {groups(layer)} groups, of which its rank "
            f"must be a multiple; give it one of its own (selector.ranks = {{ {name!r} = N }}) or leave it out by "
            "selector.exclude"
        )


def check_called(model: nn.Module, run: Callable[[], object]) -> None:
    """Raise UserError where a network reads the weight of an adapted layer that it never calls: nothing is added there.

    One that is not called, whose weight matters, is read; others are those that the examples do not reach.
    """
    parts, seen, given = _parts(model), set[str](), list[object]()
    names = [name for name in adapted(model) if name not in parts]
    hooks = [model.get_submodule(name).register_forward_hook(lambda *_, name=name: seen.add(name)) for name in names]
    hooks.append(model.register_forward_hook(lambda _, inputs, output: given.append(output)))
    try:
        run()
        for name in (name for name in names if name not in seen):
            weight = weights(model.get_submodule(name))[0]
            kept = weight.clone()
            del given[1:]
            weight.add_(1)
            run()
            weight.copy_(kept)
            before, after = (pytree.tree_leaves(each) for each in given)
            if any(isinstance(one, Tensor) and not one.equal(other) for one, other in zip(before, after, strict=True)):
                layer = f"{name!r} ({type(model.get_submodule(name)).__name__})"
                raise UserError(
                    f"selector.targets: {layer} is never called: the network reads its weight itself, which an adapter "
                    f"cannot be added to; leave it out: selector.exclude = [{name!r}]"
                )
    finally:
        for hook in hooks:
            hook.remove()


def check_allowed(model: nn.Module, ranks: Mapping[str, int]) -> None:
    """Raise UserError where a rank that layers are to have is more than any of these allows."""
    for rank in set(ranks.values()):
        allowed = {name: most(model.get_submodule(name)) for name, wanted in ranks.items() if wanted == rank}
        if rank > max(allowed.values()):
            name = max(allowed, key=lambda name: allowed[name])
            raise UserError(
                f"selector.rank = {rank}: no weight of its layers has a higher rank than {allowed[name]} ({name!r}); "
                "lower it"
            )
