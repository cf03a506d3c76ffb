"""The collector of checkpoints that are there already: a folder of the user's own files."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from pdiff.checkpoints.names import is_counter, listed
from pdiff.checkpoints.opening import ENDINGS
from pdiff.components import CONTENT, NEVER, PARTS, Collector, Family, ReadsCheckpoints, Task
from pdiff.errors import UserError
from pdiff.files import sha256_of
from pdiff_plugins.adapters.files.config import config_of, faults
from pdiff_plugins.collectors.folder.finding import Checkpoint, checkpoints
from pdiff_plugins.collectors.folder.tasks import check, tasks, untold

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pdiff.bench import Bench
    from pdiff.checkpoints.reading import Reader
    from pdiff.components import Ahead
    from pdiff.context import Context
    from pdiff.data import DatasetSplits
    from pdiff.zoo import Layout, Zoo
    from pdiff_plugins.adapters.files.reading import AdapterReader


class Folder(ReadsCheckpoints, Collector):
    """Your own checkpoints, as torch, Lightning, timm, Hugging Face or Ray write.

    Files of .safetensors, .pt, .pth, .bin, .ckpt or .pth.tar, and folders that are one network each (shards with an
    index, a file of weights beside config.json). Each folder of such is one run, and so are files side by side whose
    names differ in nothing but the step: the number after "step", "iter", "epoch" or "checkpoint" (in a folder without
    these the last number, without numbers the place in the order of names). Other files side by side are a run each.

    A task.json in a folder says what its networks are for: {"about": {"classes": [0, 3]}}, and with "part": "held out"
    or "hard" that no method learns from them.
    """

    name = "folder"
    of_families: ClassVar[bool] = True
    elsewhere: ClassVar[bool] = True
    path: str = Field(
        min_length=1,
        examples=["checkpoints"],
        json_schema_extra=CONTENT,
        description="folder of checkpoint files, taken in the natural order of their names, or of one per run",
    )
    pattern: str = Field(
        "*",
        description="glob of the files that count, with slashes of those below, as '*/checkpoint_*/model.pt'",
        json_schema_extra=NEVER,
    )
    anchor: Literal["same", "first", "base"] = Field(
        "same",
        description="where entries outside the selection come from: same: the files, which must agree; "
        "first: the first file; base: the base network (files that hold only the subset always take it)",
    )

    def expected(self) -> int:
        found = self.found()
        known = tasks(Path(self.path), found)
        return sum(task["part"] == PARTS[0] for task in known) if known else len(found)

    def foresee(self, ahead: Ahead) -> None:
        super().foresee(ahead)
        known = tasks(Path(self.path), self.found())
        if isinstance(ahead.recipe.task, Family) and not known:
            ahead.lacks(untold(self.path, ahead.recipe.task))
        files = [file for one in self.found() for file in configs(one)] if ahead.recipe.selector.extends else []
        for line in faults(files):
            ahead.lacks(line)
        if files and (ahead.recipe.train.epochs or not ahead.recipe.architecture.weights):
            ahead.note(
                f"collect.path = {self.path!r}: adapters are of the network that they were trained on; name its file "
                "by architecture.weights, and let train.epochs be 0"
            )

    def content_of(self, option: str) -> str:
        """Return a digest of the files, and of what their names say of runs and steps."""
        digest, found = hashlib.sha256(), self.found()
        places = [(row["run"], row["step"]) for row in _rows(found)]
        if len(found[0].parts) > 1 or places != [(number, 0) for number in range(len(found))]:
            digest.update(repr(places).encode())
        if known := tasks(Path(self.path), found):
            digest.update(repr(known).encode())
        for file in (file for one in found for file in (*one.files, *configs(one))):
            digest.update(bytes.fromhex(sha256_of(file)))
        return f"sha256:{digest.hexdigest()}"

    def files(self) -> list[Path]:
        """Return the files or folders of the checkpoints. Raises UserError when there are fewer than two."""
        return [one.path for one in self.found()]

    def found(self) -> list[Checkpoint]:
        """Return the checkpoints. Raises UserError when there are fewer than two."""
        return self._found()[0]

    def _found(self) -> tuple[list[Checkpoint], list[str]]:
        folder = Path(self.path)
        if not folder.is_dir():
            raise UserError(f"collect.path = {self.path!r}: no such folder")
        found, out = checkpoints(folder, self.pattern)
        alone = len(found) == 1 and len(found[0].parts) == 1
        if alone and any(checkpoints(run, self.pattern)[0] for run in folder.iterdir() if run.is_dir()):
            raise UserError(
                f"collect.path = {self.path!r}: holds the file {found[0].name} beside folders of checkpoints; take it "
                "away, so that each folder is a run"
            )
        if len(found) < 2:
            raise UserError(
                f"collect.path = {self.path!r}: holds {len(found)} checkpoints {self.pattern!r} ({', '.join(ENDINGS)}, "
                "or folders of one network each); at least 2 are needed; collect.pattern names others, as 'net_*'"
            )
        return found, out

    def collect(
        self, model: nn.Module, *, data: DatasetSplits, task: Task, layout: Layout, bench: Bench, ctx: Context
    ) -> Zoo:
        from pdiff.checkpoints.reading import Reader
        from pdiff.mapped import Touched
        from pdiff.zoo import Zoo
        from pdiff_plugins.adapters.files.reading import AdapterReader
        from pdiff_plugins.adapters.files.twins import told

        reader = Reader(
            model, "collect", key=self.key, rename=self.rename, match=self.match, needed=layout.keys,
            convert=lambda state: bench.converted(state, model),
        )  # fmt: skip
        anchor = {key: value.detach().cpu().clone() for key, value in model.state_dict().items()}
        others = [key for key in anchor if not is_counter(key) and (key not in layout.keys)]
        (found, out), first = self._found(), None
        known = tasks(Path(self.path), found)
        if isinstance(task, Family):
            check(self.path, found, known, task, data)
        theta_ND = ctx.snapshot.rows(len(found), layout.dim)
        touched = Touched(theta_ND)
        adapters = AdapterReader(model, self.rename, layout.keys)
        with ctx.progress.step("collect", len(found)) as bar:
            for number, one in enumerate(found):
                state = adapters.read(one.read) if adapters.takes(one.read) else self._read(one, reader, adapters)
                _check_finite(one.read, state)
                theta_ND[number] = layout.vector(state)
                touched(theta_ND[number])
                if self.anchor != "base" and any(key in state for key in others):
                    first = first or (one.read, state)
                    self._compare(one.read, state, *first, others)
                bar.advance()
        if first is not None:
            frozen = [key for key in anchor if key in first[1] and key not in layout.keys]
            anchor |= {key: first[1][key].to(anchor[key].dtype) for key in frozen}
        for line in [*[f"collect: left out {listed(out)}"] * bool(out), *reader.said(), *adapters.said()]:
            ctx.progress.say(line)
        rows = _rows(found)
        if adapters.layers:
            for line in told(theta_ND, layout, rows):
                ctx.warn(line)
        if not known:
            return Zoo(theta_ND, layout, anchor, rows)
        every = Zoo(theta_ND, layout, anchor, [row | task for row, task in zip(rows, known, strict=True)])
        numbers = range(len(known))
        zoo = every.subset([n for n in numbers if known[n]["part"] == PARTS[0]], ctx.snapshot.folder)
        if len(zoo) < len(every):
            zoo.holdout = every.subset([n for n in numbers if known[n]["part"] != PARTS[0]], ctx.snapshot.folder)
        return zoo

    def _read(self, one: Checkpoint, reader: Reader, adapters: AdapterReader) -> dict[str, Tensor]:
        try:
            return reader.read(one.read)
        except UserError as error:
            raise UserError(f"{error}{adapters.hint(one.read)}") from None

    def _compare(
        self, file: Path, state: dict[str, Tensor], path: Path, first: dict[str, Tensor], others: list[str]
    ) -> None:
        """Raise UserError where what is not generated is not all there, or not the first file's."""
        for key in others:
            if key not in state:
                raise UserError(
                    f"{file}: holds entries outside the selection but lacks {key!r}; give whole state dicts, "
                    "files of the subset alone, or set collect.anchor = 'base'"
                )
        for key in others if self.anchor == "same" else ():
            if not state[key].equal(first[key]):
                real = first[key].is_floating_point() or first[key].is_complex()
                why = (
                    "is outside the selection and differs from the first file's; select it (selector 'entire'), or"
                    if real else f"is of {str(first[key].dtype)[6:]}, which cannot be generated, and differs from that "
                    f"of {path.name}; take files that agree, or, where it changes nothing,"
                )  # fmt: skip
                raise UserError(f"{file}: {key} {why} set collect.anchor = 'first'")


def configs(one: Checkpoint) -> list[Path]:
    """Return what says how a checkpoint's factors are used, where it is an adapter."""
    file = config_of(one.path) if one.path.is_dir() else None
    return [file] if file else []


def _rows(found: list[Checkpoint]) -> list[dict[str, Any]]:
    """Return what is known of each checkpoint: the number of its run, its step and its file."""
    runs = {run: number for number, run in enumerate(dict.fromkeys(one.run for one in found))}
    return [{"run": runs[one.run], "step": one.step, "metrics": {}, "file": one.name} for one in found]


def _check_finite(file: Path, state: dict[str, Tensor]) -> None:
    """Raise UserError that names the first entry with NaN or Inf."""
    import torch

    for key, value in state.items():
        if not torch.isfinite(value).all():
            raise UserError(f"{file}: {key} holds NaN or Inf; remove the file")
