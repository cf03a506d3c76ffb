"""What is predicted of one's own tables, arrays and images, which go through what their dataset does with them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import pdiff
from pdiff.errors import UserError
from pdiff_plugins.predicting.predicting import Asked, predict

RECIPE = """
seed = 3
[dataset]
{dataset}
[run]
data = "."
[task]
name = "{task}"
[architecture]
name = "mlp"
[selector]
name = "entire"
[train]
epochs = 1
[collect]
name = "trajectory"
count = 8
lr = 0.01
[method]
name = "noise"
scales = [0.05]
[sample]
count = 3
baseline_count = 2
[[evaluate]]
name = "accuracy"
"""
TABLE = ["age,colour,income,cat", *(f"{20 + n},{'red' if n % 3 else 'blue'},{(n % 7) * 1000},{'yes' if n % 2 else 'no'}"
                                    for n in range(40))]  # fmt: skip


def run_of(folder: Path, dataset: str, task: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(folder)
    Path("mine.toml").write_text(RECIPE.format(dataset=dataset, task=task))
    return pdiff.run("mine.toml", quiet=True)


def members(run, inputs) -> torch.Tensor:
    with torch.no_grad():
        return torch.stack([network(inputs) for network in run.networks(16)])


def test_a_table_is_read_as_the_runs_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data.csv").write_text("\n".join(TABLE))
    dataset = 'name = "csv"\npath = "data.csv"\ntarget = "cat"\npredict = "classes"\nvalidation = 0.3'
    run = run_of(tmp_path, dataset, "classification", monkeypatch)
    columns = [line.split(",") for line in TABLE]
    text = "\n".join(",".join((row[2], row[0], f"note {n}", row[1])) for n, row in enumerate(columns))
    Path("new.csv").write_text(text.replace("note 0", "note"))  # other columns, in another order, and no target
    told = predict(run, Asked(Path("new.csv")))
    assert told.names == [f"line {number}" for number in range(2, 42)]
    data = run.pipeline.data
    for split in (data.train, data.test):
        wanted = members(run, split.inputs).softmax(dim=2).mean(dim=0)
        for row in wanted:
            assert (told.values["probabilities"] - row).abs().sum(dim=1).min() < 1e-5
    assert {row["class"] for row in told.rows()} <= {"yes", "no"} and "as the run's own table" in told.said[0]
    for text, message in {
        "age,colour\n30,red": "has no column 'income'",
        "age,colour,income\n30,red,much": "line 2, column 'income' is 'much', which is no number",
        "age,colour,income\n30,red,inf": "line 2, column 'income' is 'inf'",
        "age,colour,income\n30,red,": "line 2, column 'income' is missing",
    }.items():
        Path("new.csv").write_text(text)
        with pytest.raises(UserError) as caught:
            predict(run, Asked(Path("new.csv")))
        assert message in str(caught.value)


def test_quantities_have_a_mean_and_a_deviation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=x, y=x[:, :2] * 2)
    dataset = 'name = "arrays"\npath = "data.npz"\npredict = "numbers"'
    run = run_of(tmp_path, dataset, "regression", monkeypatch)
    np.save("new.npy", x[:5])
    told = predict(run, Asked(Path("new.npy")))
    given = members(run, torch.from_numpy(x[:5]))
    assert torch.allclose(told.values["mean"], given.mean(dim=0), atol=1e-5)
    assert torch.allclose(told.values["deviation"], given.std(dim=0, correction=0), atol=1e-5)
    paths = told.write(tmp_path / "to")
    assert paths[0].read_text().startswith("example,mean 0,mean 1,deviation 0,deviation 1\n0,")
    assert np.allclose(json.loads(paths[1].read_text())["examples"][4]["mean"], given.mean(dim=0)[4], atol=1e-4)
    assert not any("calibrated" in line for line in told.said)


def test_each_label_has_its_probability(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (60, 4, 4, 3), dtype=np.uint8)
    np.savez(tmp_path / "data.npz", x=pixels, y=(pixels[:, 0, 0] > 99).astype(np.int64))
    dataset = 'name = "arrays"\npath = "data.npz"\npredict = "numbers"\nchannels_last = true'
    run = run_of(tmp_path, dataset, "multilabel", monkeypatch)
    np.savez("new.npz", pixels[:6])  # bytes, and scaled to 0..1 as those of the run's own file are
    told = predict(run, Asked(Path("new.npz")))
    given = members(run, torch.from_numpy(pixels[:6]).movedim(3, 1).float() / 255).sigmoid()
    mean = given.mean(dim=0)
    assert torch.allclose(told.values["probabilities"], mean, atol=1e-5)
    entropy = -(mean * mean.log() + (1 - mean) * (1 - mean).log())
    assert torch.allclose(told.values["entropy"], entropy, atol=1e-5)
    assert next(told.rows())["labels"] == [str(k) for k in range(3) if mean[0, k] > 0.5]
    assert told.table(3)[0][:4] == ["example", "labels", "entropy", "mutual information"]


def test_inputs_by_name_come_from_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch import nn

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.numbers = nn.Embedding(9, 3), nn.Linear(2, 3)

        def forward(self, words, numbers):
            return self.words(words).mean(dim=1) + self.numbers(numbers)

    words, numbers = torch.arange(80).reshape(40, 2) % 9, torch.randn(40, 2)
    monkeypatch.chdir(tmp_path)
    split = {"words": words, "numbers": numbers}, words[:, 0] % 3
    checkpoints = [Both().state_dict() for _ in range(6)]
    run = pdiff.run(
        architecture=Both, data=(split, split), checkpoints=checkpoints, quiet=True,
        set={"method.name": "gaussian", "sample.count": 3, "sample.baseline_count": 2, "run.out": "runs"},
    )  # fmt: skip
    np.savez("new.npz", words=words[:4].numpy(), numbers=numbers[:4].double().numpy())
    told = predict(run, Asked(Path("new.npz")))
    wanted = run.predict({"words": words[:4], "numbers": numbers[:4]})
    assert torch.allclose(told.values["probabilities"], wanted, atol=1e-6)
    np.savez("less.npz", words=words[:4].numpy())
    with pytest.raises(UserError, match=r"has no array 'numbers'; the run's networks take words, numbers"):
        predict(run, Asked(Path("less.npz")))
    folder = run.ensemble(3).export("out")
    from pdiff.exporting.ensemble import Ensemble

    again = Ensemble(folder).uncertainty(numbers=numbers, words=words, calibrated=False, batch_size=7)
    assert torch.allclose(again["probabilities"], run.ensemble(3)(words=words, numbers=numbers).exp(), atol=1e-6)


def test_files_are_evaluated_as_those_of_the_runs_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(0)
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            for number in range(10):
                (tmp_path / "photos" / part / name).mkdir(parents=True, exist_ok=True)
                pixels = draw.integers(0, 256, (9 + number, 14, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "photos" / part / name / f"{number}.png")
    dataset = 'name = "image_folder"\nroot = "photos"\nimage_size = 8\nvalidation = 0.2'
    run = run_of(tmp_path, dataset, "classification", monkeypatch)
    told = predict(run, Asked(Path("photos/test")))
    test = run.pipeline.data.test
    inputs = test.batch(torch.arange(len(test)), torch.device("cpu")).inputs
    assert torch.allclose(told.values["probabilities"], members(run, inputs).softmax(dim=2).mean(dim=0), atol=1e-6)
    assert told.names[:2] == ["cat/0.png", "cat/1.png"] and {row["class"] for row in told.rows()} <= {"cat", "dog"}
    with pytest.raises(UserError, match="holds images, which are raw"):
        predict(run, Asked(Path("photos/test"), raw=False))
