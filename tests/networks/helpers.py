"""Sizes of networks, and the line with which one is refused."""

from __future__ import annotations

import pytest

from pdiff.errors import UserError


def size(module):
    return sum(parameter.numel() for parameter in module.parameters())


def refusal(architecture, input_shape, outputs=10):
    """Return the one line with which a build is refused."""
    with pytest.raises(UserError) as caught:
        architecture.build(input_shape=input_shape, outputs=outputs)
    assert "\n" not in str(caught.value)
    return str(caught.value)
