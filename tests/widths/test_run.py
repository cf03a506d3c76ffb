"""From a recipe to networks of a width that no checkpoint has, and what the scores say."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import pdiff
from pdiff.cli import build
from pdiff.files import load_tensors
from pdiff_plugins.maths.crossed import difference
from pdiff_plugins.widths.asking import pooled
from pdiff_plugins.widths.findings import findings

RECIPE = """
[dataset]
name = "digits"
image_size = 8
[task]
name = "classification"
[architecture]
name = "mlp"
hidden = [8]
[selector]
name = "entire"
[collect]
name = "widths"
widths = [3, 6]
held_out = [4, 8]
count = 4
held_out_count = 3
steps = 5
lr = 0.01
[encoder]
name = "width"
[method]
name = "units"
steps = 4
batch_size = 4
width = 8
depth = 1
heads = 2
sampling_steps = 3
[sample]
count = 3
[[evaluate]]
name = "widths"
samples = 3
controls = 2
steps = 2
rates = [1e-2]
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> pdiff.Run:
    folder = tmp_path_factory.mktemp("widths")
    recipe = folder / "widths.toml"
    recipe.write_text(RECIPE)
    return pdiff.run(recipe, out=folder / "runs", quiet=True)


def test_a_narrow_network_is_written_without_dead_units(run: pdiff.Run, tmp_path: Path) -> None:
    command = ["narrow", str(run.folder), "--width", "4", "-n", "2", "--to", str(tmp_path / "four")]
    told = CliRunner().invoke(build(), command)
    assert told.exit_code == 0, told.output
    assert "units of the layers: 4 of 8" in " ".join(told.output.split())
    whole = run.drawing(width=4).draw(2)
    x = torch.rand(5, 64)
    for theta_D, path in zip(whole, sorted((tmp_path / "four").glob("*.safetensors")), strict=True):
        small = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 4), torch.nn.ReLU(), torch.nn.Linear(4, 10))
        small.load_state_dict(load_tensors(path), strict=True)
        wide = run.bench.objective.outputs(theta_D[None], x)[0]
        torch.testing.assert_close(small(x), wide, atol=1e-6, rtol=1e-5)


def test_a_width_without_room_is_refused_in_a_line(run: pdiff.Run, tmp_path: Path) -> None:
    told = CliRunner().invoke(build(), ["narrow", str(run.folder), "--width", "9", "--to", str(tmp_path)])
    assert "the widest layer has 8 units" in str(told.exception or told.output)


def test_every_width_is_judged_and_controls_stand_at_unseen_ones(run: pdiff.Run) -> None:
    at = {row["width"]: row for row in run.scores["widths"]["at"]}
    assert {width: row["part"] for width, row in at.items()} == {3: "learnt", 4: "inside", 6: "learnt", 8: "outside"}
    assert at[4]["parameters"] == 64 * 4 + 4 + 4 * 10 + 10
    steps = ["cut, trained", "split, trained", "new, trained"]
    assert list(at[4]["controls"]) == ["cut", "split", *steps] and not at[3]["controls"]
    assert list(at[8]["controls"]) == ["split", "split, trained", "new, trained"]
    assert at[4]["controls"]["cut"]["of"] == 6 and at[4]["controls"]["split"]["of"] == 3
    assert set(at[4]["gains"]["units"]) == {"trained", *at[4]["controls"]}
    held_out = [row for row in run.zoo.holdout.rows if row["about"]["width"] == 4]
    assert at[4]["trained"]["count"] == len(held_out) == 3


def gain(mean: float, said: str) -> dict:
    return {"mean": mean, "low": mean - 0.01, "high": mean + 0.01, "said": said}


def row(trained: float, own: float, said: dict[str, str]) -> dict:
    gains = {"trained": gain(own - trained, ""), **{name: gain(0.02, word) for name, word in said.items()}}
    return {
        "width": 18, "part": "inside", "trained": {"mean": trained}, "sources": {"units": {"mean": own}},
        "controls": {name: {"mean": own - 0.02, "of": 16} for name in said}, "gains": {"units": gains},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("own", "said", "tells"),
    [
        (0.945, {"cut": "better", "split": "better"}, "(within a point, or better, at each)"),
        (0.945, {"cut": "better", "split": "better"}, "worse than it: 'cut' +2.00 points, +1.00 to +3.00, 'split'"),
        (0.935, {"cut": "worse", "split": "better"}, "(more than a point behind at 18)"),
        (0.945, {"cut": "worse", "split": ""}, "BETTER without a generator: 'cut' +2.00 points"),
        (0.945, {"cut": "worse", "split": ""}, "not told apart: 'split' +2.00 points"),
    ],
)
def test_a_finding_says_by_itself_where_a_control_wins(own: float, said: dict[str, str], tells: str) -> None:
    at = row(0.95, own, said)
    scores = {"at": [at], "inside": at["gains"], "steps": 10, "unit": "%"}
    headline, *notes = findings(scores, "units", {"units": {"examples": 1200}})
    assert headline.headline and tells in headline.text
    assert "1,200 training examples" in notes[-1].text
    (*_, read) = findings(scores, "units", {})
    assert "no training example" in read.text


def test_widths_are_no_noise_of_the_difference_over_widths() -> None:
    generator = torch.Generator().manual_seed(0)
    good = [level + 0.1 * torch.randn(30, 50, generator=generator).double() for level in (0.2, 0.9)]
    whole_ME = pooled(good)
    assert float(whole_ME.mean()) == pytest.approx(float(torch.cat(good).mean()))
    assert float(whole_ME.mean(dim=1).std()) < 0.03 < 0.3 < float(torch.cat(good).mean(dim=1).std())
    gain = difference(whole_ME, whole_ME - 0.05)
    assert gain.mean == pytest.approx(0.05) and gain.interval()[0] > 0
