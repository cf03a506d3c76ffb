"""G.pt: tokens, pairs, the network, prompts from recipe to command line."""

from __future__ import annotations

import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from pdiff.cli import build
from pdiff.components import Collector
from pdiff.engine.work import build_network
from pdiff.errors import Faults, UserError
from pdiff.files import save_tensors
from pdiff.recipe.loading import load_recipe
from pdiff.symmetry.permutations import Symmetry
from pdiff.testing import tiny_run, tiny_splits
from pdiff.zoo import Layout
from pdiff_plugins.gpt.method import Gpt
from pdiff_plugins.gpt.net import PromptedTransformer, Waves
from pdiff_plugins.gpt.pairs import Pairs
from pdiff_plugins.gpt.tokens import Kinds, by_chunk, by_neuron, shuffled
from pdiff_plugins.networks.small import Mlp, TwoConvolutions


@functools.cache
def network_of(architecture, shape=(2,)):
    """Return a network, its layout and its symmetry."""
    model = build_network(architecture, tiny_splits(shape), seed=0)
    layout = Layout.of(model, list(model.state_dict()))
    return model, layout, Symmetry.of(model, torch.zeros(2, *shape)).within(layout.keys)


@settings(max_examples=20, deadline=None)
@given(hidden=st.sampled_from([(5,), (5, 4)]), size=st.integers(1, 30), seed=st.integers(0, 99))
def test_tokens_of_every_kind_go_back_exactly(hidden, size, seed):
    _, layout, symmetry = network_of(Mlp(hidden=hidden))
    x_BD = torch.randn(3, layout.dim, generator=torch.Generator().manual_seed(seed))
    chunks = [by_chunk(layout, policy, size) for policy in ("chunk_within_layer", "layer", "flat")]
    for kinds in (by_neuron(layout, symmetry), *chunks):
        tokens = kinds.split(x_BD)
        assert kinds.join(tokens).equal(x_BD)
        assert Kinds.load(kinds.tables()).join(tokens).equal(x_BD)
    assert max(part.shape[2] for part in chunks[0].split(x_BD)) <= size
    assert len(chunks[1].kinds) == len(layout.entries)
    assert len(chunks[2].kinds) == -(-layout.dim // size)


@pytest.mark.parametrize(
    ("size", "outputs", "hidden", "chunk", "tokens"),
    [((1, 28, 28), 10, (10,), 1000, 11), ((4,), 1, (32, 32), 10**6, 6)],
)
def test_the_papers_tokens_are_as_many_as_its_table_says(size, outputs, hidden, chunk, tokens):
    """gpt_sane A3: MNIST 8 + 1 + 1 + 1; Cartpole has 7 with the log of the deviation, which our policy has not."""
    model = build_network(Mlp(hidden=hidden), tiny_splits(size, outputs), seed=0)
    assert len(by_chunk(Layout.of(model, list(model.state_dict())), "chunk_within_layer", chunk).kinds) == tokens


def test_a_hidden_unit_is_a_token_with_what_it_reads_and_what_reads_it():
    _, layout, symmetry = network_of(Mlp(hidden=(5,)))
    units, rest = by_neuron(layout, symmetry).kinds
    assert units.index_US.shape == (5, 2 + 1 + 3) and not units.placed
    assert rest.index_US.shape == (1, 3)
    marks_D = torch.arange(layout.dim)
    entries = layout.tensors(marks_D)
    third = torch.cat([entries["1.weight"][2], entries["1.bias"][2:3], entries["3.weight"][:, 2]])
    assert units.index_US[2].equal(third)


def test_units_that_other_hidden_units_tell_apart_have_positions():
    _, layout, symmetry = network_of(TwoConvolutions(channels=(4, 6)), (3, 8, 8))
    first, second, rest = by_neuron(layout, symmetry).kinds
    assert first.placed and first.index_US.shape == (4, 27)
    assert not second.placed and second.index_US.shape == (6, 4 * 9 + 3)
    assert rest.index_US.shape == (1, 3)


def small(kinds, joined=True):
    torch.manual_seed(0)
    return PromptedTransformer(kinds, width=16, depth=2, heads=2, waves=4, octaves=3.0, joined=joined).eval()


@pytest.mark.parametrize("joined", [True, False])
def test_a_new_network_returns_its_start(joined):
    _, layout, symmetry = network_of(Mlp(hidden=(5,)))
    kinds = by_neuron(layout, symmetry) if joined else by_chunk(layout, "chunk_within_layer", 4)
    x_BD, start_BD = torch.randn(2, 3, layout.dim)
    assert small(kinds, joined)(x_BD, start_BD, torch.randn(3, 4)).equal(start_BD)


def test_permuting_hidden_units_permutes_what_the_neuron_tokens_give():
    _, layout, symmetry = network_of(Mlp(hidden=(5,)))
    net = small(by_neuron(layout, symmetry))
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    x_BD, start_BD, scalars_B4 = torch.randn(2, layout.dim), torch.randn(2, layout.dim), torch.randn(2, 4)
    order = [torch.stack([torch.randperm(5) for _ in range(2)])]
    moved = [shuffled(part, layout, symmetry, order) for part in (x_BD, start_BD)]
    with torch.no_grad():
        given, after = net(x_BD, start_BD, scalars_B4), net(*moved, scalars_B4)
    assert (given - start_BD).abs().max() > 0.1
    torch.testing.assert_close(after, shuffled(given, layout, symmetry, order), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("architecture", [Mlp(hidden=(5, 4)), TwoConvolutions(channels=(4, 6))])
def test_shuffled_networks_are_other_points_and_the_same_functions(architecture):
    shape = (3, 8, 8)
    model, layout, symmetry = network_of(architecture, shape)
    theta_BD = torch.randn(3, layout.dim)
    order = [torch.rand(3, size).argsort(dim=1) for size in symmetry.sizes]
    moved_BD, inputs = shuffled(theta_BD, layout, symmetry, order), torch.randn(4, *shape)
    assert not torch.allclose(moved_BD, theta_BD)
    for before, after in zip(theta_BD, moved_BD, strict=True):
        own, other = (torch.func.functional_call(model, layout.tensors(x), inputs) for x in (before, after))
        torch.testing.assert_close(own, other, atol=1e-4, rtol=1e-4)


def test_waves_hold_the_scalar_and_its_sines():
    y = Waves(3, 2.0)(torch.tensor([0.5]))
    torch.testing.assert_close(y[0, :3], torch.tensor([0.5, 1.0, 2.0]).sin())
    assert y.shape == (1, 7) and y[0, -1] == 0.5


@settings(max_examples=20, deadline=None)
@given(counts=st.lists(st.integers(1, 6), min_size=1, max_size=5).filter(lambda counts: max(counts) > 1))
def test_pairs_stay_in_a_run_and_go_forward(counts):
    rows = [{"run": run, "step": 10 * step} for run, count in enumerate(counts) for step in range(count)]
    rows = [rows[index] for index in torch.randperm(len(rows)).tolist()]
    first_B, last_B = Pairs(rows).draw(200, torch.Generator().manual_seed(0))
    for first, last in zip(first_B.tolist(), last_B.tolist(), strict=True):
        assert rows[first]["run"] == rows[last]["run"] and rows[first]["step"] < rows[last]["step"]


def test_gaps_between_pairs_are_uniform():
    first_B, last_B = Pairs([{"run": 0, "step": step} for step in range(5)]).draw(
        8000, torch.Generator().manual_seed(0)
    )
    shares = torch.bincount(last_B - first_B, minlength=5)[1:] / 8000
    assert (shares - 0.25).abs().max() < 0.03


# From recipe to networks

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
    "architecture": {"name": "mlp", "hidden": [6]}, "train": {"epochs": 0}, "zoo": {"holdout": 36},
    "collect": RUNS | {"include_start": True, "log_spaced": 12}, "method": GPT, "sample": {"count": 20},
}  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Return a function that gives the run with other options of the method; what they share is computed once."""
    folder = tmp_path_factory.mktemp("gpt")
    return lambda **options: tiny_run(folder, **TABLES | {"method": GPT | options})


def loss(run, **options):
    return run(**options).measure(run(**options).sample("gpt"), "test")["loss"]


def test_asked_for_losses_are_got_from_starts_that_no_run_had(runs):
    measured = runs().measures()["loss"]
    asked = torch.linspace(float(measured.min()) + 0.05, 1.0, 5).tolist()
    got = [float(loss(runs, prompt={"loss": value}).mean()) for value in asked]
    assert torch.corrcoef(torch.tensor([asked, got]))[0, 1] > 0.95
    starts_MD = torch.stack([runs().start(seed) for seed in range(20)])
    assert loss(runs).mean() < 0.6 * runs().measure(starts_MD, "test")["loss"].mean()


def test_measures_of_the_zoo_are_those_of_its_networks(runs):
    pipeline = runs()
    model, split = pipeline.network, pipeline.data.validation
    model.load_state_dict(pipeline.zoo.state_dict(pipeline.zoo.theta_ND[7]))
    with torch.no_grad():
        own = torch.nn.functional.cross_entropy(model.eval()(split.inputs), split.targets)
    assert float(pipeline.measures()["loss"][7]) == pytest.approx(float(own), rel=1e-5)


def test_held_out_runs_are_whole_and_unseen(runs):
    pipeline = runs()
    held = {row["run"] for row in pipeline.view().holdout_rows}
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
    return pipeline.measure(pipeline.sample("gpt"), "validation")["loss"]


def test_a_start_from_a_file_is_the_same_as_from_its_seed(runs, tmp_path):
    pipeline = runs()
    save_tensors(tmp_path / "start.safetensors", pipeline.zoo.state_dict(pipeline.start(5)))
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
    theta_D = runs().start(5)
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
    import pdiff.populations.ways

    measured = runs().measure(runs().zoo.theta_ND, "test")["loss"]
    monkeypatch.setattr(pdiff.populations.ways, "_seconds", lambda *args: torch.rand(1).item())
    assert runs().measure(runs().zoo.theta_ND, "test")["loss"].equal(measured)


def test_a_zoo_with_one_checkpoint_per_run_is_told(tmp_path):
    pipeline = tiny_run(tmp_path, **TABLES | {"collect": RUNS | {"steps": 5}, "zoo": {}})
    with pytest.raises(UserError, match=r"every run of the zoo has one checkpoint.*log_spaced"):
        pipeline.sample("gpt")


def test_a_metric_that_the_task_does_not_measure_is_told(runs):
    with pytest.raises(UserError, match=r"method.metric: 'return' is not measured by task tiny_task; it measures"):
        runs(metric="return").sample("gpt")


def test_runs_with_a_large_weight_are_left_out_whole(tmp_path):
    whole = tiny_run(tmp_path, **TABLES | {"zoo": {}}).zoo
    sizes = {run: float(whole.theta_ND[12 * run : 12 * run + 12].abs().max()) for run in range(60)}
    limit = sorted(sizes.values())[40]
    kept = tiny_run(tmp_path, **TABLES | {"zoo": {"largest": limit}}).zoo
    assert {row["run"] for row in kept.rows} == {run for run, size in sizes.items() if size <= limit}
    with pytest.raises(UserError, match=r"zoo.largest = 1e-06: a weight is larger in all runs but 0"):
        tiny_run(tmp_path, **TABLES | {"zoo": {"largest": 1e-6}}).zoo  # noqa: B018


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
    asked = ["sample", "tiny", "--prompt", "loss=0.4", "--start", "init:3", "-n", "3", "--recursive", "2"]
    done = CliRunner().invoke(build(), asked)
    assert done.exit_code == 0, done.output
    assert "asked" in done.output and "loss (validation)" in done.output
    folder = tmp_path / "samples-gpt-3-draw-1-prompt-loss-0.4-start-init-3-recursive-2"
    assert len(list(folder.glob("*.safetensors"))) == 3
    for wrong, said in {
        "loss": "write a metric and",
        "loss=nan": "write a metric and",
        "error=0.2": "prompt asks for error",
    }.items():
        done = CliRunner().invoke(build(), ["sample", "tiny", "--prompt", wrong])
        assert isinstance(done.exception, UserError) and said in str(done.exception)
    done = CliRunner().invoke(build(), ["sample", "tiny", "-n", "2", "--render"])
    assert "networks of task tiny_task are no pictures" in str(done.exception)


def test_presets_have_the_papers_sizes():
    """gpt_sane A3: 378 M, 639 M and 347 M parameters; 26, 26 and 18 tokens, our policies without a deviation."""
    paper = {"gpt_mnist": ((1, 28, 28), 10, Mlp(hidden=(10,)), 378, 26),
             "gpt_cifar10": ((3, 32, 32), 10, TwoConvolutions(), 639, 26),
             "gpt_cartpole": ((4,), 1, Mlp(hidden=(32, 32), activation="selu"), 347, 16)}  # fmt: skip
    for name, (shape, outputs, architecture, millions, tokens) in paper.items():
        method = Gpt.model_validate(Gpt.presets[name])
        model = build_network(architecture, tiny_splits(shape, outputs), seed=0)
        layout = Layout.of(model, list(model.state_dict()))
        with torch.device("meta"):
            kinds = by_chunk(layout, method.tokens, method.chunk)
        own = {key: getattr(method, key) for key in ("width", "depth", "heads", "waves", "octaves")}
        with torch.device("meta"):
            net = PromptedTransformer(kinds, **own, joined=False)
        assert len(net.place_T) == tokens
        assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(millions, rel=0.01)
