"""Preflight: what a run lacks is told before anything is fetched or computed, all of it at once."""

from __future__ import annotations

import importlib.util
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from huggingface_hub import constants

import pdiff
from pdiff.components import Ahead, Report
from pdiff.engine.preflight import look_ahead, ready
from pdiff.errors import Faults, UserError
from pdiff.recipe.loading import load_recipe
from pdiff_plugins import reach
from pdiff_plugins.generation.networks import Inception
from pdiff_plugins.images.in_memory import Mnist, Stl10
from tests.helpers import TINY

TIMM = {"architecture": {"name": "resnet18", "weights": "pretrained"}}
STL10 = {"dataset": {"name": "stl10"}}


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small recipe, in a place where nothing is cached and no server was asked."""
    reach.ask.cache_clear()
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.toml").write_text(TINY)
    return tmp_path / "tiny.toml"


def ahead(tiny: Path, **changes: Any) -> Ahead:
    return look_ahead(load_recipe(tiny, changes))


class Server(BaseHTTPRequestHandler):
    """Has files whose addresses end as `there` says."""

    asked: ClassVar[list[str]] = []
    there: ClassVar[tuple[str, ...]] = (".safetensors", ".gz")

    def do_HEAD(self) -> None:
        Server.asked.append(self.path)
        there = self.path.endswith(Server.there)
        self.send_response(200 if there else 404)
        self.send_header("Content-Length", "2500000" if there else "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a server on this machine, which takes the place of the hub."""
    server = HTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("HF_ENDPOINT", address + "/")
    Server.asked.clear()
    yield address
    server.shutdown()
    server.server_close()


def test_all_that_is_missing_is_told_at_once_and_nothing_is_written(tiny: Path) -> None:
    changes = {
        "architecture.weights": "no.safetensors", "dataset.name": "cifar10", "run.download": False,
        "collect": {"name": "folder", "path": "nowhere"}, "run.device": "cpu",
    }  # fmt: skip
    for start in (pdiff.run, pdiff.prepare):
        with pytest.raises(Faults) as told:
            start(tiny, set=changes | {"dataset.augment": "none"})
        assert [line.split(":")[0] for line in told.value.lines] == [
            "dataset cifar10", "architecture.weights = 'no.safetensors'", "collect.path = 'nowhere'",
        ]  # fmt: skip
    assert [path.name for path in tiny.parent.iterdir()] == ["tiny.toml"]


