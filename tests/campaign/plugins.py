"""Hostile plugins, each installed as pip would: the program lives, names the plugin, and its JSON stays JSON.

Each is met by fresh processes: `pdiff --help`, `pdiff list-plugins --json` and a real command.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.campaign.options import Options
from tests.campaign.tally import Tally
from tests.helpers import pdiff_command

NET = '''
from typing import Any
from pydantic import Field
from pdiff import hookimpl
from pdiff.components import Architecture

class Net(Architecture):
    """Network of a stranger."""
    name = "hostile_net"
    width: int = 3

    def build(self, *, input_shape, outputs):
        from torch import nn
        return nn.Sequential(nn.Flatten(), nn.LazyLinear(outputs))

@hookimpl
def register_architectures(register):
    register(Net)
'''
COMMAND = (
    NET
    + """
@hookimpl
def register_commands(app):
    @app.command()
    def hostile_command(): ...
"""
)
ODD = """
class Odd({base}):
    def __str__(self): {do}
raise Odd()
"""


@dataclass(frozen=True)
class Hostile:
    """A plugin, and what the list says of it; `why` "" where it is whole."""

    code: str
    why: str = ""
    value: str = ""
    metadata: bytes | None = b"Metadata-Version: 2.1\nName: pdiff-hostile\nVersion: 1.0\n"
    name: str = ""
    stopped: bool = False
    """True where a real Ctrl-C comes while it loads."""


def net(old: str, new: str) -> str:
    assert old in NET
    return NET.replace(old, new)


def command(body: str) -> str:
    return COMMAND.replace("    @app.command()\n    def hostile_command(): ...\n", body)


PRESSED = "import os, signal, time\n{before}\n    os.kill(os.getpid(), signal.SIGINT)\n    time.sleep(5)\n{after}\n"
HOSTILE = {
    "import error": Hostile("import no_such_library", "ModuleNotFoundError"),
    "syntax": Hostile("def", "SyntaxError"),
    "NUL in its source": Hostile("x = 1\0", "null bytes"),
    "bytes that are no text": Hostile("x = '\udcff\udcfe'", "SyntaxError"),
    "SystemExit": Hostile("raise SystemExit('goodbye')", "SystemExit: goodbye"),
    "exit 0": Hostile("import sys; sys.exit(0)", "SystemExit: 0"),
    "KeyboardInterrupt": Hostile("raise KeyboardInterrupt", "KeyboardInterrupt"),
    "BaseException": Hostile("raise BaseException('base')", "BaseException: base"),
    "GeneratorExit": Hostile("raise GeneratorExit", "GeneratorExit"),
    "StopIteration": Hostile("raise StopIteration", "StopIteration"),
    "MemoryError": Hostile("raise MemoryError", "MemoryError"),
    "endless recursion": Hostile("def f(): f()\nf()", "RecursionError"),
    "text that raises": Hostile(ODD.format(base="Exception", do="1 / 0"), "Odd, whose text raises ZeroDivisionError"),
    "text that exits": Hostile(ODD.format(base="BaseException", do="raise SystemExit(3)"), "raises SystemExit"),
    "text that interrupts": Hostile(ODD.format(base="Exception", do="raise KeyboardInterrupt"), "KeyboardInterrupt"),
    "text that is none": Hostile(ODD.format(base="Exception", do="return 3"), "raises TypeError"),
    "text of a megabyte": Hostile("raise Exception('x' * 10**6)", "Exception: xxx"),
    "text of control codes": Hostile("raise Exception('a\\x1b[31m\\nb\\udcff\\0')", "Exception: a\\x1b[31m b\\udcff"),
    "prints at import": Hostile("print('{')\n" + NET),
    "prints while registering": Hostile(net("    register(Net)", "    print('{'); register(Net)")),
    "takes stdout away": Hostile("import sys\nsys.stdout = None\n" + NET),
    "warns": Hostile("import warnings\nwarnings.simplefilter('error')\nwarnings.warn('x')", "UserWarning: x"),
    "ignores Ctrl-C": Hostile("import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n" + NET),
    "Ctrl-C": Hostile(PRESSED.format(before="if True:", after=""), stopped=True),
    "Ctrl-C swallowed": Hostile(PRESSED.format(before="try:", after="except BaseException:\n    pass"), stopped=True),
    "unknown hook": Hostile(net("def register_architectures", "def register_architecture"), "unknown hook"),
    "unknown argument": Hostile(net("(register):", "(take):"), "'take'"),
    "another kind": Hostile(net("def register_architectures", "def register_selectors"), "is of kind 'architecture'"),
    "no component": Hostile(net("register(Net)", "register(None)"), "is not a subclass"),
    "no docstring": Hostile(net('"""Network of a stranger."""', ""), "has no docstring"),
    "abstract": Hostile(net("def build", "def bild"), "lacks build"),
    "name that is none": Hostile(net('"hostile_net"', "5"), "TypeError"),
    "version that is none": Hostile(net("width: int = 3", "version = 'new'"), "version is a whole number"),
    "source that is none": Hostile(net("width: int = 3", "source = 3"), "source a text"),
    "presets in a list": Hostile(net("width: int = 3", "presets = ['a', 'b']"), "presets is no mapping"),
    "preset of a number": Hostile(net("width: int = 3", "presets = {'wide': 9}"), "'wide' is no table of its options"),
    "preset of no option": Hostile(net("width: int = 3", "presets = {'wide': {'x': 9}}"), "'wide' is no table"),
    "default that raises": Hostile(net("= 3", "= Field(default_factory=lambda: 1 / 0)"), "default of 'width' cannot"),
    "default that exits": Hostile(net("= 3", "= Field(default_factory=exit)"), "SystemExit"),
    "registers and exits": Hostile(net("register(Net)", "register(Net); raise SystemExit(4)"), "SystemExit: 4"),
    "registers and interrupts": Hostile(net("register(Net)", "register(Net); raise KeyboardInterrupt"), "Keyboard"),
    "commands that exit": Hostile(command("    raise SystemExit(5)\n"), "register_commands: SystemExit: 5"),
    "commands that interrupt": Hostile(command("    raise KeyboardInterrupt\n"), "register_commands: Keyboard"),
    "takes run": Hostile(command("    app.command('run')(lambda: print('mine'))\n"), "'run' is of pdiff itself"),
    "takes describe": Hostile(command("    app.command('describe')(lambda: print('mine'))\n"), "plugin handbook"),
    "command that cannot be": Hostile(command("    app.command()(5)\n"), "register_commands: "),
    "prints with its commands": Hostile(command("    print('{')\n" + "    app.command('mine')(lambda: None)\n")),
    "takes the callback": Hostile(command("    app.callback()(lambda: 1 / 0)\n")),
    "object that raises": Hostile("class P:\n  register_x = property(lambda self: 1 / 0)\np = P()", value=":p"),
    "object that is like none": Hostile("class P:\n  def __eq__(self, o): 1 / 0\np = P()", "ZeroDivision", value=":p"),
    "names nothing": Hostile(NET, "nothing", value=":nothing"),
    "takes another's name": Hostile(NET, "another distribution", name="networks"),
    "no metadata": Hostile(NET, metadata=None),
    "metadata of bytes": Hostile(NET, metadata=b"\xff\xfe\x00"),
}


def install(plugin: Hostile, folder: Path, number: int = 0) -> str:
    """Put a plugin into a folder, as pip would, and return its name."""
    module, name = f"hostile_{number}", plugin.name or f"hostile{number}"
    (folder / f"{module}.py").write_bytes(plugin.code.encode(errors="surrogateescape"))
    info = folder / f"{module}-1.0.dist-info"
    info.mkdir()
    if plugin.metadata is not None:
        (info / "METADATA").write_bytes(plugin.metadata.replace(b"pdiff-hostile", module.encode()))
    (info / "entry_points.txt").write_text(f"[pdiff]\n{name} = {module}{plugin.value}\n")
    return name


def interruptible() -> None:
    """Let programs that are started from here heed Ctrl-C, which a shell's background jobs do not."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def faults(plugin: Hostile, folder: Path, whole: set[str]) -> list[str]:
    """Return what is wrong with what the program does beside a plugin; `whole` are the plugins that must be there."""
    name = install(plugin, folder)
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])

    def told(*arguments: str) -> subprocess.CompletedProcess[str]:
        return pdiff_command(*arguments, cwd=folder, PYTHONPATH=path)

    helped, listed = told("--help"), told("list-plugins", "--json")
    if plugin.stopped:
        return [f"exit code {run.returncode}" for run in (helped, listed) if run.returncode != 130]
    real = told("describe", "architecture", "hostile_net")
    wrong = [f"a traceback: {run.stderr[-200:]}" for run in (helped, listed, real) if "Traceback" in run.stderr]
    wrong += [f"--help: exit code {helped.returncode}"] * (
        helped.returncode != 0 or "list-plugins" not in helped.stdout
    )
    if real.returncode and (real.returncode != 2 or (plugin.why and name not in real.stderr)):
        wrong.append(f"describe: {real.returncode} {real.stderr[-200:]}")
    try:
        rows = json.loads(listed.stdout)
    except ValueError:
        return [*wrong, f"list-plugins: no JSON but {listed.stdout[:80]!r} {listed.stderr[-200:]!r}"]
    failures = {row["plugin"]: row["failure"] for row in rows if row["failure"]}
    if plugin.why not in failures.get(name, "" if not plugin.why else "nothing is listed"):
        wrong.append(f"listed as {failures}, not {plugin.why!r}")
    if not plugin.why and failures:
        wrong.append(f"failed: {failures}")
    if lost := whole - {row["plugin"] for row in rows if not row["failure"]}:
        wrong.append(f"others are lost: {sorted(lost)}")
    return wrong


def run(options: Options) -> Tally:
    """Meet every plugin once."""
    tally = Tally("plugins")
    interruptible()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.work or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        whole = {row["plugin"] for row in json.loads(pdiff_command("list-plugins", "--json", cwd=folder).stdout)}
        chosen = [name for name in HOSTILE if options.only in name][: options.count]
        for number, name in enumerate(chosen):
            place = folder / str(number)
            place.mkdir()
            wrong = faults(HOSTILE[name], place, whole)
            tally.add("hostile plugin", f"{name}: {'; '.join(wrong)}" if wrong else None)
    return tally
