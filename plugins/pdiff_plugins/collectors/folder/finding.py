"""Which files of a folder are checkpoints, and of which run and step their names say that they are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from pdiff.checkpoints.names import natural
from pdiff.checkpoints.opening import ENDINGS, weights_in

DEPTH = 6
"""Of folders within folders in which checkpoints are looked for."""
BESIDE = re.compile(
    r"(optimi[sz]er|optim|scheduler|lr_scheduler|scaler|sampler|training_args|trainer_state|rng_state|random_states)"
    r"([._\d].*)?|.*_optim_states\.pt"
)
"""Names of what trainers write beside weights."""
STEP = (
    r"steps?[-_=]?(\d+)",
    r"(?<![a-z])iter(?:ation)?s?[-_=]?(\d+)",
    r"(?:epochs?|(?<![a-z])ep)[-_=]?(\d+)",
    r"(?:checkpoint|ckpt)[-_=]?(\d+)",
)
"""What says in a name how far a training was, the surest first."""
COPY = re.compile(r"(^|[-_.])(last|latest|best)([-_.]|$)", re.IGNORECASE)
"""In names of copies of a checkpoint that is there under its step, too."""


@dataclass(frozen=True)
class Checkpoint:
    """One network's file, or its folder; `parts` is its path below the collector's folder."""

    path: Path
    files: tuple[Path, ...]
    parts: tuple[str, ...]
    run: tuple[str, ...] = ()
    step: int = 0

    @property
    def read(self) -> Path:
        """What is read: the file, or the folder of several."""
        return self.files[0] if len(self.files) == 1 else self.path

    @property
    def name(self) -> str:
        """Its path below the collector's folder, with slashes."""
        return "/".join(self.parts)


def checkpoints(folder: Path, pattern: str) -> tuple[list[Checkpoint], list[str]]:
    """Return the checkpoints below a folder, run after run, and the names of files that were left out for a reason."""
    if "/" in pattern:
        paths = sorted(folder.glob(pattern), key=lambda path: natural(path.relative_to(folder).as_posix()))
        there, out = [(path, files) for path in paths if (files := _files(path, named=True))], list[str]()
    else:
        there, out = _within(folder, pattern)
        there = there or [one for run in _folders(folder) for one in _below(run, pattern, out)]
    found = [Checkpoint(path, files, path.relative_to(folder).parts) for path, files in there]
    found, copies = _without_copies(found)
    return _in_runs([_placed(one) for one in found]), [*out, *copies]


