"""Each tracker follows a real run, and its own library reads back what was told."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

import pdiff
from pdiff.errors import UserError
from pdiff.recipe.loading import load_recipe
from pdiff_plugins.trackers.following import Following, flat
from tests.helpers import TINY, call, mistake
from tests.trackers.helpers import values, wandb_records

SMALL = {
    "train.epochs": 3, "collect.count": 20, "method.batch_size": 10, "method.steps": 20, "method.codec.latent": 4,
    "baseline": [{"name": "soup"}], "evaluate": [{"name": "accuracy"}], "report": [{"name": "html"}],
}  # fmt: skip
TRACKERS = ("tensorboard", "wandb", "mlflow")


def tables(folder: Path) -> list[dict]:
    return [
        {"name": "tensorboard"},
        {"name": "wandb", "project": "nets", "tags": ["small"]},
        {"name": "mlflow", "tracking_uri": (folder / "mlruns").as_uri(), "experiment": "nets"},
    ]


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory):
    """A run that the three follow, of which nothing was in the store."""
    for module in TRACKERS:
        pytest.importorskip(module)
    folder = tmp_path_factory.mktemp("tracked")
    (folder / "tiny.toml").write_text(TINY)
    settings = SMALL | {"run.out": str(folder / "runs"), "run.track": tables(folder)}
    return pdiff.run(folder / "tiny.toml", set=settings, quiet=True)


def events(folder: Path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(folder), {"scalars": 0, "images": 0, "tensors": 0}).Reload()


def text(read, tag: str) -> str:
    return read.Tensors(f"{tag}/text_summary")[-1].tensor_proto.string_val[0].decode()


def best(run) -> float:
    return run.scores["networks"]["pdiff"]["accuracy"]["best"]


def last_of_train(run) -> tuple[int, float]:
    """Return the last step of the base network's training, and a loss that is known to be of the last ones."""
    log = json.loads((run.pipeline.train() / "log.json").read_text())
    return [(row["step"], row["loss"]) for row in log if "loss" in row][-1]


def test_tensorboard_reads_curves_scores_and_figures(tracked) -> None:
    read, (step, loss) = events(tracked.folder / "tensorboard"), last_of_train(tracked)
    curve = read.Scalars("train/loss")
    assert [point.step for point in curve] == sorted({point.step for point in curve})
    assert (curve[-1].step, curve[-1].value) == (step, pytest.approx(loss, rel=1e-5))
    (score,) = read.Scalars("scores/pdiff/accuracy/best")
    assert score.value == pytest.approx(best(tracked))
    assert 'name = "mlp_mini"' in text(read, "recipe") and "| pdiff | 12 |" in text(read, "summary")
    figures = {path.stem for path in (tracked.folder / "figures").glob("*.png")}
    assert figures and {tag.removeprefix("figures/") for tag in read.Tags()["images"]} == figures
    assert str(tracked.folder / "index.html") in text(read, "files")
    (cached,) = read.Scalars("cached/fit pdiff")
    (seconds,) = read.Scalars("seconds/fit pdiff")
    assert cached.value == 0 and seconds.value == pytest.approx(tracked.scores["seconds"]["fit pdiff"], rel=1e-5)


def test_wandb_has_the_same_in_its_offline_file(tracked) -> None:
    records = list(wandb_records(tracked.folder))
    rows = [values(record.history.item) for record in records if record.WhichOneof("record_type") == "history"]
    (step, loss), points = last_of_train(tracked), [row for row in rows if "train/loss" in row]
    assert (points[-1]["train/step"], points[-1]["train/loss"]) == (step, pytest.approx(loss, rel=1e-5))
    axes = {record.metric.name: record.metric.step_metric for record in records if record.HasField("metric")}
    assert axes["train/loss"] == "train/step"
    summary = {}
    for record in records:
        summary |= values(record.summary.update)
    assert summary["scores/pdiff/accuracy/best"] == pytest.approx(best(tracked))
    assert summary["folder"] == str(tracked.folder.resolve())
    (run,) = [record.run for record in records if record.HasField("run")][:1]
    assert (run.project, run.display_name, list(run.tags)) == ("nets", tracked.folder.name, ["small"])
    assert values(run.config.update)["architecture"]["name"] == "mlp_mini"
    figures = {key.split("/")[1] for row in rows for key in row if key.startswith("figures/")}
    assert figures == {path.stem for path in (tracked.folder / "figures").glob("*.png")}
    assert [record.exit.exit_code for record in records if record.HasField("exit")] == [0]


def test_mlflow_has_the_same_in_its_store(tracked) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=(tracked.folder.parent.parent / "mlruns").as_uri())
    (run,) = client.search_runs([client.get_experiment_by_name("nets").experiment_id])
    (step, loss), curve = last_of_train(tracked), client.get_metric_history(run.info.run_id, "train/loss")
    final = max(curve, key=lambda point: point.step)
    assert (final.step, final.value) == (step, pytest.approx(loss, rel=1e-5))
    assert run.data.metrics["scores/pdiff/accuracy/best"] == pytest.approx(best(tracked))
    assert run.data.params["method.name"] == "pdiff" and run.data.params["baseline.0.name"] == "soup"
    assert (run.info.status, run.info.run_name) == ("FINISHED", tracked.folder.name)
    names = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert {"index.html", "figures", "summary.md", "stages.md", "scores.json", "recipe.toml"} <= names


