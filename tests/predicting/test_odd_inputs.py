"""What comes in forms that could be read wrong: it is read right, or refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pdiff.errors import UserError
from pdiff.runs import Run
from pdiff.testing import tiny_run
from pdiff_plugins.bayes.laplace.method import Laplace
from pdiff_plugins.predicting import predicting
from pdiff_plugins.predicting.arrays import read
from pdiff_plugins.predicting.images import _pixels
from pdiff_plugins.predicting.predicting import Asked, predict
from pdiff_plugins.predicting.told import Told


def drawn(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (5, 7), dtype=np.uint8)


def test_pictures_are_upright_and_of_any_depth(tmp_path: Path) -> None:
    grey = drawn()
    exif = Image.Exif()
    exif[0x0112] = 6  # a camera held upright: to be turned clockwise
    Image.fromarray(np.rot90(grey).copy()).save(tmp_path / "turned.png", exif=exif)
    Image.fromarray(grey).save(tmp_path / "plain.png")
    Image.fromarray(np.dstack([grey, np.full_like(grey, 255)])).save(tmp_path / "opaque.png")
    for name in ("turned", "plain", "opaque"):
        assert np.array_equal(_pixels(tmp_path / f"{name}.png", 1)[0].numpy(), grey), name
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "wide.png")
    assert torch.allclose(_pixels(tmp_path / "wide.png", 3), torch.from_numpy(grey / 255).float().expand(3, -1, -1))


def test_pictures_that_say_too_little_are_refused(tmp_path: Path) -> None:
    """White strokes on nothing would be a white square, and floats of 0..1 black."""
    white = np.full((5, 7), 255, np.uint8)
    Image.fromarray(np.dstack([white, white, white, drawn()])).save(tmp_path / "alpha.png")
    Image.fromarray(drawn().astype(np.float32) / 255).save(tmp_path / "floats.tif")
    Image.fromarray(drawn()).convert("P").save(tmp_path / "palette.gif", transparency=int(drawn()[0, 0]))
    with pytest.raises(UserError, match=r"alpha\.png: is transparent in places"):
        _pixels(tmp_path / "alpha.png", 1)
    with pytest.raises(UserError, match=r"floats\.tif: has pixels of 32 bits"):
        _pixels(tmp_path / "floats.tif", 1)
    with pytest.raises(UserError, match=r"palette\.gif: is transparent"):
        _pixels(tmp_path / "palette.gif", 3)


def test_numbers_stay_what_they_are(tmp_path: Path) -> None:
    """True was 1 of 255, and what is more than int64 takes negative."""
    np.save(tmp_path / "truth.npy", drawn() > 127)
    assert read(tmp_path / "truth.npy").dtype == torch.float32
    np.save(tmp_path / "huge.npy", np.array([[2**63 + 5]], np.uint64))
    with pytest.raises(UserError, match="more than int64 takes"):
        read(tmp_path / "huge.npy")


def test_classes_of_one_name_are_told_apart() -> None:
    values = {"probabilities": torch.tensor([[0.5, 0.2, 0.3]]), "entropy": torch.ones(1)}
    told = Told(["x"], values | {"mutual_information": torch.zeros(1)}, ("crane", "ship", "crane"), {}, [])
    (row,) = told.rows()
    assert row["probabilities"] == {"crane (0)": 0.5, "ship": 0.2, "crane (2)": 0.3} and row["class"] == "crane (0)"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    pipeline = tiny_run(tmp_path / "runs", baseline=[Laplace(weights=("last_layer",))])
    monkeypatch.setattr(Run, "scores", {"networks": {}})
    pipeline.generator(pipeline.plan.method)
    np.save(tmp_path / "x.npy", torch.randn(5, 2).numpy())
    return Run(tmp_path, pipeline)


def test_members_that_are_networks_after_all_answer(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A method that can answer itself, but whose networks say the same, was told to have no probabilities."""
    (source,) = (source for source in run.pipeline.plan.methods if source.startswith("laplace"))
    run.pipeline.generator(source)
    monkeypatch.setattr(Run, "_order", lambda self, source: list(range(len(self.theta(source)))))
    told = predict(run, Asked(tmp_path / "x.npy", source, members=3))
    wanted = run.ensemble(3, source).predict(np.load(tmp_path / "x.npy"))
    assert np.allclose(told.values["probabilities"].numpy(), wanted, atol=1e-6) and told.about["members"] == 3


def test_an_unknown_source_is_one_line(run: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no networks of source 'nonsense'"):
        predict(run, Asked(tmp_path / "x.npy", "nonsense"))


def test_more_numbers_than_memory_takes_are_refused_at_once(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predicting, "CELLS", 14)
    with pytest.raises(UserError, match=r"5 examples of 3 numbers each are more than 14 cells; .* --top 5"):
        predict(run, Asked(tmp_path / "x.npy"))
