"""`pdiff predict`: what is written equals what the networks say, whatever the examples come in."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

import pdiff
from pdiff.components import Generator, Method
from pdiff.errors import UserError
from pdiff.runs import Run
from pdiff.testing import tiny_run
from pdiff_plugins.predicting.predicting import Asked, predict, predict_to
from tests.helpers import SMALL, call


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("digits")
    (folder / "digits.toml").write_text(SMALL)
    return pdiff.run(folder / "digits.toml", out=folder / "runs", quiet=True)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of digits, nested, as PNG and as what is none."""
    folder = tmp_path_factory.mktemp("pictures")
    for number, image in enumerate(grey()):
        file = folder / ("b" if number > 8 else "a") / f"digit{number}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(image.numpy()).save(file)
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden.png").write_bytes(b"")
    return folder


def grey() -> torch.Tensor:
    """Return digits of the test split, bytes [12, 8, 8]."""
    pixels, _ = load_digits(return_X_y=True)
    return torch.from_numpy((pixels[-12:] * 255 / 16).round()).to(torch.uint8).view(-1, 8, 8)


def ask(run, path: Path, **options):
    return predict(run, Asked(path, **options))


def wanted(run, count: int = 16, source: str = "") -> torch.Tensor:
    """Return members' probabilities of the images, [M, E, K]."""
    with torch.no_grad():
        inputs = run.preprocess(grey()[:, None])
        return torch.stack([network(inputs).softmax(dim=1) for network in run.networks(count, source)])


def entropy(probabilities: torch.Tensor) -> torch.Tensor:
    return -(probabilities * probabilities.log()).sum(dim=-1)


def test_a_folder_of_images_is_answered_in_natural_order(run, pictures: Path, tmp_path: Path) -> None:
    told = ask(run, pictures, members=4)
    members = wanted(run, 4)
    assert told.names == [f"{'b' if number > 8 else 'a'}/digit{number}.png" for number in range(12)]
    assert torch.allclose(told.values["probabilities"], members.mean(dim=0), atol=1e-5)
    assert torch.allclose(told.values["entropy"], entropy(members.mean(dim=0)), atol=1e-5)
    between = entropy(members.mean(dim=0)) - entropy(members).mean(dim=0)
    assert torch.allclose(told.values["mutual_information"], between, atol=1e-5)
    paths = told.write(tmp_path)
    with open(paths[0], newline="") as file:
        rows = list(csv.DictReader(file))
    about = json.loads(paths[1].read_text())
    best = members.mean(dim=0).argmax(dim=1).tolist()
    assert [row["class"] for row in rows] == [str(number) for number in best]
    assert all(float(row["probability"]) == float(row[f"p {row['class']}"]) for row in rows)
    assert [row["entropy"] for row in rows] == [str(row["entropy"]) for row in about["examples"]]
    assert about["members"] == 4 and about["source"] == "gaussian 1" and about["classes"] == list("0123456789")
    assert about["temperature"] is None and any("not calibrated" in line for line in told.said)


def test_the_same_examples_are_the_same_in_every_form(run, pictures: Path, tmp_path: Path) -> None:
    images, inputs = grey(), run.preprocess(grey()[:, None])
    np.savez(tmp_path / "bytes.npz", images.numpy())
    np.savez(tmp_path / "two.npz", x=images[..., None].numpy(), y=np.zeros(12))
    np.save(tmp_path / "floats.npy", images.numpy().astype(np.float64) / 255)
    np.save(tmp_path / "inputs.npy", inputs.numpy())
    np.save(tmp_path / "one.npy", inputs[0].numpy())
    np.savetxt(tmp_path / "rows.csv", inputs.flatten(1).numpy(), delimiter=";", fmt="%.9g")
    head = ",".join(f"pixel{number}" for number in range(256))
    np.savetxt(tmp_path / "named.csv", inputs.flatten(1).numpy(), delimiter=",", fmt="%.9g", header=head, comments="")
    before = ask(run, pictures).values["probabilities"]
    forms = {
        "bytes.npz": "raw",
        "floats.npy": "raw",
        "inputs.npy": "as the",
        "rows.csv": "as the",
        "named.csv": "as the",
    }
    for name, read in forms.items():
        told = ask(run, tmp_path / name)
        assert torch.allclose(told.values["probabilities"], before, atol=1e-5), name
        assert read in told.about["read"] and len(told.names) == 12
    assert told.names[:2] == ["line 2", "line 3"]
    assert torch.allclose(ask(run, tmp_path / "two.npz", key="x").values["probabilities"], before, atol=1e-5)
    assert torch.allclose(ask(run, tmp_path / "one.npy").values["probabilities"], before[:1], atol=1e-5)
    assert torch.allclose(ask(run, pictures / "a" / "digit3.png").values["probabilities"], before[3:4], atol=1e-5)
    forced = ask(run, tmp_path / "inputs.npy", raw=False).values["probabilities"]
    assert torch.allclose(forced, before, atol=1e-5)


