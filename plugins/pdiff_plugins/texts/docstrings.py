"""Sentences of the standard library's own documentation, and which of its subjects each is about."""

from __future__ import annotations

import ast
import functools
import hashlib
import re
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from pydantic import Field

from pdiff.components import Ahead, Dataset
from pdiff.errors import UserError
from pdiff_plugins.tables.options import Test, Validation, parted
from pdiff_plugins.texts.rows import Tokens, as_rows, word_pieces

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.context import Context
    from pdiff.data import DatasetSplits

SUBJECTS = {
    "internet": "email http urllib html ftplib imaplib smtplib poplib mailbox socketserver ssl socket wsgiref xmlrpc "
    "webbrowser netrc mimetypes ipaddress",
    "concurrency": "asyncio threading multiprocessing concurrent queue sched selectors subprocess signal contextvars",
    "debugging": "unittest doctest pdb bdb trace traceback cProfile profile pstats timeit tracemalloc cmd warnings "
    "logging",
    "numbers": "_pydecimal fractions statistics random numbers _pydatetime datetime calendar colorsys heapq bisect "
    "zoneinfo uuid secrets hashlib hmac",
    "files": "pathlib os shutil tempfile glob zipfile tarfile gzip bz2 lzma fileinput _pyio filecmp fnmatch posixpath "
    "ntpath genericpath zipapp shelve dbm pickle",
    "language": "ast inspect dis tokenize importlib pkgutil runpy codeop symtable types typing dataclasses enum abc "
    "functools pyclbr modulefinder compileall py_compile copy weakref contextlib opcode code",
    "formats": "string textwrap re difflib csv configparser argparse gettext locale codecs json xml pprint optparse "
    "getopt shlex encodings plistlib tomllib reprlib stringprep",
}
"""Class -> modules and packages of the standard library; those that an installation lacks are passed over."""
MODULES = {name.strip("_").lower() for names in SUBJECTS.values() for name in names.split()}
TESTS = {"test", "tests", "idle_test"}
SENTENCES = re.compile(r"(?<=[.!?])\s+(?=[A-Z])|\n\s*\n")
NAMES, WORDS, MASK = re.compile(r"[A-Za-z_]\w*"), re.compile(r"[a-z]+"), "something"
INSIDE = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
"""A word within a name."""
FEWEST, MOST = 5, 40
"""Words of a sentence."""
ALIKE = 5
"""Words in a row that sentences of two splits never have in common."""


class Sentence(NamedTuple):
    """What is said, of which subject, and the definition that says it: a file and a name."""

    text: str
    subject: int
    document: tuple[str, str]

    def runs(self) -> Iterable[tuple[str, ...]]:
        """Return all `ALIKE` words in a row."""
        words = WORDS.findall(self.text.lower())
        return zip(*(words[at:] for at in range(ALIKE)), strict=False)


class Docstrings(Dataset):
    """Sentences of Python's standard library, by subject: seven classes.

    They are from the docstrings of this Python's own files, none of which is run, so they change with its version.
    Names of modules and of the definition itself are masked. What one function, or one class, says is in one split
    alone, and no five words in a row are in two splits.
    """

    name = "docstrings"
    source: ClassVar[str] = "the standard library of the Python that runs"
    tokens: Tokens = "minilm"
    vocabulary: int = Field(1000, gt=2, description="numbers of tokens there are at most, with words")
    length: int = Field(24, gt=2, description="tokens of an example: longer texts are cut, shorter ones filled up")
    per_class: int = Field(800, gt=0, description="sentences of a subject at most, always the same ones")
    test: Test = 0.25
    validation: Validation = 0.2

    def content(self, data_root: Path) -> str:
        """Return a digest of all sentences."""
        return hashlib.sha256(repr(sentences()).encode("utf-8", "backslashreplace")).hexdigest()

    def foresee(self, ahead: Ahead) -> None:
        """See `Component.foresee`."""
        word_pieces(self.name, self.tokens)

    def load(self, ctx: Context) -> DatasetSplits:
        """See `Dataset.load`. Raises UserError where the standard library is not there as files."""
        import torch

        from pdiff.data import DatasetSplits, TensorSplit

        where = word_pieces(self.name, self.tokens)
        chosen = self._some(sentences())
        splits = _apart(chosen, self.test, self.validation, ctx)
        texts, subjects = [one.text for one in chosen], torch.tensor([one.subject for one in chosen])
        tokens = as_rows(texts, splits[0], self.length, self.vocabulary, self.tokens, where)
        train, validation, test = (TensorSplit(tokens[index], subjects[index]) for index in splits)
        return DatasetSplits(train, validation, test, (self.length,), len(SUBJECTS), tuple(SUBJECTS))

    def _some(self, known: Sequence[Sentence]) -> list[Sentence]:
        """Return at most `per_class` of each subject. Raises UserError where a subject has none."""
        import torch

        generator, chosen = torch.Generator().manual_seed(0), list[Sentence]()
        for number, subject in enumerate(SUBJECTS):
            alike = [one for one in known if one.subject == number]
            if not alike:
                raise UserError(
                    f"dataset docstrings: this Python has no files of the standard library about {subject} in "
                    f"{_library()}; run another Python, or use 'text_folder' with texts of your own"
                )
            order = torch.randperm(len(alike), generator=generator)[: self.per_class]
            chosen += [alike[place] for place in order.sort().values.tolist()]
        return chosen


