"""Texts of your own, and networks that read rows of tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from pdiff import hookimpl
from pdiff.components import Architecture
from pdiff.errors import UserError
from pdiff_plugins.texts.docstrings import Docstrings
from pdiff_plugins.texts.folder import TextFolder
from pdiff_plugins.texts.minilm import Minilm

if TYPE_CHECKING:
    from torch import nn


class TokenNet(Architecture):
    """Small network of tokens: embedding, mean or LSTM or transformer, linear.

    Inputs are rows of whole numbers below `vocabulary`, as `text_folder` gives them.
    """

    name = "token_net"
    vocabulary: int = Field(1000, gt=1, description="rows of the embedding: tokens are below this number")
    body: Literal["mean", "lstm", "transformer"] = Field("mean", description="what makes one vector of the tokens")
    width: int = Field(32, gt=0, description="of the embedding, and of the body")
    layers: int = Field(1, gt=0, description="of the LSTM or the transformer")
    heads: int = Field(2, gt=0, description="of the transformer's attention; they divide its width")

    @model_validator(mode="after")
    def _divided(self) -> TokenNet:
        if self.body == "transformer" and self.width % self.heads:
            raise ValueError(f"heads = {self.heads} do not divide width = {self.width}; change one of them")
        return self

    def build(self, *, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        """See `Architecture.build`. Raises UserError where inputs are no rows of tokens."""
        from pdiff_plugins.texts.nets.tokens import Tokens

        if not isinstance(input_shape, tuple) or len(input_shape) != 1:
            raise UserError(
                f"architecture token_net: takes rows of tokens, not inputs of shape {input_shape}; use dataset "
                "'text_folder', or one of your own with input_shape (tokens,)"
            )
        body = "" if self.body == "mean" else self.body
        return Tokens(self.vocabulary, input_shape[0], self.width, body, self.layers, self.heads, outputs)


@hookimpl
def register_architectures(register: Any) -> None:
    register(TokenNet)
    register(Minilm)


@hookimpl
def register_datasets(register: Any) -> None:
    register(TextFolder)
    register(Docstrings)