def test_a_temperature_of_the_runs_scores_is_used_and_told(run, pictures: Path, monkeypatch) -> None:
    scores = run.scores
    scores["networks"]["gaussian 1"]["uncertainty"] = {"members": 6, "temperature": 2.0}
    monkeypatch.setattr(type(run), "scores", property(lambda self: scores))
    told, plain = ask(run, pictures), ask(run, pictures, calibrated=False)
    mean = wanted(run).mean(dim=0)
    assert torch.allclose(told.values["probabilities"], (mean.log() / 2).softmax(dim=1), atol=1e-5)
    assert torch.allclose(plain.values["probabilities"], mean, atol=1e-5)
    assert torch.equal(told.values["mutual_information"], plain.values["mutual_information"])
    assert told.about["temperature"] == 2 and plain.about["temperature"] is None
    assert run.ensemble(6).about["temperature"] == 2 and run.ensemble(3).about["temperature"] is None
    assert "gaussian 1, which has no more" in told.said[1]
    assert any(
        "no temperature of 3 networks" in line and "--members 6" in line for line in ask(run, pictures, members=3).said
    )


def fails(run, path: Path, **options) -> str:
    with pytest.raises(UserError) as caught:
        predict_to(str(run.folder), Asked(path, **options), str(path.parent / "to"))
    assert "\n" not in str(caught.value) and not (path.parent / "to").exists()
    return str(caught.value)


