"""`pdiff pack`, and the evaluator whose bytes it writes."""

from __future__ import annotations

from pathlib import Path

import pytest

import pdiff
from pdiff.components import Finding
from pdiff.files import load_tensors
from pdiff_plugins.bits import load as template
from pdiff_plugins.bits.evaluator import Bits
from pdiff_plugins.bits.findings import findings
from tests.helpers import SMALL, call, mistake


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("bits")
    (folder / "small.toml").write_text(SMALL)
    options = {
        "run.out": str(folder / "runs"), "sample.baseline_count": 3, "sample.step": {"rounded": 2},
        "baseline": [{"name": "marginals"}],
        "evaluate": [{"name": "accuracy"}, {"name": "bits"}], "report": [{"name": "markdown"}],
    }  # fmt: skip
    return pdiff.run(folder / "small.toml", set=options, quiet=True)


def test_the_best_network_is_packed_and_its_loader_beside_it(run, tmp_path: Path) -> None:
    said = call("pack", str(run.folder), "--to", str(tmp_path / "few.safetensors"))
    own = run.scores["networks"]["gaussian 1"]["bits"]
    assert f"{own['bytes']:,.0f} bytes ({own['bits']:.2f} bits per parameter; in floats " in " ".join(said.split())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["few.safetensors", "load.py"]
    back, wanted = template.load(str(tmp_path / "few.safetensors")), run.state_dict("best")
    assert back.keys() == wanted.keys() and all(back[key].equal(value) for key, value in wanted.items())
    stored = load_tensors(tmp_path / "few.safetensors").values()
    assert sum(value.numel() * value.element_size() for value in stored) == own["bytes"]
    assert "is there already" in mistake("pack", str(run.folder), "--to", str(tmp_path / "few.safetensors"))
    call("pack", str(run.folder), "--to", str(tmp_path / "few.safetensors"), "--which", "1", "--overwrite")
    other = template.load(str(tmp_path / "few.safetensors"))
    assert all(other[key].equal(value) for key, value in run.state_dict(1).items())


def test_every_network_of_a_source(run) -> None:
    call("pack", str(run.folder), "--source", "marginals", "--all")
    paths = sorted((run.folder / "packed-marginals").glob("*.safetensors"))
    theta_MD = run.theta("marginals")
    assert len(paths) == len(theta_MD)
    for path, theta_D in zip(paths, theta_MD, strict=True):
        assert all(template.load(str(path))[key].equal(value) for key, value in run.zoo.state_dict(theta_D).items())


def test_networks_on_no_grid_and_odd_names_are_refused_in_a_line(run, tmp_path: Path) -> None:
    refused = mistake("pack", str(run.folder), "--source", "original", "--to", str(tmp_path / "n.safetensors"))
    assert "network" in refused and "lies on no grid" in refused and "step 'rounded'" in refused
    assert "ends in .safetensors" in mistake("pack", str(run.folder), "--to", str(tmp_path / "n"))
    assert "--which 99" in mistake("pack", str(run.folder), "--which", "99", "--to", str(tmp_path / "n.safetensors"))
    assert not list(tmp_path.iterdir())


def test_the_evaluator_counts_and_compares(run) -> None:
    scores = run.scores
    assert scores["networks"]["original"]["bits"]["bits"] == 32
    assert scores["networks"]["gaussian 1"]["bits"]["width"] == 2
    assert set(scores["bits"]["gains"]) == {"original", "marginals"}
    assert "A network of gaussian 1 takes" in (run.folder / "report.md").read_text()
    view = run.pipeline.view(scores)
    figure = next(iter(Bits().figures(view)))
    assert figure.name == "bytes" and figure.data.startswith(b"\x89PNG")


def scores_of(**gains: tuple[float, str, float]) -> dict:
    """Return scores in which a method at 2.5 bits is compared with others: (difference, what is said, times bytes)."""
    row = {"bytes": 100.0, "bits": 2.5}
    mean = {"mean": 0.9, "std": 0.0, "values": [0.9], "best": 0.9}
    told = {
        name: {"mean": by, "low": by - 0.01, "high": by + 0.01, "said": said, "bytes": times}
        for name, (by, said, times) in gains.items()
    }
    sources = {name: {"accuracy": mean, "bits": row} for name in ("ours", *gains)}
    return {"bits": {"dense": 800, "gains": told}, "networks": sources, "method": "ours", "scored_by": "accuracy"}


def said(**gains: tuple[float, str, float]) -> list[str]:
    lines: list[Finding] = list(findings(scores_of(**gains)))
    return [line.text for line in lines if not line.note]


def test_findings_name_the_control_that_wins() -> None:
    zoo = {"original": (-0.001, "", 1.0)}
    lines = said(**zoo, rounded=(0.05, "better", 1.0), dense=(-0.01, "worse", 8.0))
    assert lines[0].startswith(
        "A network of ours takes 100 bytes (2.50 bits per parameter), where floats take 8.0 times as much"
    )
    assert "difference -0.10 points, -1.10 to +0.90" in lines[0]
    assert lines[0].endswith("; no control of that size does as well")
    assert lines[1] == "At no more bytes ours is better than rounded (+5.00 points, +4.00 to +6.00)"
    larger = "What ours scores more than larger networks: dense (8.0 times the bytes, -1.00 points, -2.00 to +0.00)"
    assert lines[2] == larger
    assert "of controls, marginals does as well at no more bytes" in said(**zoo, marginals=(0.0, "", 1.0))[0]
    assert "a control wins: soup scores more" in said(**zoo, soup=(-0.02, "worse", 1.0))[0]
    assert said(**zoo)[0].endswith("so that there is no control")
