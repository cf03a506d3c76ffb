"""Checkpoints that are there already: a folder of the user's own files."""

from __future__ import annotations

import hashlib
import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from pdiff.components import CONTENT, NEVER, Collector, Task
from pdiff.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pdiff.bench import Bench
    from pdiff.components import Ahead
    from pdiff.context import Context
    from pdiff.data import DatasetSplits
    from pdiff.zoo import Layout, Zoo


KINDS = (".safetensors", ".pt", ".pth", ".bin")
"""Of files that hold checkpoints."""


def _step(file: Path) -> int:
    """Return the number after "step", "epoch" or "iter" in a file's name, else the last number, else 0."""
    numbers = re.findall(r"(?:step|epoch|iteration|iter)[-_=]?(\d+)", file.stem, re.IGNORECASE)
    numbers = numbers or re.findall(r"\d+", file.stem)
    return int(numbers[-1]) if numbers else 0


class Folder(Collector):
    """Your own checkpoints: a folder of .safetensors, or of .pt with tensors only.

    Where it holds no files but folders of such, each of these is one run, and the number after "step", "epoch" or
    "iter" in a file's name its step (without these the last number, without numbers the place in the order of names).
    """

    name = "folder"
    elsewhere: ClassVar[bool] = True
    path: str = Field(
        min_length=1,
        examples=["checkpoints"],
        json_schema_extra=CONTENT,
        description="folder of checkpoint files, taken in the order of their names, or of one per run",
    )
    pattern: str = Field("*", description="glob of the files that count", json_schema_extra=NEVER)
    anchor: Literal["same", "first", "base"] = Field(
        "same",
        description="where entries outside the selection come from: same: the files, which must agree; "
        "first: the first file; base: the base network (files that hold only the subset always take it)",
    )

    def expected(self) -> int:
        return len(self.files())

    def foresee(self, ahead: Ahead) -> None:
        self.files()

    def content_of(self, option: str) -> str:
        """Return a digest of the files, and of what their folders say of runs and steps."""
        digest, files = hashlib.sha256(), self.files()
        if files[0].parent != Path(self.path):
            digest.update(repr([(row["run"], row["step"]) for row in self._rows(files)]).encode())
        for file in files:
            with open(file, "rb") as opened:
                digest.update(hashlib.file_digest(opened, "sha256").digest())
        return f"sha256:{digest.hexdigest()}"

    def files(self) -> list[Path]:
        """Return the checkpoint files. Raises UserError when there are fewer than two."""
        folder = Path(self.path)
        if not folder.is_dir():
            raise UserError(f"collect.path = {self.path!r}: no such folder")
        files = sorted(self._within(folder))
        if not files:
            runs = sorted(run for run in folder.iterdir() if run.is_dir())
            files = [file for run in runs for file in sorted(self._within(run), key=lambda file: (_step(file), file))]
        if len(files) == 1 and any(self._within(run) for run in folder.iterdir() if run.is_dir()):
            raise UserError(
                f"collect.path = {self.path!r}: holds the file {files[0].name} beside folders of checkpoints; take it "
                "away, so that each folder is a run"
            )
        if len(files) < 2:
            raise UserError(
                f"collect.path = {self.path!r}: holds {len(files)} files {self.pattern!r} of {', '.join(KINDS)}; "
                "at least 2 are needed"
            )
        return files

    def _within(self, folder: Path) -> list[Path]:
        named = (file for file in folder.iterdir() if fnmatchcase(file.name, self.pattern))
        return [file for file in named if file.suffix in KINDS and file.is_file()]

    def collect(
        self, model: nn.Module, *, data: DatasetSplits, task: Task, layout: Layout, bench: Bench, ctx: Context
    ) -> Zoo:
        import torch

        from pdiff.zoo import Zoo

        anchor = {key: value.detach().cpu().clone() for key, value in model.state_dict().items()}
        others = [key for key in anchor if key not in layout.keys and anchor[key].is_floating_point()]
        files, thetas, first = self.files(), [], None
        with ctx.progress.step("collect", len(files)) as bar:
            for file in files:
                state = self._read(file, anchor, layout)
                thetas.append(layout.vector(state))
                if self.anchor != "base" and any(key in state for key in others):
                    first = first or state
                    self._compare(file, state, first, others)
                bar.advance()
        if first is not None:
            frozen = [key for key in anchor if key in first and key not in layout.keys]
            anchor |= {key: first[key].to(anchor[key].dtype) for key in frozen}
        return Zoo(torch.stack(thetas), layout, anchor, self._rows(files))

    def _rows(self, files: list[Path]) -> list[dict[str, Any]]:
        """Return what is known of each file: those of one folder below `path` are a run, other files one each."""
        top = Path(self.path)
        if files[0].parent == top:
            return [{"run": number, "step": 0, "metrics": {}, "file": file.name} for number, file in enumerate(files)]
        rows = []
        for number, run in enumerate(dict.fromkeys(file.parent for file in files)):
            checkpoints = [file for file in files if file.parent == run]
            steps = [_step(file) for file in checkpoints]
            steps = steps if len(set(steps)) == len(checkpoints) else list(range(len(checkpoints)))
            rows += [
                {"run": number, "step": step, "metrics": {}, "file": f"{run.name}/{file.name}"}
                for step, file in zip(steps, checkpoints, strict=True)
            ]
        return rows

    def _read(self, file: Path, anchor: dict[str, Tensor], layout: Layout) -> dict[str, Tensor]:
        """Read one file and check it against the network and the selection."""
        import torch

        from pdiff.files import load_state

        state = load_state(file)
        for entry in layout.entries:
            if entry.key not in state:
                raise UserError(f"{file}: lacks {entry.key!r}, which the selector names")
        for key, value in state.items():
            if key not in anchor:
                raise UserError(f"{file}: holds {key!r}, which the architecture has not; is it another network?")
            if value.shape != anchor[key].shape:
                raise UserError(f"{file}: {key} has shape {list(value.shape)}, expected {list(anchor[key].shape)}")
            small = value.is_floating_point() and value.element_size() == 1  # which torch cannot ask
            if not torch.isfinite(value.float() if small else value).all():
                raise UserError(f"{file}: {key} holds NaN or Inf; remove the file")
        return state

    def _compare(self, file: Path, state: dict[str, Tensor], first: dict[str, Tensor], others: list[str]) -> None:
        for key in others:
            if key not in state:
                raise UserError(
                    f"{file}: holds entries outside the selection but lacks {key!r}; give whole state dicts, "
                    "files of the subset alone, or set collect.anchor = 'base'"
                )
        for key in others if self.anchor == "same" else ():
            if not state[key].equal(first[key]):
                raise UserError(
                    f"{file}: {key} is outside the selection and differs from the first file's; "
                    "select it (selector 'entire'), or set collect.anchor = 'first'"
                )