def test_what_cannot_be_read_is_one_line_and_nothing_is_written(run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "holds no images" in fails(run, tmp_path / "empty")
    (tmp_path / "empty" / "bad.png").write_bytes(b"\x89PNG")
    assert "bad.png: not a readable image" in fails(run, tmp_path / "empty")
    assert "no such file or folder" in fails(run, tmp_path / "nothing")
    np.savez(tmp_path / "two.npz", x=np.zeros((2, 8, 8)), y=np.zeros(2))
    assert "holds 2 arrays (x, y); name one: --key x" in fails(run, tmp_path / "two.npz")
    assert "has no such array; did you mean" in fails(run, tmp_path / "two.npz", key="xx")
    np.save(tmp_path / "wide.npy", np.zeros((3, 7)))
    assert "has the shape [3, 7], and the run's networks take [E, 1, 16, 16]" in fails(run, tmp_path / "wide.npy")
    np.save(tmp_path / "nan.npy", np.full((2, 1, 16, 16), [[[[0.5]]], [[[np.nan]]]]))
    assert re.match(r"example 1: a value of .*nan\.npy at \[0, 0, 0\] is nan", fails(run, tmp_path / "nan.npy"))
    np.save(tmp_path / "none.npy", np.zeros((0, 1, 16, 16)))
    assert "none.npy: holds no examples" in fails(run, tmp_path / "none.npy")
    np.save(tmp_path / "far.npy", np.full((2, 1, 9, 9), 700.0))
    assert "bytes of 0..255, or numbers of 0..1, and these are of 700..700" in fails(run, tmp_path / "far.npy")
    np.save(tmp_path / "objects.npy", np.array([{}, []], dtype=object), allow_pickle=True)
    assert "no file of plain arrays" in fails(run, tmp_path / "objects.npy")
    for text, message in {
        "a,b\n1,2\n": "has 2 columns of numbers, and the run's networks take 256",
        "a,b\n1,2\n3\n": "line 3: has 1 cells for 2 columns",
        "1,2\n3,nan\n": "line 2, column '1': is 'nan'",
        "a,b\n1,x\n": "line 2, column 'b': is 'x'",
        "a,b\n": "has no rows of numbers",
    }.items():
        (tmp_path / "table.csv").write_text(text)
        assert message in fails(run, tmp_path / "table.csv")
    (tmp_path / "notes.md").write_text("notes")
    assert "files of this kind are not read" in fails(run, tmp_path / "notes.md")


def test_files_that_are_there_stay_unless_they_are_replaced(run, pictures: Path, tmp_path: Path) -> None:
    asked = Asked(pictures / "a", members=2, top=3)
    told, paths = predict_to(str(run.folder), asked, str(tmp_path))
    assert [path.name for path in paths] == ["predictions-a.csv", "predictions-a.json"]
    head, first = paths[0].read_text().splitlines()[:2]
    assert head == "example,class,probability,entropy,mutual_information,class 2,probability 2,class 3,probability 3"
    assert first.startswith("digit0.png,") and len(told.names) == 9
    with pytest.raises(UserError, match=r"predictions-a\.csv: is there already"):
        predict_to(str(run.folder), asked, str(tmp_path))
    assert predict_to(str(run.folder), asked, str(tmp_path), overwrite=True)[1] == paths
    one = [Asked(pictures / "a" / "digit0.png"), Asked(pictures / "b" / "digit9.png"), Asked(tmp_path / "digit0.npy")]
    np.save(one[2].path, grey()[:1].numpy())
    names = {path.name for asked in one for path in predict_to(str(run.folder), asked, str(tmp_path / "own"))[1]}
    assert {"predictions-digit0.png.csv", "predictions-digit0.npy.csv"} < names and len(names) == 6


class Answering(Method):
    """Members that are no networks: each says one class, as far as it goes."""

    name = "answering"

    def fit(self, zoo, bench, ctx):
        return _Answering()

    def load(self, tensors, zoo, bench, ctx):
        return _Answering()


class _Answering(Generator):
    def sample(self, count, bench, ctx, condition_MC=None):
        return bench.start(count)

    def answers(self, examples, count, bench, ctx):
        inputs = examples.batch(torch.arange(len(examples)), torch.device("cpu")).inputs
        return torch.stack([(inputs[:, :1] * torch.arange(3) * member).log_softmax(dim=1) for member in range(count)])


def test_members_that_are_no_networks_are_asked_as_well(tmp_path: Path, monkeypatch) -> None:
    pipeline = tiny_run(tmp_path / "runs", method=Answering())
    monkeypatch.setattr(Run, "scores", {"networks": {}})
    run, x = Run(tmp_path, pipeline), torch.randn(5, 2)
    pipeline.generator("answering")
    np.save(tmp_path / "x.npy", x.numpy())
    told = ask(run, tmp_path / "x.npy", members=3)
    each = torch.stack([(x[:, :1] * torch.arange(3) * member).softmax(dim=1) for member in range(3)])
    assert torch.allclose(told.values["probabilities"], each.mean(dim=0), atol=1e-6) and told.about["members"] == 3
    assert torch.allclose(told.values["entropy"], entropy(each.mean(dim=0)), atol=1e-5)
    with pytest.raises(UserError, match="are no networks that stand by themselves"):
        run.ensemble(3)


def test_the_command(run, pictures: Path) -> None:
    lines = call("predict", str(run.folder), str(pictures), "--source", "soup").splitlines()
    assert lines[0].split()[:4] == ["example", "class", "probability", "entropy"]
    assert len(lines) > 13 and "and 2 more" in lines and lines[-1].endswith(f"predictions-{pictures.name}.json")
    assert Path(lines[-1]).parent == run.folder


def test_the_command_needs_no_torch_until_it_runs() -> None:
    code = "import sys, pdiff_plugins.predicting.commands as c; assert 'torch' not in sys.modules; c.predict"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
