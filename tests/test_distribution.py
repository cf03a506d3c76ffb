"""The distribution: its name is asked for everywhere, its archives hold all that is read, and its wheel works alone."""

from __future__ import annotations

import re
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.helpers import environment_on_top, run
from tests.helpers import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
STRANGER = "pdiff"
"""Our import name and command; on the public index, however, a side-by-side diff tool of that name."""
END = r"(?![\w./-])"
ASKS_FOR_STRANGER = re.compile(
    "|".join([
        # pip install NAME, uv add NAME, ... within one command or one piece of code in a text
        rf"\b(?:pip3?|pipx|uv|poetry|conda|mamba)\b[^\n&|;,`\\#()]*?\b(?:install|add)\b[^\n&|;,`\\#()]*?"
        rf"(?<![\w./-]){STRANGER}{END}",
        rf"(?<![\w./-]){STRANGER}\\?\[[a-z]",  # NAME[extra]
        rf"\b(?:dependencies|requires)\s*=\s*\[[^\]]*[\"']{STRANGER}{END}",  # dependencies = [..., "NAME>=1", ...]
        rf"^[\s\"'-]*{STRANGER}\s*(?:[=<>~!]=|[<>])\s*\d",  # a line of requirements
    ]),
    re.MULTILINE,
)  # fmt: skip
SHORT = [
    "train.epochs=2", "collect.count=60", "method.steps=20", "method.timesteps=10", "sample.count=6",
    "sample.baseline_count=4",
]  # fmt: skip


def texts() -> Iterator[tuple[Path, str]]:
    """Yield the files that people and tools read, and their text."""
    folders = ("pdiff", "plugins", "recipes", "tests", "benchmarks", "docs", ".ci")
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*")] + list(ROOT.glob("*"))
    for path in paths:
        if path.is_file() and path.suffix in ("", ".py", ".toml", ".md", ".txt", ".yml", ".yaml", ".cff", ".cfg"):
            yield path, path.read_text(encoding="utf-8", errors="replace")


def files_of(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def build(kind: str, source: Path, to: Path) -> Path:
    """Build the wheel or sdist of a source folder, without network and without an environment of its own."""
    pytest.importorskip("hatchling")
    run(sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", to, cwd=source)
    (archive,) = to.glob({"wheel": "*.whl", "sdist": "*.tar.gz"}[kind])
    return archive


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.mark.parametrize(
    "text",
    [
        f"pip install {STRANGER}", f"    pip install -U '{STRANGER}>=0.1' torch\n", f"pip install '{STRANGER}[test]'",
        f"uv add {STRANGER}", f"uv tool install {STRANGER}", f'dev = ["{STRANGER}[test]", "ruff"]',
        f'dependencies = [\n  "torch",\n  "{STRANGER}",\n]', f'requires = ["{STRANGER} >= 1"]',
        f"torch\n{STRANGER}==0.1\n", f"needs {STRANGER}[fields3d]",
    ],
)  # fmt: skip
def test_asking_for_the_strangers_distribution_is_noticed(text: str) -> None:
    assert ASKS_FOR_STRANGER.search(text)
    assert not ASKS_FOR_STRANGER.search(text.replace(STRANGER, PROJECT["name"]))


def test_no_file_asks_for_the_strangers_distribution() -> None:
    assert PROJECT["name"] != STRANGER and PROJECT["scripts"] == {"pdiff": "pdiff.cli:main"}
    asked = [(str(path), match[0]) for path, text in texts() for match in ASKS_FOR_STRANGER.finditer(text)]
    assert not asked


def test_every_extra_that_a_file_names_is_there() -> None:
    extras = {name for _, text in texts() for name in re.findall(rf"{PROJECT['name']}\\*\[([a-z]\w+)", text)}
    assert extras and extras <= set(PROJECT["optional-dependencies"])


def test_the_wheel_holds_the_packages_and_every_recipe(wheel: Path) -> None:
    places = {"pdiff": ROOT / "pdiff", "pdiff_plugins": ROOT / "plugins" / "pdiff_plugins"}
    places["pdiff/recipe/shipped"] = ROOT / "recipes"
    expected = {
        f"{place}/{path.relative_to(folder).as_posix()}"
        for place, folder in places.items() for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }  # fmt: skip
    assert files_of(wheel) == expected
    assert wheel.name.startswith(PROJECT["name"].replace("-", "_"))


def test_a_wheel_built_from_the_sdist_holds_the_same(wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(build("sdist", ROOT, tmp_path)) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (source,) = (tmp_path / "unpacked").iterdir()
    assert files_of(build("wheel", source, tmp_path)) == files_of(wheel)


def test_a_development_installation_copies_nothing(tmp_path: Path) -> None:
    pytest.importorskip("hatchling")
    code = "import sys; from hatchling.build import build_editable; build_editable(sys.argv[1])"
    run(sys.executable, "-c", code, tmp_path, cwd=ROOT)
    (installed,) = tmp_path.glob("*.whl")
    assert {Path(name).suffix for name in files_of(installed)} == {".pth"}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_wheel_works_alone_in_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    pytest.importorskip("pip")
    python = environment_on_top(tmp_path / "environment")
    empty = tmp_path / "empty"
    empty.mkdir()
    run(python, "-I", "-m", "pip", "install", "--no-deps", "--ignore-installed", wheel, cwd=empty)
    code = "import pdiff, pdiff_plugins; print(pdiff.__file__, *pdiff_plugins.__path__)"
    places = run(python, "-I", "-c", code, cwd=empty).split()
    assert len(places) == 2 and all(Path(place).is_relative_to(tmp_path / "environment") for place in places), places

    def program(*arguments: str) -> str:  # isolated, so that no variable of this run leads to the checkout
        return run(python, "-I", python.parent / "pdiff", *arguments, cwd=empty)

    listed = program("list-plugins")
    assert f"{PROJECT['name']} {PROJECT['version']}" in listed and "FAILED" not in listed
    assert "cifar100" in program("check", "paper/table1/cifar100_resnet18")
    assert "cifar100_resnet18" in program("reproduce", "table1", "--list")
    assert "results in runs" in program("run", "quickstart", *(word for value in SHORT for word in ("--set", value)))
    assert sorted(path.name for path in empty.iterdir()) == ["runs"]