def _folders(folder: Path) -> list[Path]:
    shown = (path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    return sorted(shown, key=lambda path: natural(path.name))


def _below(folder: Path, pattern: str, out: list[str], depth: int = DEPTH) -> Iterator[tuple[Path, tuple[Path, ...]]]:
    """Yield what a run's folder holds, or what the folders in it do."""
    there, more = _within(folder, pattern)
    out += more
    yield from there
    for deeper in _folders(folder) if depth and not there else ():
        yield from _below(deeper, pattern, out, depth - 1)


def _within(folder: Path, pattern: str) -> tuple[list[tuple[Path, tuple[Path, ...]]], list[str]]:
    """Return the checkpoints directly in a folder, and what of it was left out."""
    every, out = pattern == "*", list[str]()
    named = [path for path in folder.iterdir() if fnmatchcase(path.name, pattern) and not path.name.startswith(".")]
    files = [path for path in named if path.suffix in ENDINGS and path.is_file()]
    if not files and not every:
        files = [path for path in named if path.is_file()]
    if every:
        out = [path.name for path in files if BESIDE.fullmatch(path.name)]
        files = [path for path in files if path.name not in out]
    folders = [(path, own) for path in named if path.is_dir() and (own := _files(path))]
    if folders and every and (own := weights_in(folder)):  # a trainer's last network, beside its checkpoints
        out += [path.name for path in own]
        files = [path for path in files if path not in own]
    if every and any(file.stem == "adapter_model" for _, own in folders for file in own):  # beside it, its network
        out += [path.name for path in files]
        files = []
    there = [(path, (path,)) for path in files] + folders
    return sorted(there, key=lambda one: natural(one[0].name)), out


def _files(path: Path, named: bool = False, depth: int = DEPTH) -> tuple[Path, ...]:
    """Return the files of one network: of a folder that is one, else none; `named`: the path was asked for."""
    if path.is_file():
        return (path,) if named else ()
    if depth and any(_files(folder, depth=depth - 1) for folder in _folders(path)):
        return ()
    if own := weights_in(path):
        return own
    if not (named or is_stepped(path.name)):
        return ()
    files = [file for file in path.iterdir() if file.is_file() and not BESIDE.fullmatch(file.name)]
    known = [file for file in files if file.suffix in ENDINGS] or [file for file in files if _is_torch(file)]
    return (known[0],) if len(known) == 1 else ()


def _is_torch(file: Path) -> bool:
    """Return whether a file without an ending begins as those of torch.save do."""
    if file.suffix:
        return False
    with open(file, "rb") as opened:
        return opened.read(2) in (b"PK", b"\x80\x02")


def stem(name: str) -> str:
    """Return a file's name without the endings that say its kind."""
    while (ending := Path(name).suffix) in ENDINGS:
        name = name.removesuffix(ending)
    return name


def is_stepped(name: str) -> bool:
    """Return whether a name says a step by a word, and not by a number alone."""
    return any(re.search(word, name, re.IGNORECASE) for word in STEP)


def step_of(name: str) -> int:
    """Return the number after "step", "iter", "epoch" or "checkpoint" in a name, else the last number, else 0."""
    for word in STEP:
        if numbers := re.findall(word, name, re.IGNORECASE):
            return int(numbers[-1])
    numbers = re.findall(r"\d+", re.sub(r"\d{4}-\d\d-\d\d", "", name))
    return int(numbers[-1]) if numbers else 0


def _placed(one: Checkpoint) -> Checkpoint:
    """Return a checkpoint with its run and step: the run is the folders above the first name that says a step.

    Files side by side are of one run where their names agree but for the step and measured values (0.25).
    """
    names = [stem(part) for part in one.parts]
    at = next((number for number, name in enumerate(names) if is_stepped(name)), None)
    if at is None:
        flat = len(names) == 1
        return replace(one, run=one.parts if flat else one.parts[:-1], step=0 if flat else step_of(names[-1]))
    rest = names[0] if not at else ""
    for word in STEP if not at else ():
        rest = re.sub(word, "", rest, flags=re.IGNORECASE)
    rest = re.sub(r"\d+\.\d+(e-?\d+)?", "", rest)
    return replace(one, run=(*one.parts[:at], rest), step=step_of("/".join(names[at:])))


def _without_copies(found: Sequence[Checkpoint]) -> tuple[list[Checkpoint], list[str]]:
    """Return the checkpoints but for those called last or best beside others of their step, or of any; and these."""
    named = [one for one in found if COPY.search(stem(one.parts[-1]))]
    plain = [one for one in found if one not in named and is_stepped(one.parts[-1])]
    folders = {one.parts[:-1] for one in plain}
    steps = {(one.parts[:-1], step_of(one.parts[-1])) for one in plain}
    copies = [
        one for one in named
        if (one.parts[:-1], step_of(one.parts[-1])) in steps
        or (one.parts[:-1] in folders and not is_stepped(one.parts[-1]))
    ]  # fmt: skip
    return [one for one in found if one not in copies], [one.name for one in copies]


def _in_runs(found: list[Checkpoint]) -> list[Checkpoint]:
    """Return the checkpoints run after run, by step; where a run's steps are not told apart, by their place."""
    runs: dict[tuple[str, ...], list[Checkpoint]] = {}
    for one in found:
        runs.setdefault(one.run, []).append(one)
    ordered = []
    for run in runs.values():
        run.sort(key=lambda one: (one.step, natural(one.name)))
        if len({one.step for one in run}) < len(run):
            run = [replace(one, step=place) for place, one in enumerate(sorted(run, key=lambda one: natural(one.name)))]
        ordered += run
    return ordered