def test_data_and_weights_are_looked_at_together(tiny: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    there = Stl10().published()
    monkeypatch.setattr(Stl10, "published", lambda self: there._replace(url=f"{server}/stl10.tar.gz"))
    said = ahead(tiny, **STL10, **TIMM)
    assert said.what("fetches") == [
        f"dataset stl10: {server}/stl10.tar.gz (2.5 MB)",
        "weights model.safetensors of huggingface.co/timm/resnet18.a1_in1k (2.5 MB)",
    ]
    assert Server.asked[1] == "/timm/resnet18.a1_in1k/resolve/main/model.safetensors"
    old = {"architecture": {"name": "timm_model", "model": "resnet18.a1_in1k", "weights": "pretrained"}}
    monkeypatch.setattr(Server, "there", (".bin",))
    reach.ask.cache_clear()
    assert not ahead(tiny, **old).what("lacks"), "an older repository has the other file"
    monkeypatch.setattr(Server, "there", (".safetensors", ".gz"))
    monkeypatch.setattr(Stl10, "published", lambda self: there._replace(url=f"{server}/gone"))
    reach.ask.cache_clear()
    (line,) = ahead(tiny, **STL10, **TIMM).what("lacks")
    assert "stl10" in line and "there is no such file" in line and "put the files" in line


def test_a_hub_that_does_not_answer_is_one_line_in_time(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        (line,) = ahead(tiny, **TIMM).what("lacks")
    assert "model.safetensors of huggingface.co/timm/resnet18.a1_in1k" in line and "in 0.2 seconds" in line
    assert "HF_ENDPOINT" in line and "weights = " in line
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (line,) = ahead(tiny, **TIMM).what("lacks")
    assert "HF_HUB_OFFLINE is set" in line


def test_what_is_in_the_cache_is_not_asked_for(tiny: Path, server: str, tmp_path: Path) -> None:
    folder = tmp_path / "hub" / "models--timm--resnet18.a1_in1k"
    (folder / "snapshots" / "abc").mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("abc")
    (folder / "snapshots" / "abc" / "model.safetensors").write_bytes(b"")
    said = ahead(tiny, **TIMM)
    assert not said.what("lacks") and not said.what("fetches") and not Server.asked


def test_weights_that_nobody_has_are_refused_unless_the_base_network_is_there(tiny: Path) -> None:
    recipe = load_recipe(tiny, {"architecture.weights": "pretrained"})
    (line,) = look_ahead(recipe).what("lacks")
    assert line.startswith("architecture.weights: mlp_mini has no pretrained weights")
    assert not look_ahead(recipe, trained=True).what("lacks") and not look_ahead(recipe, done=True).said


def test_batches_larger_than_the_zoo_are_told_wherever_they_stand(tiny: Path) -> None:
    codec = {"name": "autoencoder", "batch_size": 30}
    changes = {
        "collect.count": 20, "method.batch_size": 25, "method.codec": codec, "zoo": [],
        "baseline": [{"name": "kde", "codec": codec}, {"name": "pdiff", "batch_size": 20}],
    }  # fmt: skip
    assert ahead(tiny, **changes).what("notes") == [
        f"{key} is more than the 20 checkpoints; all 20 are taken instead"
        for key in ("method.batch_size = 25", "method.codec.batch_size = 30", "baseline[0].codec.batch_size = 30")
    ]
    assert not ahead(tiny, **changes | {"zoo": [{"name": "largest", "limit": 9.0}]}).said, "nobody knows how many stay"
    (line,) = ahead(tiny, **changes | {"zoo": [{"name": "holdout", "count": 19}]}).what("lacks")
    assert line == "zoo: holdout.count = 19: of 20 checkpoints 2 must remain; set it to at most 18"


class Careless(Report):
    """Raises when it is asked."""

    name = "careless"

    def foresee(self, ahead: Ahead) -> None:
        raise RuntimeError("no luck")

    def render(self, view: Any, out: Path) -> list[Path]:
        return []


def test_a_component_that_raises_stops_nothing(tiny: Path) -> None:
    recipe = load_recipe(tiny).model_copy(update={"report": (Careless(),)})
    _, name, said = ready(recipe, tiny)
    assert said.what("notes") == ["warning: report[0]: careless: foresee() raised RuntimeError: no luck"]
    assert name.startswith("tiny-") and not (tiny.parent / "runs").exists()


def test_an_extra_that_is_missing_is_named(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    task = {"name": "generation", "features": Inception()}
    dataset = {"name": "generation", "images": {"name": "digits", "mean": [0.5], "std": [0.5]}}
    (line,) = ahead(tiny, task=task, dataset=dataset).what("lacks")
    assert "needs torch-fidelity" in line and "pip install 'neural-pdiff[generation]'" in line


def test_files_of_ones_own_are_looked_into(tiny: Path) -> None:
    import numpy as np

    (tiny.parent / "table.csv").write_text("size,kind\n1,a\n2,b\n")
    np.savez(tiny.parent / "arrays.npz", x=np.zeros((4, 2)), labels=np.zeros(4))
    own = {"predict": "classes", "name": "csv", "path": "table.csv", "target": "knd"}
    wrong = {
        "no column 'knd'": own,
        "no file": own | {"target": "kind", "test_path": "other.csv"},
        "no array 'y'": {"name": "arrays", "path": "arrays.npz", "predict": "classes"},
        "no such folder": {"name": "text_folder", "root": "texts"},
        "images: no such": {"name": "image_folder", "root": "images"},
    }
    for said, dataset in wrong.items():
        (line,) = ahead(tiny, **{"dataset": dataset, "run.data": "."}).what("lacks")
        assert said in line
    there = [own | {"target": "kind"}, wrong["no array 'y'"] | {"target": "labels"}]
    assert not any(ahead(tiny, **{"dataset": dataset, "run.data": "."}).what("lacks") for dataset in there)


def test_a_set_is_there_where_one_of_its_mirrors_has_it(
    tiny: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, file = Mnist().published(), "train-images-idx3-ubyte.gz"
    kept = there._replace(url=f"{server}/gone?{file}", mirrors=[f"{server}/kept/{file}"])
    monkeypatch.setattr(Mnist, "published", lambda self: kept)
    monkeypatch.setattr(Server, "there", ("/kept/train-images-idx3-ubyte.gz",))
    (line,) = ahead(tiny, dataset={"name": "mnist"}).what("fetches")
    assert f"{server}/kept/train-images" in line
    lost = there._replace(url=f"{server}/gone/{file}", mirrors=[f"{server}/lost/{file}"])
    monkeypatch.setattr(Mnist, "published", lambda self: lost)
    (line,) = ahead(tiny, dataset={"name": "mnist"}).what("lacks")
    assert f"cannot be fetched from {server}/gone/train-images" in line


def test_a_tracker_whose_library_is_absent_is_told_with_the_rest(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    tracked = {"run.track": [{"name": "mlflow"}]}
    lines = ahead(tiny, collect={"name": "folder", "path": "nosuch"}, **tracked).what("lacks")
    assert len(lines) == 2 and lines[1].startswith("run.track: mlflow cannot be imported (")
    assert look_ahead(load_recipe(tiny, tracked), done=True).what("lacks") == lines[1:]


def test_a_selector_and_a_zoo_that_cannot_be_are_told_before_anything_is_trained(tiny: Path) -> None:
    wrong = {
        "matches none of the network's": {"selector": {"name": "names", "include": ["nosuch*"]}},
        "collect: 900,000,000,000 networks of ": {"collect.count": 900_000_000_000},
    }
    for said, changes in wrong.items():
        with pytest.raises(UserError, match=said):
            pdiff.run(tiny, set=changes, quiet=True)
    assert not list(Path("runs/store").glob("train-*/log.json"))


def test_an_evaluator_that_a_finished_run_is_given_says_what_it_lacks_first(tiny: Path) -> None:
    run = pdiff.run(tiny, set={"run.device": "cpu"})
    with pytest.raises(UserError, match=r"evaluate: conditions need an \[encoder\], such as name = 'bits'"):
        run.evaluate(["conditions"])
    assert "conditions" not in run.scores["columns"]
