"""Sentences as vectors, by all-MiniLM-L6-v2, which a package brings: nothing is downloaded."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pdiff.components import Encoder
from pdiff.errors import UserError
from pdiff_plugins.conditions.encoders.asking import listed, only
from pdiff_plugins.texts import package

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from torch import Tensor

    from pdiff.bench import Bench
    from pdiff.components import Ahead
    from pdiff.context import Context
    from pdiff_plugins.texts.nets.bert import Bert

MISSING = "encoder text", "choose another encoder"


class Text(Encoder):
    """384 numbers of a sentence, by the language model all-MiniLM-L6-v2.

    Of what is told in several `texts`, the mean of theirs. A text counts up to its 256th token. Asked by `text="..."`.
    The extra `text` brings the model, which runs without a network.
    """

    name = "text"
    source: ClassVar[str] = "Sentence-BERT, arXiv 1908.10084; MiniLM, arXiv 2002.10957"
    reads: ClassVar[tuple[str, ...]] = ("text",)

    def foresee(self, ahead: Ahead) -> None:
        package.folder(*MISSING)

    def encode(
        self, about: Sequence[Mapping[str, Any]], known: Sequence[Mapping[str, Any]], bench: Bench, ctx: Context
    ) -> Tensor:
        """See `Encoder.encode`: `[N, 384]`, of one text of length 1."""
        import torch

        texts = [_texts(one, number) for number, one in enumerate(about)]
        each = list(dict.fromkeys(text for several in texts for text in several))
        features = dict(zip(each, embedded(each, ctx.device), strict=True))
        return torch.stack([torch.stack([features[text] for text in several]).mean(dim=0) for several in texts])

    def read(self, asked: Mapping[str, str], known: Sequence[Mapping[str, Any]], bench: Bench) -> dict[str, Any]:
        """See `Encoder.read`."""
        _, text = only(asked, self.reads, self.name)
        if not text:
            raise UserError("text: is empty; say in words what the network is to be for")
        return {"text": text}


def embedded(texts: Sequence[str], device: torch.device) -> Tensor:
    """Return `[N, 384]` of length 1, float32, on the CPU. Raises UserError where the extra is absent."""
    from pdiff_plugins.texts.nets.bert import in_groups

    where = package.folder(*MISSING)
    return in_groups(_model(where, device), package.rows(texts, package.LONGEST, where))


@functools.lru_cache(1)
def _model(where: Path, device: torch.device) -> Bert:
    from pdiff_plugins.texts.nets.bert import Bert

    bert = Bert(package.size())
    bert.load_state_dict(package.weights(where))
    return bert.to(device).eval().requires_grad_(False)


def _texts(about: Mapping[str, Any], number: int) -> list[str]:
    """Return the texts that a network is about. Raises UserError where there is none."""
    texts = about["texts"] if about.get("texts") else [about.get("text")]
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        raise UserError(
            f"encoder text: network {number} is about {listed(about)}; it takes text = '...', or texts, a list of such"
        )
    return list(texts)
