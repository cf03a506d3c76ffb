"""Texts as rows of numbers of tokens, `[E, L]`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from pdiff_plugins.texts import package

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

PADDING, UNKNOWN, FIRST = 0, 1, 2
"""Numbers of what fills a row up, of a word that is not known, and of the first word or byte."""
WORD_PIECES = "minilm"
Tokens = Annotated[
    Literal["words", "bytes", "minilm"],
    Field(description="what a token is; minilm: word pieces as architecture minilm reads them, by the extra `text`"),
]


def word_pieces(dataset: str, tokens: str) -> Path | None:
    """Return where the word pieces lie that `tokens` asks for, if it does. Raises UserError where they are absent."""
    if tokens != WORD_PIECES:
        return None
    return package.folder(f"dataset {dataset}: tokens = 'minilm'", "write tokens = 'words'")


def as_rows(
    texts: Sequence[str], train: Tensor, length: int, vocabulary: int, tokens: str, where: Path | None
) -> Tensor:
    """Return texts as rows of so many numbers, int64: 0 fills a row up, longer texts are cut.

    Args:
        train: numbers of the texts that words are counted in.
        vocabulary: numbers of words there are at most, the most frequent ones.
        where: as `word_pieces` returned.
    """
    import torch

    if where is not None:
        rows = package.rows(texts, length, where)
    elif tokens == "bytes":
        rows = [[FIRST + byte for byte in text.encode("utf-8")] for text in texts]
    else:
        words = [re.findall(r"\w+|[^\w\s]", text.lower()) for text in texts]
        counts = Counter(word for number in train.tolist() for word in words[number])
        ranked = sorted(counts, key=lambda word: (-counts[word], word))[: vocabulary - FIRST]
        number = {word: FIRST + place for place, word in enumerate(ranked)}
        rows = [[number.get(word, UNKNOWN) for word in row] for row in words]
    filled = torch.full((len(rows), length), PADDING)
    for example, row in zip(filled, rows, strict=True):
        cut = torch.tensor(row[:length], dtype=torch.int64)
        example[: len(cut)] = cut
    return filled
