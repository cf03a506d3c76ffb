"""How much memory it takes to train a method's networks."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypedDict

from pydantic import Field

from pdiff import hookimpl
from pdiff.components import Evaluator, Finding
from pdiff.errors import UserError
from pdiff.plugins.discovery import registry

if TYPE_CHECKING:
    from pdiff.context import Context
    from pdiff.running.progress import Step
    from pdiff.view import View


class PeakMemory(TypedDict):
    """What `memory` gives for the run."""

    codec: Annotated[int, "MiB that training the codec takes at its peak"]
    denoiser: Annotated[int, "MiB that training the denoiser takes at its peak"]


class Memory(Evaluator):
    """Peak memory of training p-diff's codec, then its denoiser, in MiB.

    Each is trained for a few steps on random vectors, in a process of its own.

    On a CPU it is the growth of the peak resident size, on CUDA the peak that torch allocates (nvidia-smi, which the
    paper may have read, also counts the context and what torch keeps in reserve).
    """

    name = "memory"
    source: ClassVar[str] = "Neural Network Diffusion, arXiv 2402.13144, Table 13"
    run_scores: ClassVar[type] = PeakMemory
    steps: int = Field(3, gt=0, description="training steps of each")

    def evaluate(self, view: View, ctx: Context) -> dict[str, Any]:
        from pdiff_plugins.latent.pdiff import PDiff

        method = view.methods[view.method]
        if not isinstance(method, PDiff):
            raise UserError(f"evaluator memory: method {method.name} has no codec and denoiser; leave it out")
        method = method.model_copy(update={"batch_size": min(method.batch_size, len(view.zoo))})
        asked = {"method": method.table(), "dim": view.zoo.layout.dim, "steps": self.steps}
        asked |= {"device": str(ctx.device), "precision": ctx.precision, "plugins": registry().files}
        with ctx.progress.step("a process for each", len(PARTS)) as bar:
            return {part: _probed(json.dumps(asked | {"part": part}), bar) for part in PARTS}

    def findings(self, scores: Mapping[str, Any]) -> Iterator[Finding]:
        peaks = " and ".join(f"{mebibytes} MiB for its {part}" for part, mebibytes in scores["memory"].items())
        yield Finding(f"memory: training {scores['method']} takes {peaks}, at the peak", note=True)


PARTS = ("codec", "denoiser")


def _probed(asked: str, bar: Step) -> int:
    """Return what a process of its own measures: a program, so that the caller's needs no guard. Raises UserError."""
    command = [sys.executable, "-m", "pdiff_plugins.evaluators.memory_probe"]
    probe = subprocess.run(command, input=asked, capture_output=True, text=True)
    if probe.returncode:
        why = (probe.stderr.strip().splitlines() or [f"it ended with exit code {probe.returncode}"])[-1]
        raise UserError(f"evaluator memory: the process that measures failed: {why}")
    bar.advance()
    return int(probe.stdout.splitlines()[-1])


@hookimpl
def register_evaluators(register: Any) -> None:
    register(Memory)
