"""Start-up: what only lists or describes imports no numerical library, in a fresh process."""

from __future__ import annotations

import os
import subprocess
import sys

from pdiff_plugins.images.in_memory import Cifar10
from tests.helpers import HANG_S, ROOT

HEAVY = "torch torchvision timm sklearn matplotlib numpy scipy PIL pandas safetensors"
CODE = f"""
import sys
from pdiff.cli import main
for arguments in {{commands}}:
    sys.argv = ["pdiff", *arguments]
    try:
        main()
    except SystemExit as stop:
        assert not stop.code, (arguments, stop.code)
    heavy = [name for name in "{HEAVY}".split() if name in sys.modules]
    assert not heavy, (arguments, heavy)
"""


def test_help_listing_and_describing_import_no_torch(tmp_path):
    commands = [
        ["--help"], ["run", "--help"], ["list-plugins"], ["list-plugins", "--json"], ["describe", "method"],
        ["describe", "method", "pdiff"], ["describe", "architecture", "vit_tiny"], ["describe", "evaluator", "audit"],
        ["new-plugin", "acme_net"], ["runs"], ["clean"], ["-h"],
    ]  # fmt: skip
    code = CODE.format(commands=commands)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=HANG_S, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "pdiff_paper" in done.stdout and "list-plugins" in done.stdout


def test_checking_recipes_imports_no_torch(tmp_path):
    files = Cifar10().published()
    (tmp_path / files.folder).mkdir()
    for name in files.files:
        (tmp_path / files.folder / name).touch()
    names = ("quickstart", "paper/table2/cifar10_convnet", "fields_digits", "gpt_cifar10")
    commands = [["check", f"{ROOT / 'recipes' / name}.toml", "--set", f"run.data={tmp_path}"] for name in names]
    code = CODE.format(commands=commands)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=HANG_S, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("can run") == len(names)


def test_the_shell_completes_without_torch() -> None:
    asked = {"_PDIFF_COMPLETE": "complete_bash", "COMP_WORDS": "pdiff list", "COMP_CWORD": "1"}
    code = CODE.format(commands=[[]])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=HANG_S, env=os.environ | asked
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["list-plugins"]