def test_a_run_that_is_all_in_the_store_says_so(tracked, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    track = [{"name": "tensorboard", "folder": str(tmp_path / "events")}]
    recipe = tracked.folder.parent.parent / "tiny.toml"
    settings = SMALL | {"run.out": str(tracked.folder.parent), "run.track": track}
    again = pdiff.run(recipe, set=settings, quiet=True)
    assert again.folder == tracked.folder, "what follows a run is part of no key"
    read = events(tmp_path / "events" / again.folder.name)
    assert "train/loss" not in read.Tags()["scalars"] and read.Scalars("cached/train")[0].value == 1
    assert read.Scalars("seconds/train")[0].value == pytest.approx(again.scores["seconds"]["train"], rel=1e-5)
    assert "from the store" in text(read, "stages")


@pytest.mark.parametrize("name", TRACKERS)
def test_an_absent_extra_is_named_before_anything_is_done(name, tiny, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    said = mistake("run", str(tiny), "--out", str(tmp_path / "runs"), "--track", name)
    assert said.startswith(f"run.track: {name} cannot be imported (")
    assert said.endswith(f"pip install 'neural-pdiff[{name}]', or leave it out")
    assert not list((tmp_path / "runs").glob("store/*"))


def test_faults_of_a_tracker_are_the_recipes(tiny: Path, tmp_path: Path) -> None:
    assert "run.track[0]: no tracker 'tensorbord'; did you mean 'tensorboard'?" in mistake(
        "run", str(tiny), "--track", "tensorbord"
    )
    for table, fault in (
        ({"name": "wandb", "projet": "x"}, "run.track[0].projet: unknown key; did you mean 'project'?"),
        ({"name": "mlflow", "tracking_uri": "https://me:secret@host"}, "holds a password"),
    ):
        with pytest.raises(UserError) as caught:
            load_recipe(tiny, {"run.track": [table]})
        assert fault in str(caught.value)


def test_a_server_that_is_not_there_is_told_before_anything_is_done(tiny: Path, tmp_path: Path, monkeypatch) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    track = [{"name": "mlflow", "tracking_uri": "http://127.0.0.1:1"}]
    with pytest.raises(UserError, match=r"^run\.track: mlflow cannot begin \(.*mend it, or leave it out$"):
        pdiff.run(tiny, set={"run.track": track, "run.out": str(tmp_path / "runs")}, quiet=True)
    assert not list((tmp_path / "runs").glob("store/*"))


class Broken:
    """A sink that fails at everything, and counts."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __getattr__(self, what: str):
        def fail(*_: object) -> None:
            self.asked.append(what)
            raise ConnectionError(f"{what}: gone")

        return fail


def test_a_tracker_that_fails_later_is_told_once_and_harms_nothing(tiny, tmp_path, monkeypatch, capsys) -> None:
    from pdiff_plugins.trackers.tensorboard import TensorBoard

    sink = Broken()
    monkeypatch.setattr(TensorBoard, "begin", lambda self, run, stages, **_: Following(sink, run, stages))
    settings = [f"--set={key}={json.dumps(value)}" for key, value in SMALL.items() if not isinstance(value, list)]
    said = call("run", str(tiny), "--out", str(tmp_path / "runs"), "--track", "tensorboard", *settings)
    assert "results in" in said and sink.asked == ["curve", "close"]
    warnings = [line for line in (said + capsys.readouterr().out).splitlines() if "gone" in line]
    assert sorted(warnings) == [
        "warning: plugin tracker tensorboard: run_finished raised ConnectionError: close: gone",
        "warning: plugin tracker tensorboard: stage_progress raised ConnectionError: curve: gone",
    ]


def test_a_run_that_fails_is_told_as_such(tiny: Path, tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    from mlflow import MlflowClient

    store = (tmp_path / "mlruns").as_uri()
    track = [{"name": "mlflow", "tracking_uri": store}]
    with pytest.raises(UserError):
        pdiff.run(tiny, set={"run.track": track, "run.out": str(tmp_path / "runs"), "train.lr": 1e30}, quiet=True)
    client = MlflowClient(tracking_uri=store)
    (run,) = client.search_runs([client.get_experiment_by_name("pdiff").experiment_id])
    assert run.info.status == "FAILED" and run.data.tags["pdiff.failure"].startswith("Diverged: train: ")


def test_another_run_of_the_process_is_not_followed_and_steps_go_on() -> None:
    points = []

    class Sink(Broken):
        def curve(self, curve, step, values):
            points.append((curve, step, values["loss"]))

    follow = Following(Sink(), "mine", {"fit pdiff": "k", "train": "t"})
    follow.stage_started("fit", "k", "mine")
    follow.stage_started("fit", "other", "another")
    for what, step, loss in (("codec", 5, 3.0), ("codec", 9, 2.0), ("codec", 5, 1.5), ("denoiser", 2, 1.0)):
        follow.stage_progress("k", what, step, {"loss": loss})
    follow.stage_progress("other", "codec", 7, {"loss": 0.0})
    follow.run_finished("another", Path(), {}, [], "")
    assert points == [
        ("fit pdiff/codec", 5, 3.0), ("fit pdiff/codec", 9, 2.0), ("fit pdiff/codec", 14, 1.5),
        ("fit pdiff/denoiser", 2, 1.0),
    ]  # fmt: skip


def test_tables_are_flat_by_dotted_key() -> None:
    table = {"seed": 3, "method": {"codec": {"latent": 4}}, "baseline": [{"name": "soup"}], "mean": [0.1, 0.2]}
    assert dict(flat(table)) == {
        "seed": 3, "method.codec.latent": 4, "baseline.0.name": "soup", "mean": [0.1, 0.2],
    }  # fmt: skip


def test_no_tracker_is_imported_unless_it_is_asked_for(tiny: Path) -> None:
    import subprocess

    code = "import sys; import pdiff; from pdiff.recipe.loading import load_recipe; load_recipe(sys.argv[1]); "
    code += f"print([name for name in {(*TRACKERS, 'torch')} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code, str(tiny)], capture_output=True, text=True, env=dict(os.environ))
    assert done.stdout.strip() == "[]", done.stderr
