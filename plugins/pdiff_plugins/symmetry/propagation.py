"""Propagation: the walk that ties the axes of what each operation reads to those of what it gives.

An operation without a rule fixes all that it reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import fx

from pdiff_plugins.symmetry.factors import Axis, every, fix, root, still
from pdiff_plugins.symmetry.rules import layers, places, recurrent, shapes
from pdiff_plugins.symmetry.rules.reading import Rule, results

LOOKS = "aten._assert", "aten.sym_constrain_range", "aten._assert_tensor_metadata"
"""Operations that only look."""
RULES: dict[Any, Rule] = {**places.RULES, **shapes.RULES, **layers.RULES, **recurrent.RULES}


def rule_of(target: Any) -> Rule | None:
    """Return how an operation is understood, if it is."""
    return RULES.get(target) or (places.at_each_place if places.pointwise(target) else None)


def _nodes(arguments: Any) -> list[fx.Node]:
    found: list[fx.Node] = []
    fx.map_arg(arguments, found.append)
    return found


class Walk:
    """The labels of a graph's tensors, node after node."""

    def __init__(self) -> None:
        self.unknown: list[tuple[fx.Node, Axis]] = []
        """Operations without a rule, and what they fixed that could have moved."""

    def propagate(self, node: fx.Node, labels: Mapping[fx.Node, Any]) -> Any:
        """Return the labels of what an operation gives, and tie those of what it reads."""
        if str(node.target).startswith(LOOKS):
            return ()
        known = all(source in labels for source in node.all_input_nodes) and not _nodes(node.kwargs)
        rule = rule_of(node.target) if known else None
        result = rule(node, *fx.map_arg(node.args, labels.__getitem__)) if rule else None
        return self._unknown(node, labels) if result is None else result

    def _unknown(self, node: fx.Node, labels: Mapping[fx.Node, Any]) -> Any:
        read = [labels.get(source, ()) for source in node.all_input_nodes]
        held = tuple(factor for factor in root(tuple(every(read))) if not factor.fixed)
        if held:
            self.unknown.append((node, held))
        fix(read)
        return results(node, still) if node.meta.get("val") is not None else ()
