"""Hostile plugins: whatever one does while it loads, the program lives, names it, and only a true Ctrl-C stops it."""

from __future__ import annotations

import json
import os

import pytest

from tests.campaign.plugins import HOSTILE, NET, Hostile, install, interruptible
from tests.helpers import pdiff_command


def path_of(folder):
    return os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])


def test_all_of_them_at_once_are_listed_and_harm_nothing(tmp_path):
    names = {name: install(plugin, tmp_path, number) for number, (name, plugin) in enumerate(HOSTILE.items())
             if not plugin.stopped}  # fmt: skip
    run = pdiff_command("list-plugins", "--json", cwd=tmp_path, PYTHONPATH=path_of(tmp_path))
    assert run.returncode == 0 and "Traceback" not in run.stderr, run.stderr[-2000:]
    rows = [(row["plugin"], row["failure"]) for row in json.loads(run.stdout)]
    for name, plugin in HOSTILE.items():
        if not plugin.stopped:
            failures = [failure for named, failure in rows if named == names[name]]
            assert any(plugin.why in failure if plugin.why else not failure for failure in failures), (name, failures)
            assert all(len(failure) < 500 and failure.isprintable() for failure in failures)
    assert ("handbook", "") in rows and ("networks", "") in rows and ("timm", "") in rows


@pytest.mark.parametrize("name", ["Ctrl-C", "Ctrl-C swallowed"])
def test_a_true_interrupt_stops_the_program(name, tmp_path):
    install(HOSTILE[name], tmp_path)
    interruptible()
    run = pdiff_command("list-plugins", cwd=tmp_path, PYTHONPATH=path_of(tmp_path), PDIFF_PLUGINS="hostile0")
    assert run.returncode == 130 and run.stdout == "" and "Traceback" not in run.stderr


def test_an_error_in_a_strangers_code_names_the_plugin(tmp_path):
    used = NET.replace("    width: int = 3", "    width: int = 3\n    def table(self): 1 / 0")
    name = install(Hostile(used), tmp_path)
    (tmp_path / "own.toml").write_text(f"[dataset]\nname = 'digits'\n[architecture]\nname = '{name}:hostile_net'\n")
    run = pdiff_command("describe", "architecture", "hostile_net", cwd=tmp_path, PYTHONPATH=path_of(tmp_path))
    assert run.returncode == 1
    assert "error: plugin hostile0 (hostile_0 1.0) raised ZeroDivisionError: division by zero; tell" in run.stderr
