"""Fixtures of all tests, and how the whole of them is run: on every core, each test from the same random state."""

from __future__ import annotations

import math
import os
import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.helpers import TINY

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: the workers share the cores
os.environ |= {  # what trackers' libraries would send, ask for or refuse
    "WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false", "WANDB_X_DISABLE_STATS": "true", "WANDB_MODE": "offline",
    "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_ALLOW_FILE_STORE": "true", "DO_NOT_TRACK": "true",
}  # fmt: skip

MOST_WORKERS = 8
"""Each worker holds torch and its own session fixtures, about 1 GiB."""

# Examples are the same each time, and a machine that is busy with other things fails none of them.
settings.register_profile("repeatable", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("repeatable")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Use all cores, unless a number is given (`-n 0`: one process), one test is asked for, or xdist is not there.

    A module's tests stay together, because its fixtures are made once per process.
    """
    option = config.option
    if "PYTEST_XDIST_WORKER" in os.environ or not config.pluginmanager.hasplugin("xdist"):
        return  # a worker starts no workers
    alone = option.usepdb or option.collectonly or option.capture == "no" or any("::" in name for name in config.args)
    if option.numprocesses is None and not alone:
        option.numprocesses = "auto"
    if option.numprocesses and option.dist == "no":
        option.dist = "loadscope"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    return min(MOST_WORKERS, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


@pytest.fixture(autouse=True, scope="session")
def same_way_for_every_population():
    """How a population is run is not tried out by the clock: another way may give other last bits."""
    from pdiff_plugins.populations import chooser

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chooser, "QUICK_S", math.inf)
        yield


@pytest.fixture(autouse=True, scope="session")
def coarse_figures():
    """Figures are drawn coarsely, because only a look at them needs more."""
    from pdiff_plugins.drawing import style

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(style, "DPI", 30)
        yield


@pytest.fixture(autouse=True)
def same_random_state() -> None:
    """Which tests ran before on the same worker changes no random number of this one."""
    import numpy as np
    import torch

    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture
def saved_at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Snapshots are saved at every step, however long a save takes."""
    from pdiff.running.snapshot import Snapshot

    monkeypatch.setattr(Snapshot, "due", lambda self: self.folder is not None)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A copy of the small recipe, alone in a folder that is the current one."""
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory):
    """A finished run of the small recipe; tests read it and do not change it."""
    import pdiff

    folder = tmp_path_factory.mktemp("finished")
    (folder / "tiny.toml").write_text(TINY)
    return pdiff.run(folder / "tiny.toml", set={"run.out": str(folder / "runs")}, quiet=True)
