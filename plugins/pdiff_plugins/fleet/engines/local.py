"""Processes on this machine."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from pdiff.components import Engine, Job, Launcher

ENDING_S = 15.0
"""Given to a process that is asked to end."""


class Local(Engine):
    """Processes on this machine, each with one GPU where there are several."""

    name = "local"
    gpus: int | None = Field(None, ge=0, description="GPUs that are dealt out, one to a process; by default all")

    def places(self) -> int:
        return max(len(self.devices()), (os.cpu_count() or 1) // 2, 1)

    def open(self, folder: Path) -> Launcher:
        return Processes(folder, self.devices())

    def devices(self) -> list[str]:
        """Return the GPUs by the names that CUDA_VISIBLE_DEVICES has for them."""
        given = os.environ.get("CUDA_VISIBLE_DEVICES")
        if given is not None:
            found = [device for device in given.split(",") if device.strip()]
        elif any(map(shutil.which, ("nvidia-smi", "rocm-smi"))):
            import torch

            found = [str(index) for index in range(torch.cuda.device_count())]
        else:
            found = []
        return found[: self.gpus]


class Processes(Launcher):
    """Processes, whose output goes to files."""

    def __init__(self, folder: Path, devices: Sequence[str] = ()):
        self.folder, self.devices = folder, devices
        self.running: list[tuple[subprocess.Popen[Any], str]] = []

    def start(self, command: Sequence[str], number: int, env: Mapping[str, str]) -> Job:
        more = {"CUDA_VISIBLE_DEVICES": self._device()} if self.devices else {}
        log = self.folder / f"{number}.log"
        with log.open("ab") as file:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env={**os.environ, **env, **more}
            )
        self.running.append((process, more.get("CUDA_VISIBLE_DEVICES", "")))
        return Process(process, log)

    def _device(self) -> str:
        """Return the GPU that the fewest living processes have."""
        taken = [device for process, device in self.running if process.poll() is None]
        return min(self.devices, key=taken.count)


class Process(Job):
    """A process of this machine."""

    def __init__(self, process: subprocess.Popen[Any], log: Path):
        self.process, self.log = process, log

    def ended(self) -> str | None:
        code = self.process.poll()
        return None if code is None else why(code, self.log)

    def stop(self) -> None:
        end(self.process)


def end(process: subprocess.Popen[Any]) -> None:
    """Interrupt a process, and kill it where it does not end."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT if os.name != "nt" else signal.SIGTERM)
        try:
            process.wait(ENDING_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def why(code: int, log: Path | None = None) -> str:
    """Return why a process ended, nothing where it did as it should; the last line of its log says more."""
    if code == 0:
        return ""
    if code < 0:
        killed = f"was killed by {signal.Signals(-code).name}" if -code in set(signal.Signals) else f"signal {-code}"
        return killed + (", perhaps because memory ran out" if -code == 9 else "")
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n") if log and log.is_file() else []
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f"exit code {code}" + (f": {last[:200]}" if last else "")
