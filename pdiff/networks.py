"""Networks: built from their architecture and a seed, and filled from state dicts."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pdiff.checkpoints.names import is_counter, listed
from pdiff.checkpoints.reading import Reader
from pdiff.components import Architecture, Selector
from pdiff.context import derive
from pdiff.data import DatasetSplits, Inputs, arguments
from pdiff.errors import UserError
from pdiff.files import PRETRAINED


def build_network(
    architecture: Architecture, data: DatasetSplits, seed: int, say: Callable[[str], None] = lambda line: None
) -> nn.Module:
    """Return a new network, its weights file loaded where the recipe names one; `say` is told how. Raises UserError."""
    example = data.example() if len(data.train) else None
    torch.manual_seed(derive(seed, "init"))
    model = architecture.build(input_shape=data.input_shape, outputs=data.outputs)
    if isinstance(example, tuple | dict) and not any(whole is example for whole in handed(model, example)[0]):
        model.register_forward_pre_hook(_apart, with_kwargs=True)
    if any(isinstance(p, nn.parameter.UninitializedParameter) for p in model.parameters()):
        model.eval()(torch.zeros(2, *data.input_shape) if example is None else example)
    if architecture.weights and architecture.weights != PRETRAINED:
        load_weights(model, architecture, say)
    return model


def handed(model: nn.Module, inputs: Inputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return inputs as the network's `forward` takes them (positional, by name): each by itself, else all as one.

    Raises UserError where it takes neither.
    """
    takes = inspect.signature(model.forward)
    positional, named = arguments(inputs)
    for args, options in ((positional, named), ((inputs,), {})):
        with contextlib.suppress(TypeError):
            bound = takes.bind(*args, **options)
            return bound.args, bound.kwargs
    known = f"(several inputs: {', '.join(named)})" if named else f"({len(positional)} inputs in their order)"
    raise UserError(
        f"network {type(model).__name__}: forward{takes} does not take what the dataset gives {known}; name its "
        "arguments as the dataset names its inputs, or let forward take them all as one argument"
    )


def _apart(module: nn.Module, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Hand several inputs over one by one, where they come as a batch has them."""
    return arguments(args[0]) if len(args) == 1 and not options and isinstance(args[0], tuple | dict) else None


def blank_network(architecture: Architecture, data: DatasetSplits, seed: int) -> nn.Module:
    """Return a new network as its architecture initialises it, whatever weights the recipe names."""
    return build_network(architecture.model_copy(update={"weights": ""}), data, seed)


def extended(model: nn.Module, selector: Selector, seed: int) -> nn.Module:
    """Return the network itself, with what its selector adds to it, drawn from the seed."""
    if selector.extends:
        torch.manual_seed(derive(seed, "extend"))
        selector.extend(model)
    return model


def load_weights(
    model: nn.Module, architecture: Architecture, say: Callable[[str], None] = lambda line: None,
    table: str = "architecture",
) -> None:  # fmt: skip
    """Load the file that `architecture.weights` names; `say` is told what of it was changed. Raises UserError.

    `table`: of the recipe, where it stands.
    """
    heads = tuple(f"{name}." for name in architecture.classifier(model))
    head = [name for name in model.state_dict() if name.startswith(heads)] if heads else []

    def reader(new: Sequence[str]) -> Reader:
        return Reader(
            model, table, key=architecture.key, rename=architecture.rename, match=architecture.match, new=new,
            convert=lambda state: architecture.converted(state, model),
        )  # fmt: skip

    reads, path = reader(head if architecture.head == "new" else ()), architecture.weights_path()
    try:
        state = reads.read(path)
    except UserError as error:
        hint = ""
        with contextlib.suppress(UserError):
            if head and architecture.head == "same" and reader(head).read(path):
                hint = f'; only the head is another: {table}.head = "new" leaves {listed(head)} newly initialised'
        raise UserError(f"{table}.weights: {error}{hint}") from None
    model.load_state_dict(model.state_dict() | state)
    for line in reads.said():
        say(line)
    if architecture.head == "new":
        say(f"{table}.head: {listed(head)} newly initialised")


def load_into(model: nn.Module, state: dict[str, Tensor], where: str) -> None:
    """Load a whole state dict. Raises UserError that names the first entry that does not fit."""
    ours = model.state_dict()
    missing = [key for key in ours if key not in state and not is_counter(key)]
    extra = [key for key in state if key not in ours]
    if missing or extra:
        lacks = f"lacks {missing[0]!r}" if missing else f"has {extra[0]!r}, which the network has not"
        raise UserError(
            f"{where}: not this network's state dict: it {lacks} ({len(missing)} missing, {len(extra)} extra)"
        )
    for key, value in state.items():
        if ours[key].shape != value.shape:
            raise UserError(f"{where}: {key} has shape {list(value.shape)}, the network {list(ours[key].shape)}")
    model.load_state_dict(state)


def once(model: nn.Module, keys: Iterable[str]) -> set[str]:
    """Return one name for each entry of a module that a network registers under several names.

    functional_call would otherwise not put back what it had. To be called with `tie_weights=False`, and with each name
    of a parameter that several modules share.
    """
    places = ((key.rpartition("."), key) for key in keys)
    return set({(id(model.get_submodule(owner)), name): key for (owner, _, name), key in places}.values())


def entry_of(model: nn.Module, key: str) -> Tensor:
    """Return the parameter or buffer itself."""
    owner, _, name = key.rpartition(".")
    entry = getattr(model.get_submodule(owner), name)
    assert isinstance(entry, Tensor)
    return entry
