"""The transformer of all-MiniLM-L6-v2 with a head of one's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pdiff.components import Architecture
from pdiff.errors import UserError
from pdiff.files import PRETRAINED
from pdiff_plugins.texts import package

if TYPE_CHECKING:
    from torch import nn

    from pdiff.components import Ahead

WITHOUT = 'write weights = ""'


class Minilm(Architecture):
    """The language model all-MiniLM-L6-v2 with a new head on the mean of tokens.

    Inputs are rows of its word pieces, 0 for padding, as datasets with `tokens = "minilm"` give them. It has 22.6
    million weights, and `pretrained` ones come with the extra `text`, without a network. What is frozen is held once,
    90 MB: train adapters of its layers (`encoder.layer.5.attention.self.query`, ...) or its head, not all of it.
    """

    name = "minilm"
    source: ClassVar[str] = "Sentence-BERT, arXiv 1908.10084; MiniLM, arXiv 2002.10957"

    def foresee(self, ahead: Ahead) -> None:
        super().foresee(ahead)
        if self.weights == PRETRAINED:
            package.folder("architecture.weights", WITHOUT)

    def build(self, *, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        """See `Architecture.build`. Raises UserError where inputs are no rows of tokens, or the extra is absent."""
        from pdiff_plugins.texts.nets.bert import Classifier

        if not isinstance(input_shape, tuple) or len(input_shape) != 1:
            raise UserError(
                f"architecture minilm: takes rows of tokens, not inputs of shape {input_shape}; use dataset "
                "'docstrings', or 'text_folder' with tokens = 'minilm'"
            )
        if input_shape[0] > package.POSITIONS:
            raise UserError(
                f"architecture minilm: rows have {input_shape[0]} tokens, and it has places for {package.POSITIONS}; "
                "lower dataset.length"
            )
        where = package.folder("architecture.weights", WITHOUT) if self.weights == PRETRAINED else None
        model = Classifier(package.size(), outputs)
        if where:
            new = {f"head.{key}": value for key, value in model.head.state_dict().items()}
            model.load_state_dict(package.weights(where) | new)
        return model

    def converted(self, state: Any, model: nn.Module) -> Any:
        """Leave out what published files have beside the encoder."""
        ours = model.state_dict()
        return {key: value for key, value in state.items() if key in ours}
