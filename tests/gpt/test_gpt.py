"""G.pt from recipe to networks: starts, prompts, held-out runs and the command."""

from __future__ import annotations

import pytest
import torch
from typer.testing import CliRunner

from pdiff.cli import build
from pdiff.components import Collector
from pdiff.errors import Faults, UserError
from pdiff.files import load_tensors, save_tensors
from pdiff.networks import build_network
from pdiff.recipe.loading import load_recipe
from pdiff.testing import tiny_run, tiny_splits
from pdiff_plugins.networks.small import Mlp

GPT = {
    "name": "gpt",
    "width": 32,
    "depth": 2,
    "heads": 2,
    "steps": 400,
    "batch_size": 64,
    "sampling_steps": 10,
    "lr": 3e-3,
}
RUNS = {"name": "seeds", "count": 60, "steps": 60, "lr": 0.1, "optimizer": "sgd", "batch_size": 20}
TABLES = {
    "architecture": {"name": "mlp", "hidden": [6]}, "train": {"epochs": 0}, "zoo": [{"name": "holdout", "count": 36}],
    "collect": RUNS | {"include_start": True, "log_spaced": 12}, "method": GPT, "sample": {"count": 20},
}  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Return a function that gives the run with other options of the method; what they share is computed once."""
    folder = tmp_path_factory.mktemp("gpt")
    return lambda **options: tiny_run(folder, **TABLES | {"method": GPT | options})


def loss(run, **options):
    return run(**options).bench.measure(run(**options).sample("gpt"), "test")["loss"]


def test_asked_for_losses_are_got_from_starts_that_no_run_had(runs):
    measured = runs().bench.measures()["loss"]
    asked = torch.linspace(float(measured.min()) + 0.05, 1.0, 5).tolist()
    got = [float(loss(runs, prompt={"loss": value}).mean()) for value in asked]
    assert torch.corrcoef(torch.tensor([asked, got]))[0, 1] > 0.95
    starts_MD = torch.stack([runs().bench.start(seed) for seed in range(20)])
    assert loss(runs).mean() < 0.6 * runs().bench.measure(starts_MD, "test")["loss"].mean()


def test_measures_of_the_zoo_are_those_of_its_networks(runs):
    pipeline = runs()
    model, split = pipeline.bench.network, pipeline.data.validation
    model.load_state_dict(pipeline.zoo.state_dict(pipeline.zoo.theta_ND[7]))
    with torch.no_grad():
        own = torch.nn.functional.cross_entropy(model.eval()(split.inputs), split.targets)
    assert float(pipeline.bench.measures()["loss"][7]) == pytest.approx(float(own), rel=1e-5)


def test_held_out_runs_are_whole_and_unseen(runs):
    pipeline = runs()
    held = {row["run"] for row in pipeline.view().zoo.holdout.rows}
    assert len(held) == 3 and not held & {row["run"] for row in pipeline.zoo.rows}
    assert [row["step"] for row in pipeline.zoo.rows[:12]] == Collector.model_validate(TABLES["collect"]).saved_steps()


def test_prompts_outside_of_the_zoo_are_told_every_time(runs):
    for _ in range(2):
        pipeline, said = runs(prompt={"loss": 0.0}), []
        pipeline.progress.say = said.append
        pipeline.sample("gpt")
        assert any("prompt loss = 0 lies outside of the zoo" in line for line in said)


def test_prompts_worse_than_the_start_are_told(runs):
    pipeline, said = runs(prompt={"loss": 3.0}), []
    pipeline.progress.say = said.append
    pipeline.sample("gpt")
    assert any("prompt loss = 3 is worse than what 20 of 20 starts have" in line for line in said)


def test_recursion_never_leaves_a_network_farther_from_the_prompt(runs):
    wanted = 0.3
    once, often = (loss_on_prompt(runs, prompt={"loss": wanted}, recursive=count) for count in (1, 4))
    assert ((often - wanted).abs() <= (once - wanted).abs() + 1e-9).all()
    assert (often != once).any()


def loss_on_prompt(run, **options):
    pipeline = run(**options)
    return pipeline.bench.measure(pipeline.sample("gpt"), "validation")["loss"]


def test_a_start_from_a_file_is_the_same_as_from_its_seed(runs, tmp_path):
    pipeline = runs()
    save_tensors(tmp_path / "start.safetensors", pipeline.zoo.state_dict(pipeline.bench.start(5)))
    options = {"prompt": {"loss": 0.4}, "sampler": "ddim"}
    file = runs(start=str(tmp_path / "start.safetensors"), **options).sample("gpt")
    assert file.equal(runs(start="init:5", **options).sample("gpt"))
    assert not file.equal(runs(**options).sample("gpt"))


def test_a_start_of_another_architecture_is_told(runs, tmp_path):
    other = build_network(Mlp(hidden=(7,)), tiny_splits(), seed=0)
    save_tensors(tmp_path / "other.safetensors", other.state_dict())
    with pytest.raises(UserError, match=r"other.safetensors: is of another architecture: 1.bias has \[7\], the zoo"):
        runs(start=str(tmp_path / "other.safetensors")).sample("gpt")
    save_tensors(tmp_path / "other.safetensors", {"weight": torch.zeros(3)})
    with pytest.raises(UserError, match=r"is of another architecture: it has no '1.bias'"):
        runs(start=str(tmp_path / "other.safetensors")).sample("gpt")
    theta_D = runs().bench.start(5)
    theta_D[3] = torch.nan
    save_tensors(tmp_path / "nan.safetensors", runs().zoo.state_dict(theta_D))
    with pytest.raises(UserError, match=r"nan.safetensors: holds NaN or Inf; give another network"):
        runs(start=str(tmp_path / "nan.safetensors")).sample("gpt")


def test_a_start_may_lack_what_is_not_selected_and_must_not_differ_there(tmp_path):
    tables = TABLES | {
        "selector": {"name": "names", "include": ["1.*"]},
        "collect": TABLES["collect"] | {"start": "base"},
    }
    options = {"tokens": "layer", "steps": 2}
    pipeline = tiny_run(tmp_path, **tables | {"method": GPT | options})
    state = pipeline.zoo.state_dict(pipeline.zoo.theta_ND[0])
    for name, change in {"part": None, "other": 1.0}.items():
        own = {key: value for key, value in state.items() if change or key.startswith("1.")}
        own |= {"3.weight": state["3.weight"] + change} if change else {}
        save_tensors(tmp_path / f"{name}.safetensors", own)
    start = {"start": str(tmp_path / "part.safetensors")}
    assert len(tiny_run(tmp_path, **tables | {"method": GPT | options | start}).sample("gpt")) == 20
    start = {"start": str(tmp_path / "other.safetensors")}
    with pytest.raises(UserError, match=r"3.weight is outside of the selection and is not the zoo's"):
        tiny_run(tmp_path, **tables | {"method": GPT | options | start}).sample("gpt")


def test_measures_do_not_depend_on_chance(runs, monkeypatch):
    from pdiff_plugins.populations import chooser

    measured = runs().bench.measure(runs().zoo.theta_ND, "test")["loss"]
    monkeypatch.setattr(chooser, "_seconds", lambda *args: torch.rand(1).item())
    assert runs().bench.measure(runs().zoo.theta_ND, "test")["loss"].equal(measured)


def test_a_zoo_with_one_checkpoint_per_run_is_told(tmp_path):
    pipeline = tiny_run(tmp_path, **TABLES | {"collect": RUNS | {"steps": 5}, "zoo": []})
    with pytest.raises(UserError, match=r"every run of the zoo has one checkpoint.*log_spaced"):
        pipeline.sample("gpt")


def test_a_metric_that_the_task_does_not_measure_is_told(runs):
    with pytest.raises(UserError, match=r"method.metric: 'return' is not measured by task tiny_task; it measures"):
        runs(metric="return").sample("gpt")


def test_runs_with_a_large_weight_are_left_out_whole(tmp_path):
    whole = tiny_run(tmp_path, **TABLES | {"zoo": []}).zoo
    sizes = {run: float(whole.theta_ND[12 * run : 12 * run + 12].abs().max()) for run in range(60)}
    limit = sorted(sizes.values())[40]
    kept = tiny_run(tmp_path, **TABLES | {"zoo": [{"name": "largest", "limit": limit}]}).zoo
    assert {row["run"] for row in kept.rows} == {run for run, size in sizes.items() if size <= limit}
    with pytest.raises(UserError, match=r"zoo: largest.limit = 1e-06: a weight is larger in all runs but 0"):
        tiny_run(tmp_path, **TABLES | {"zoo": [{"name": "largest", "limit": 1e-6}]}).zoo  # noqa: B018


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"method.prompt": {"error": 0.1}},
            "prompt asks for error, but metric = 'loss' is what",
        ),
        ({"method.start": "init:x"}, "start = 'init:x' has no seed; write init:0"),
        ({"method.width": 50, "method.heads": 4}, "set width = 48"),
        ({"collect.every": 3}, "every and log_spaced are two ways"),
    ],
)
def test_faults_of_a_recipe_are_told(changes, said):
    with pytest.raises(Faults, match=said):
        load_recipe("recipes/gpt_digits.toml", changes)


def test_the_command_asks_and_says_what_came(runs, tmp_path, monkeypatch):
    from pdiff import api

    pipeline = runs()
    opened = api.Run(tmp_path, pipeline)
    monkeypatch.setattr(api, "open_run", lambda *args, **options: opened)
    asked = ["sample", "tiny", "-o", "prompt.loss=0.4", "-o", "start=init:3", "-n", "3", "-o", "recursive=2"]
    done = CliRunner().invoke(build(), asked)
    assert done.exit_code == 0, done.output
    assert "asked" in done.output and "loss (validation)" in done.output
    folder = tmp_path / "samples-gpt-3-draw-1-prompt-loss-0.4-start-init-3-recursive-2"
    written = [load_tensors(path) for path in sorted(folder.glob("*.safetensors"))]
    again_MD = opened.drawing(prompt={"loss": 0.4}, start="init:3", recursive=2).draw(3)
    assert torch.stack([pipeline.zoo.layout.vector(state) for state in written]).equal(again_MD)
    assert not opened.drawing(prompt={"loss": 0.5}, start="init:3", recursive=2).draw(3).equal(again_MD)
    for wrong, said in {
        "prompt.loss.more=1": "method: prompt.loss: input should be a valid number",
        "prompt.loss": "-o prompt.loss: write it as key=value",
        "prompt.loss=nan": "method: prompt.loss = nan: input should be a finite number",
        "prompt.error=0.2": "prompt asks for error",
    }.items():
        done = CliRunner().invoke(build(), ["sample", "tiny", "-o", wrong])
        assert isinstance(done.exception, UserError) and said in str(done.exception)
    done = CliRunner().invoke(build(), ["sample", "tiny", "-n", "2", "--render"])
    assert "networks of task tiny_task are no pictures" in str(done.exception)
