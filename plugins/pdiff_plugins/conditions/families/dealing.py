"""Dealing tasks out: those learnt, those held out, those that are hard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from pdiff.errors import UserError

if TYPE_CHECKING:
    import torch

T = TypeVar("T")


def dealt(
    name: str, plain: Sequence[T], hard: Sequence[T], counts: Mapping[str, int], generator: torch.Generator, remedy: str
) -> dict[str, list[T]]:
    """Return so many tasks of each part, drawn at random: those held out first, so that they stay when more are learnt.

    `plain`: from which tasks to learn and to hold out are drawn; `remedy`: how there can be hard ones.
    Raises UserError where there are not so many.
    """
    import torch

    plain, hard = ([tasks[at] for at in torch.randperm(len(tasks), generator=generator)] for tasks in (plain, hard))
    held, wanted, few = counts.get("held out", 0), counts.get("learnt", 0), counts.get("hard", 0)
    if few > len(hard):
        raise UserError(f"collect.hard = {few}: task {name!r} has {len(hard)} hard tasks; {remedy}")
    if held + max(wanted, 2) > len(plain):
        raise UserError(
            f"collect.learnt = {wanted}, collect.held_out = {held}: task {name!r} has {len(plain)} tasks that are not "
            "hard; ask for fewer"
        )
    return {
        "learnt": plain[held : held + wanted if wanted else None], "held out": plain[:held], "hard": hard[:few]
    }  # fmt: skip


def class_numbers(about: Mapping[str, Any], classes: int) -> list[int]:
    """Return the classes that a network is about. Raises UserError where they are no numbers of such."""
    given = about.get("classes")
    listed = isinstance(given, list | tuple) and all(type(number) is int and 0 <= number < classes for number in given)
    if not listed or not given or len(set(given)) < len(given):
        others = f"is about {', '.join(about) or 'nothing'}, and no classes"
        found = f"classes = {given!r}" if "classes" in about else others
        raise UserError(f'{found}; give their numbers, 0 to {classes - 1}, each once, as {{"classes": [0, 3]}}')
    return list(given)