def _apart(chosen: Sequence[Sentence], test: float, validation: float, ctx: Context) -> list[Tensor]:
    """Return the numbers of the sentences of train, validation and test."""
    import torch

    documents = {document: number for number, document in enumerate(dict.fromkeys(one.document for one in chosen))}
    parts = parted(Docstrings.name, len(documents), test, validation, ctx)
    part_of = {number: name for name, numbers in parts.items() for number in numbers.tolist()}
    known, splits = set[tuple[str, ...]](), []
    for name in ("train", "validation", "test"):
        listed = [at for at, one in enumerate(chosen) if part_of[documents[one.document]] == name]
        kept = [at for at in listed if known.isdisjoint(chosen[at].runs())]
        known |= {run for at in kept for run in chosen[at].runs()}
        splits.append(torch.tensor(kept, dtype=torch.int64))
    return splits


@functools.lru_cache(1)
def sentences() -> tuple[Sentence, ...]:
    """Return all sentences that this Python's own files say of its subjects, each once, in the order of files."""
    found = dict[str, Sentence]()
    for subject, modules in enumerate(SUBJECTS.values()):
        for path in sorted(path for module in modules.split() for path in _files(module)):
            for document, text in _said(path):
                found.setdefault(text, Sentence(text, subject, document))
    return tuple(found.values())


def _library() -> Path:
    return Path(sysconfig.get_path("stdlib"))


def _files(module: str) -> list[Path]:
    file, package = _library() / f"{module}.py", _library() / module
    found = [file] if file.is_file() else package.rglob("*.py")
    return [path for path in found if not TESTS & {*path.relative_to(_library()).parts}]


def _said(path: Path) -> Iterator[tuple[tuple[str, str], str]]:
    """Yield the sentences of a file's docstrings, masked, each with the document that it is from."""
    where = path.relative_to(_library()).with_suffix("").as_posix()
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, UnicodeDecodeError):
        return
    for names, docstring in _docstrings(tree, ()):
        masked = MODULES | {name.strip("_").lower() for name in (*where.split("/"), *names)}
        for raw in SENTENCES.split(docstring):
            text = " ".join(_masked(raw, masked).split())
            if ">>>" not in text and FEWEST <= len(WORDS.findall(text.lower())) <= MOST:
                yield (where, names[0] if names else ""), text


def _masked(text: str, names: set[str]) -> str:
    """Return a text in which `MASK` stands for these names, and for those that one is a word of."""

    def one(name: re.Match[str]) -> str:
        words = name[0].strip("_").lower(), *(word.lower() for word in INSIDE.findall(name[0]))
        return name[0] if names.isdisjoint(words) else MASK

    return NAMES.sub(one, text)


def _docstrings(node: ast.AST, names: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the docstrings of a file and all that it defines, each with the names that lead there."""
    kinds = ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef
    if isinstance(node, kinds) and (docstring := ast.get_docstring(node)):
        yield names, docstring
    for child in ast.iter_child_nodes(node):
        if isinstance(child, kinds[1:]):
            yield from _docstrings(child, (*names, child.name))
