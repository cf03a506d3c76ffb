"""Engines: the contract by which each runs commands, one GPU for each process, and extras that are absent."""

from __future__ import annotations

import importlib
import signal
import sys
from pathlib import Path

import pytest

from pdiff.errors import UserError
from pdiff.testing import check_component
from pdiff_plugins.fleet.engines.local import Local
from pdiff_plugins.fleet.engines.ray import Ray
from pdiff_plugins.fleet.engines.slurm import Submitit
from tests.fleet.helpers import written
from tests.helpers import pdiff_command


@pytest.mark.slow
def test_ray_keeps_the_contract() -> None:
    pytest.importorskip("ray")
    check_component(Ray)


@pytest.mark.slow
def test_a_sweep_by_submitit_leaves_no_pickle(tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    written(tmp_path)
    options = ("--engine", "submitit", "-o", "cluster=local", "-j", "1")
    done = pdiff_command("sweep", "tiny.toml", "--set", "seed=0", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("mean original") == 1 and "1 worker, engine submitit" in done.stdout
    assert not list((tmp_path / "runs").rglob("*.pkl"))


def test_jobs_of_submitit_end_where_interrupts_are_ignored(tmp_path: Path) -> None:
    """A sweep in the background left them running, and their worker at work, when it was stopped."""
    pytest.importorskip("submitit")
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as after `nohup` or `&`
    try:
        job = Submitit(cluster="local").open(tmp_path).start(["sleep", "3600"], 0, {})
        job.stop()
        assert job.job.done() and signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.slow
def test_a_sweep_by_ray(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    written(tmp_path)
    done = pdiff_command("sweep", "tiny.toml", "--set", "seed=0,1", "--engine", "ray", "-j", "2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("mean original") == 2


def test_each_process_has_a_gpu_of_its_own_where_there_are_several(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5,7")
    assert Local().devices() == ["2", "5", "7"] and Local(gpus=2).devices() == ["2", "5"]
    launcher = Local(gpus=2).open(tmp_path)
    code = "import os, sys; open(sys.argv[1], 'w').write(os.environ['CUDA_VISIBLE_DEVICES'])"
    jobs = [launcher.start([sys.executable, "-c", code, str(tmp_path / f"{n}")], n, {}) for n in range(3)]
    assert [job.process.wait() for job in jobs] == [0, 0, 0]
    assert [(tmp_path / f"{n}").read_text() for n in range(3)] == ["2", "5", "2"]


@pytest.mark.parametrize(("engine", "library", "extra"), [(Submitit, "submitit", "slurm"), (Ray, "ray", "ray")])
def test_an_engine_whose_library_is_absent_names_its_extra(engine, library, extra, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    importlib.invalidate_caches()
    with pytest.raises(
        UserError, match=rf"--engine {engine.name}: .* not installed; pip install 'neural-pdiff\[{extra}\]'"
    ):
        engine().open(tmp_path)


def test_without_slurm_the_machine_is_named(tmp_path: Path, monkeypatch) -> None:
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"--engine submitit: .*Slurm"):
        Submitit().open(tmp_path)
