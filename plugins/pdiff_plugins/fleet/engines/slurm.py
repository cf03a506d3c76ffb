"""Slurm, through submitit."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from pdiff.components import Engine, Job, Launcher
from pdiff.errors import UserError
from pdiff_plugins.fleet.engines.local import ENDING_S, end, why


class Submitit(Engine):
    """Slurm jobs, or with `cluster = "local"` the same on this machine.

    submitit keeps what it is told to run, a command line, as files of its own beside the workers' logs, which are
    pickles; nothing of a network goes through them, and they are removed at the end.
    """

    name = "submitit"
    source = "https://github.com/facebookincubator/submitit; pip install 'neural-pdiff[slurm]'"
    cluster: Literal["slurm", "local"] = Field("slurm", description="slurm; local: processes on this machine")
    partition: str = Field("", description="Slurm's partition; empty: its default")
    minutes: int = Field(24 * 60, gt=0, description="a job's longest time; what it has not done, others go on with")
    gpus: int = Field(0, ge=0, description="GPUs of a job")
    cpus: int = Field(4, gt=0, description="CPU cores of a job")
    memory_gb: float = Field(16.0, gt=0, description="memory of a job")
    more: dict[str, str | int] = Field({}, description="further parameters of sbatch, such as { account = 'a' }")

    def open(self, folder: Path) -> Launcher:
        try:
            import submitit
        except ImportError:
            raise UserError("--engine submitit: submitit is not installed; pip install 'neural-pdiff[slurm]'") from None
        try:
            executor = submitit.AutoExecutor(folder / "submitit", cluster=self.cluster)
        except RuntimeError as error:
            raise UserError(f"--engine submitit: {' '.join(str(error).split())}; is this a machine of Slurm?") from None
        executor.update_parameters(
            name="pdiff", timeout_min=self.minutes, gpus_per_node=self.gpus, cpus_per_task=self.cpus,
            mem_gb=self.memory_gb,
        )  # fmt: skip
        if self.cluster == "slurm":
            parameters = {"slurm_partition": self.partition} if self.partition else {}
            executor.update_parameters(**parameters, slurm_additional_parameters=dict(self.more))
        return Jobs(executor, folder)


class Jobs(Launcher):
    """Jobs of one executor."""

    def __init__(self, executor: Any, folder: Path):
        self.executor, self.folder = executor, folder

    def start(self, command: Sequence[str], number: int, env: Mapping[str, str]) -> Job:
        try:
            with _interruptible():
                job = self.executor.submit(run, list(command), dict(env))
        except Exception as error:  # submitit's own, of several kinds
            why_not = " ".join(str(error).split())[:300]
            raise UserError(f"--engine submitit: a job was refused ({why_not}); mend the engine's options") from None
        return Submitted(job, self.executor.cluster == "local")

    def close(self) -> None:
        for path in (self.folder / "submitit").glob("*.pkl"):
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let programs that are started meanwhile hear SIGINT, also where this one ignores it, as after `nohup` or `&`.

    submitit ends its local jobs by that alone. A program inherits that a signal is ignored, and no handler.
    """
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    if not ignored or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


class Submitted(Job):
    """A job that was submitted."""

    def __init__(self, job: Any, here: bool):
        """`here`: it is a process of this machine."""
        self.job, self.here, self.stopped = job, here, False

    def ended(self) -> str | None:
        if self.stopped:
            return "stopped"
        if not self.job.done():
            return None
        try:
            return why(self.job.result(), Path(self.job.paths.stderr))
        except Exception as error:  # submitit's own, of several kinds
            first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            return f"job {self.job.job_id} ({self.job.state}): {first[:200]}"

    def stop(self) -> None:
        if not self.job.done():
            self.job.cancel(check=False)
            self.stopped = True
            if self.here:
                end_of(self.job)


def end_of(job: Any) -> None:
    """Return when a job has ended, or after some seconds."""
    start = time.monotonic()
    while not job.done() and time.monotonic() - start < ENDING_S:
        time.sleep(0.05)


def run(command: list[str], env: Mapping[str, str]) -> int:
    """Run a command, and end it where this process is asked to end."""
    process = subprocess.Popen(command, env={**os.environ, **env})
    try:
        return process.wait()
    finally:
        end(process)
