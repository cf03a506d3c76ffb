"""Texts of one's own, as rows of tokens."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from pdiff.components import Ahead, Dataset
from pdiff.errors import UserError
from pdiff.files import folder_below
from pdiff_plugins.tables.options import Test, Validation, check_classes, parted
from pdiff_plugins.texts.rows import FIRST, Tokens, as_rows, word_pieces

if TYPE_CHECKING:
    from pdiff.context import Context
    from pdiff.data import DatasetSplits


class TextFolder(Dataset):
    """Your own texts: a folder of .txt files per class, or train/ and test/ of such.

    An example is a row of token numbers (int64): 0 fills it up, 1 is a word that is not known, tokens count from 2.
    Bytes of UTF-8 make 258 numbers; words, in lower case, as many as `vocabulary` says, the most frequent of the
    training texts. A network of them begins with an embedding of that size. Word pieces are numbered as in the language
    model whose they are, between its marks of start and end; architecture minilm reads them.
    """

    name = "text_folder"
    root: str = Field(min_length=1, description="folder that holds the classes, or train/ and test/; below run.data")
    tokens: Tokens = "words"
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
        word_pieces(self.name, self.tokens)

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
        where = word_pieces(self.name, self.tokens)
        files = [[(path, classes.index(name)) for name in classes for path in sorted((part / name).glob("*.txt"))]
                 for part in own]  # fmt: skip
        listed = [entry for part in files for entry in part]
        parts = parted(self.name, len(files[0]), 0.0 if len(own) > 1 else self.test, self.validation, ctx)
        if len(own) > 1:
            parts["test"] = torch.arange(len(files[0]), len(listed))
        texts, targets = [_read(path) for path, _ in listed], torch.tensor([number for _, number in listed])
        tokens = as_rows(texts, parts["train"], self.length, self.vocabulary, self.tokens, where)
        train, validation, test = (TensorSplit(tokens[index], targets[index]) for index in parts.values())
        return DatasetSplits(train, validation, test, (self.length,), len(classes), tuple(classes))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"dataset text_folder: {path} is no text in UTF-8 ({error})") from None
