"""WordPiece: text to numbers of a vocabulary, as uncased BERT has it."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping

CLS, SEP, UNK = "[CLS]", "[SEP]", "[UNK]"
LONGEST = 100
"""Characters of a word; a longer one is unknown."""
IDEOGRAPHS = ((0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F),
              (0x2B920, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F))  # fmt: skip
"""Characters that are words by themselves, first and last of each block, as the library tokenizers has them."""
CONTROL = ("Cc", "Cf", "Co")


def tokens(text: str, vocabulary: Mapping[str, int], most: int) -> list[int]:
    """Return the tokens of a text between [CLS] and [SEP], `most` of them with those two: what is beyond is left out.

    Source: Devlin et al. 2018, arXiv 1810.04805; Wu et al. 2016, arXiv 1609.08144, section 4.1.
    """
    pieces = [piece for word in words(text) for piece in _pieces(word, vocabulary)]
    return [vocabulary[token] for token in (CLS, *pieces[: most - 2], SEP)]


def words(text: str) -> list[str]:
    """Return words in lower case and without accents; each punctuation mark and each ideograph is one."""
    spaced = "".join(f" {char} " if _is_ideograph(char) else char for char in _clean(text))
    bare = (char for char in unicodedata.normalize("NFD", spaced) if unicodedata.category(char) != "Mn")
    lower = "".join(char.lower() for char in bare)  # by themselves: a sigma at a word's end is like any other
    return "".join(f" {char} " if _is_punctuation(char) else char for char in lower).split()


def _clean(text: str) -> Iterator[str]:
    """Yield characters without control codes, a space for whatever is one."""
    for char in text:
        if char in "\t\n\r" or unicodedata.category(char) in ("Zs", "Zl", "Zp"):
            yield " "
        elif char != "\ufffd" and unicodedata.category(char) not in CONTROL:
            yield char


def _is_ideograph(char: str) -> bool:
    return any(first <= ord(char) <= last for first, last in IDEOGRAPHS)


def _is_punctuation(char: str) -> bool:
    return unicodedata.category(char)[0] == "P" or char in "$+<=>^`|~"


def _pieces(word: str, vocabulary: Mapping[str, int]) -> list[str]:
    """Return the longest pieces from the left, those within a word after `##`; unknown where no piece fits."""
    pieces, start = list[str](), 0
    while start < len(word) <= LONGEST:
        candidates = (("##" if start else "") + word[start:stop] for stop in range(len(word), start, -1))
        piece = next((candidate for candidate in candidates if candidate in vocabulary), None)
        if piece is None:
            return [UNK]
        pieces.append(piece)
        start += len(piece) - (2 if start else 0)
    return pieces or [UNK]
