"""Texts of one's own, as rows of tokens."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from pdiff.components import Ahead, Dataset
from pdiff.errors import UserError
from pdiff.files import folder_below
from pdiff_plugins.tables.options import Test, Validation, check_classes, parted

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.context import Context
    from pdiff.data import DatasetSplits

PADDING, UNKNOWN, FIRST = 0, 1, 2
"""Numbers of what fills a row up, of what is not known, and of the first token."""
BYTES = 256 + FIRST


class TextFolder(Dataset):
    """Your own texts: a folder of .txt files per class, or train/ and test/ of such.

    An example is a row of token numbers (int64): 0 fills it up, 1 is a word that is not known, tokens count from 2.
    Bytes of UTF-8 make 258 numbers; words, in lower case, as many as `vocabulary` says, the most frequent of the
    training texts. A network of them begins with an embedding of that size.
    """

    name = "text_folder"
    root: str = Field(min_length=1, description="folder that holds the classes, or train/ and test/; below run.data")
    tokens: Literal["words", "bytes"] = Field("words", description="what a token is")
    vocabulary: int = Field(1000, gt=FIRST, description="numbers of tokens there are at most, with words")
    length: int = Field(64, gt=0, description="tokens of an example: longer texts are cut, shorter ones filled up")
    test: Test = 0.2
    validation: Validation = 0.2

    def content(self, data_root: Path) -> str:
        """Return a digest of the files' names and bytes."""
        from pdiff.files import sha256_of

        root = folder_below(data_root, self.root)
        if not root.is_dir():
            raise UserError(f"dataset text_folder: there is no folder {root}; paths are relative to run.data")
        listing = (f"{path.relative_to(root).as_posix()} {sha256_of(path)}" for path in sorted(root.rglob("*.txt")))
        return hashlib.sha256(os.fsencode("\n".join(listing))).hexdigest()

    def foresee(self, ahead: Ahead) -> None:
        """See `Component.foresee`."""
        self._found(ahead.data_root)

    def _found(self, data_root: Path) -> tuple[list[Path], list[str]]:
        """Return (the folders of train and test, or the one that both are cut from; classes). Raises UserError."""
        root = folder_below(data_root, self.root)
        if not root.is_dir():
            raise UserError(f"dataset.root = {root}: no such folder; it is relative to run.data")
        own = [(root / "train"), (root / "test")] if (root / "train").is_dir() and (root / "test").is_dir() else [root]
        classes = sorted({path.name for path in own[0].glob("*") if path.is_dir() and any(path.glob("*.txt"))})
        check_classes(self.name, f"{own[0]} (its folders with .txt files)", len(classes))
        return own, classes

    def load(self, ctx: Context) -> DatasetSplits:
        """See `Dataset.load`. Raises UserError where there are no classes, or a file is no text."""
        import torch

        from pdiff.data import DatasetSplits, TensorSplit

        own, classes = self._found(ctx.data_root)
        files = [[(path, classes.index(name)) for name in classes for path in sorted((part / name).glob("*.txt"))]
                 for part in own]  # fmt: skip
        listed = [entry for part in files for entry in part]
        parts = parted(self.name, len(files[0]), 0.0 if len(own) > 1 else self.test, self.validation, ctx)
        if len(own) > 1:
            parts["test"] = torch.arange(len(files[0]), len(listed))
        tokens, targets = self._rows([path for path, _ in listed], parts["train"]), torch.tensor([c for _, c in listed])
        train, validation, test = (TensorSplit(tokens[index], targets[index]) for index in parts.values())
        return DatasetSplits(train, validation, test, (self.length,), len(classes), tuple(classes))

    def _rows(self, paths: list[Path], train: Tensor) -> Tensor:
        """Return the texts as rows of numbers, `[E, length]`."""
        import torch

        texts = [_read(path) for path in paths]
        if self.tokens == "bytes":
            rows = [[FIRST + byte for byte in text.encode("utf-8")] for text in texts]
        else:
            words = [re.findall(r"\w+|[^\w\s]", text.lower()) for text in texts]
            counts = Counter(word for number in train.tolist() for word in words[number])
            ranked = sorted(counts, key=lambda word: (-counts[word], word))[: self.vocabulary - FIRST]
            number = {word: FIRST + place for place, word in enumerate(ranked)}
            rows = [[number.get(word, UNKNOWN) for word in row] for row in words]
        filled = torch.full((len(rows), self.length), PADDING)
        for example, row in zip(filled, rows, strict=True):
            cut = torch.tensor(row[: self.length], dtype=torch.int64)
            example[: len(cut)] = cut
        return filled


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"dataset text_folder: {path} is no text in UTF-8 ({error})") from None
