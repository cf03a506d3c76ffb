"""Ray: a cluster that runs, or one on this machine."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from pdiff.components import Engine, Job, Launcher
from pdiff.errors import UserError
from pdiff_plugins.fleet.engines.local import why
from pdiff_plugins.fleet.engines.slurm import run

STORE_BYTES = 100 * 2**20
"""Of Ray's object store, through which nothing goes but an exit code."""

ANSWERS_S = 10.0
"""Given to a cluster to take a connection."""


class Ray(Engine):
    """Tasks of a Ray cluster, the one at `address` or one on this machine."""

    name = "ray"
    source = "Moritz et al. 2018, arXiv 1712.05889; pip install 'neural-pdiff[ray]'"
    address: str = Field("", description="of a running cluster, 'auto' finds it; empty: RAY_ADDRESS, or a local one")
    cpus: float = Field(1.0, gt=0, description="CPU cores of a worker")
    gpus: float = Field(0.0, ge=0, description="GPUs of a worker")
    memory_gb: float = Field(0.0, ge=0, description="memory of a worker, by which Ray places it; 0: not counted")

    def open(self, folder: Path) -> Launcher:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        try:
            import ray
        except ImportError:
            raise UserError("--engine ray: ray is not installed; pip install 'neural-pdiff[ray]'") from None
        address = self.address or os.environ.get("RAY_ADDRESS", "")
        host, _, port = address.rpartition("/")[2].rpartition(":")
        if port.isdecimal():
            try:
                socket.create_connection((host, int(port)), timeout=ANSWERS_S).close()
            except OSError as error:
                raise UserError(f"--engine ray: no cluster answers at {address} ({error.strerror or error})") from None
        alone: dict[str, Any] = {"object_store_memory": STORE_BYTES, "include_dashboard": False}
        try:
            ray.init(
                address=address or "local", log_to_driver=False, logging_level=logging.ERROR,
                configure_logging=True, **({} if address else alone),
            )  # fmt: skip
        except (ConnectionError, RuntimeError, ValueError) as error:
            where = f"no cluster answers at {address}" if address else "none can be started here"
            raise UserError(f"--engine ray: {where} ({' '.join(str(error).split())[:200]})") from None
        needs = {"num_cpus": self.cpus, "num_gpus": self.gpus, "max_retries": 0}
        there: dict[str, float] = ray.cluster_resources()
        for what, asked in (("CPU", self.cpus), ("GPU", self.gpus)):
            if asked > there.get(what, 0):
                ray.shutdown()
                raise UserError(
                    f"--engine ray: a worker asks for {asked:g} {what}, and the cluster has {there.get(what, 0):g}"
                )
        return Tasks(ray, needs | ({"memory": int(self.memory_gb * 2**30)} if self.memory_gb else {}))


class Tasks(Launcher):
    """Tasks that run a command each."""

    def __init__(self, ray: Any, needs: Mapping[str, Any]):
        self.ray, self.needs = ray, needs

    def start(self, command: Sequence[str], number: int, env: Mapping[str, str]) -> Job:
        remote = self.ray.remote(run).options(**self.needs, runtime_env={"env_vars": dict(env)})
        return Task(self.ray, remote.remote(list(command), dict(env)))

    def close(self) -> None:
        self.ray.shutdown()


class Task(Job):
    """A task of Ray."""

    def __init__(self, ray: Any, reference: Any):
        self.ray, self.reference = ray, reference

    def ended(self) -> str | None:
        done, _ = self.ray.wait([self.reference], timeout=0)
        if not done:
            return None
        try:
            return why(self.ray.get(self.reference))
        except Exception as error:  # Ray's own, of several kinds
            return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"

    def stop(self) -> None:
        self.ray.cancel(self.reference, force=False)
        self.ray.wait([self.reference], timeout=20)
