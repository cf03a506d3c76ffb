"""What each kind of component promises, as one function per kind; the keyword arguments say on what it is tried."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pdiff.components import (
    Architecture,
    Codec,
    Collector,
    Dataset,
    Denoiser,
    Generator,
    Method,
    Selector,
    Task,
    Transform,
)
from pdiff.context import Context
from pdiff.data import Batch, DatasetSplits, Split, each, leaves
from pdiff.engine.bench import RunBench
from pdiff.networks import blank_network, build_network
from pdiff.objective import Objective
from pdiff.populations.predictor import check
from pdiff.services import Absent
from pdiff.steps import PLACES
from pdiff.testing.asserts import has_gradient, is_json, same_batch, same_state, seeded, stored
from pdiff.testing.bench import Points, bench_of
from pdiff.testing.conditions import as_asked, check_encoder
from pdiff.testing.engines import check_engine
from pdiff.testing.extending import check_plain, extended
from pdiff.testing.readers import check_reader
from pdiff.testing.showing import check_evaluator, check_report, check_tracker
from pdiff.testing.tiny import TinyNet, TinyTask, tiny_splits, tiny_zoo
from pdiff.zoo import Layout, Zoo

CPU = torch.device("cpu")


def check_architecture(
    component: Architecture, *, input_shape: tuple[int, ...] = (3, 32, 32), outputs: int = 10
) -> None:
    """Sizes, eval mode, state dict, and that torch's seed alone decides the initial parameters."""
    data, name = tiny_splits(input_shape, outputs, count=4), component.name
    model, again = (build_network(component, data, seed=0).eval() for _ in range(2))
    same_state(model.state_dict(), again.state_dict(), f"{name}: the same seed builds another network")
    x = data.train.batch(torch.arange(4), CPU).inputs
    y = model(x)
    assert y.shape[:2] == (4, outputs), f"{name}: gives {list(y.shape)} for 4 inputs and {outputs} outputs"
    assert y.isfinite().all(), f"{name}: gives NaN or Inf"
    with torch.no_grad():
        assert torch.equal(model(x), y), f"{name}: in eval mode the same input gives another output"
        other = blank_network(component, data, seed=1)
        other.load_state_dict(stored(model.state_dict()), strict=True)
        assert torch.equal(other.eval()(x), y), f"{name}: its state dict does not carry the whole network"
    has_gradient(y.square().mean(), model, name)


def check_codec(component: Codec, *, dim: int = 40, count: int = 60) -> None:
    """Sizes, state dict, and that fitting depends on its context alone."""
    x_ND, name = torch.randn(count, dim, generator=torch.Generator().manual_seed(0)), component.name
    modules = []
    for noise in (1, 2):
        module = seeded(0, lambda: component.build(dim=dim))
        log = seeded(noise, component.fit, module, x_ND.clone(), Absent("a codec alone"), Context(seed=3))
        is_json(log, f"{name}: fit() returns a log that")
        modules.append(module.eval())
    module, twin = modules
    same_state(module.state_dict(), twin.state_dict(), f"{name}: fit() draws from torch's global generator")
    with torch.no_grad():
        z_NZ = module.encode(x_ND)
        y_ND = module.decode(z_NZ)
    latent = (count, module.latent_dim)
    assert z_NZ.shape == latent, f"{name}: encode gives {list(z_NZ.shape)}; by latent_dim {list(latent)}"
    assert y_ND.shape == x_ND.shape, f"{name}: decode gives {list(y_ND.shape)} for {list(x_ND.shape)}"
    assert z_NZ.isfinite().all() and y_ND.isfinite().all(), f"{name}: gives NaN or Inf"
    other = seeded(5, lambda: component.build(dim=dim))
    other.load_state_dict(stored(module.state_dict()), strict=True)
    with torch.no_grad():
        same = torch.equal(other.eval().decode(other.encode(x_ND)), y_ND)
    assert same, f"{name}: its state dict does not carry the whole codec"


def check_denoiser(component: Denoiser, *, dim: int = 16, condition_dim: int = 3) -> None:
    """Sizes with and without a condition, gradient, state dict."""
    generator, name = torch.Generator().manual_seed(0), component.name
    z_BZ, t_B = torch.randn(5, dim, generator=generator), torch.tensor([0.0, 1.0, 10.0, 500.0, 999.0])
    for width in (0, condition_dim):
        condition_BC = torch.randn(5, width, generator=generator) if width else None
        model = seeded(0, component.build, dim=dim, condition_dim=width)
        out_BZ = model(z_BZ, t_B, condition_BC)
        case = f"with a condition of {width}" if width else "without a condition"
        assert out_BZ.shape == z_BZ.shape, f"{name}: {case} gives {list(out_BZ.shape)} for {list(z_BZ.shape)}"
        assert out_BZ.isfinite().all(), f"{name}: {case} gives NaN or Inf"
        has_gradient((out_BZ - z_BZ).square().mean(), model, name)
        other = seeded(1, component.build, dim=dim, condition_dim=width).eval()
        other.load_state_dict(stored(model.state_dict()), strict=True)
        same = torch.equal(other(z_BZ, t_B, condition_BC), model.eval()(z_BZ, t_B, condition_BC))
        assert same, f"{name}: its state dict does not carry the whole denoiser"


def check_method(component: Method, *, zoo: Zoo | None = None, count: int = 7) -> None:
    """Samples of each variant: sizes, original scale, dependence on the seed alone, and what is stored."""
    zoo = zoo or tiny_zoo()
    for label, method in component.variants().items():
        assert isinstance(method, Method) and list(method.variants()) == [label], f"{label}: has variants of its own"
        _check_generator(method, label, zoo, count)


def _check_generator(method: Method, label: str, zoo: Zoo, count: int) -> None:
    ctx, bench = Context(seed=3), _points(zoo)
    fitted, twin = (seeded(noise, lambda: method.fit(zoo, bench, ctx)) for noise in (1, 2))
    theta_MD = seeded(1, lambda: fitted.sample(count, bench, ctx))
    size = f"{label}: sample({count}) gives {list(theta_MD.shape)}"
    assert theta_MD.ndim == 2 and 0 < len(theta_MD) <= count and theta_MD.shape[1] == zoo.layout.dim, size
    check(theta_MD, zoo.layout, label)
    for generator, how in ((fitted, "a second sample()"), (twin, "a second fit()")):
        again_MD = seeded(2, generator.sample, count, bench, ctx)
        assert torch.equal(again_MD, theta_MD), f"{label}: {how} with the same context gives others"
    if len(theta_MD) == count:
        others_MD = fitted.sample(count, bench, ctx.replace(seed=4))
        assert not torch.equal(others_MD, theta_MD), f"{label}: another seed gives the same networks"
    _check_stored(method, label, fitted, theta_MD, zoo, bench, ctx)
    _check_path(label, fitted, zoo, ctx)


def _points(zoo: Zoo) -> Points:
    """Return the services of a zoo of `TinyNet`s, whose score does not hang on what they have learnt."""
    data = tiny_splits()
    objective = Objective(build_network(TinyNet(), data, 0), zoo.layout, TinyTask(), data.train)
    return Points(zoo, lambda seed: build_network(TinyNet(), data, seed), objective)


def _check_stored(
    method: Method, label: str, fitted: Generator, theta_MD: Tensor, zoo: Zoo, bench: Points, ctx: Context
) -> None:
    loaded = seeded(2, lambda: method.load(stored(fitted.tensors()), zoo, bench, ctx))
    loaded.log, loaded.facts = fitted.log, fitted.facts
    same = torch.equal(loaded.sample(len(theta_MD), bench, ctx), fitted.sample(len(theta_MD), bench, ctx))
    assert same, f"{label}: load() of what tensors() gave samples other networks"
    is_json(fitted.log, f"{label}: its log")
    is_json(fitted.facts, f"{label}: its facts")
    assert all("step" in row for row in fitted.log), f"{label}: a row of its log has no 'step'"


def _check_path(label: str, fitted: Generator, zoo: Zoo, ctx: Context) -> None:
    path = fitted.path(2, 3, ctx)
    if path is not None:
        progress, theta_SMD = path
        assert theta_SMD.shape == (3, 2, zoo.layout.dim), f"{label}: path(2, 3) gives {list(theta_SMD.shape)}"
        assert progress == sorted(progress) and len(progress) == 3, f"{label}: path() has progress {progress}"
        assert progress[0] >= 0 and progress[-1] <= 1, f"{label}: path() has progress {progress}, not in 0..1"


def check_selector(
    component: Selector, *, model: nn.Module | None = None, inputs: Tensor | None = None,
    same: Callable[[Tensor, Layout], Tensor] | None = None,
) -> None:  # fmt: skip
    """Keys of the state dict, each once, in its order; the network is left as it was, or extended as is promised.

    `inputs` are the network's; `same` returns vectors of the same functions, where a selector knows of such.
    """
    model = (model or _norms_and_layers()).eval()
    plain, inputs = model, torch.linspace(-1, 1, 1536).reshape(8, 3, 8, 8) if inputs is None else inputs
    with torch.no_grad():
        model = extended(component, plain, inputs) if component.extends else plain
        before = {key: value.clone() for key, value in model.state_dict().items()}
        keys, order = component.select(model), list(before)
        missing = [key for key in keys if key not in before]
        assert not missing, f"{component.name}: selects {missing[0]!r}, which is no key of the state dict"
        in_order = [key for key in order if key in set(keys)]
        assert keys == in_order, f"{component.name}: keys not in state-dict order: {keys}"
        assert component.select(model) == keys, f"{component.name}: selects others the second time"
        same_state(before, model.state_dict(), f"{component.name}: changes the network")
        layout = Layout.of(model, keys)
        if component.extends:
            check_plain(component, plain, model, layout, inputs, same)


def _norms_and_layers() -> nn.Module:
    blocks = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.ReLU()]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 2)]
    return nn.Sequential(*blocks, *head)


def check_collector(
    component: Collector, *, architecture: Architecture | None = None, data: DatasetSplits | None = None,
    task: Task | None = None,
) -> None:  # fmt: skip
    """A zoo of the right sizes, decided by its context alone, that can be stored."""
    data, architecture, task = data or tiny_splits(), architecture or TinyNet(), task or TinyTask()
    name = component.name
    model = build_network(architecture, data, seed=0)
    layout = Layout.of(model, list(dict(model.named_parameters())))
    bench = bench_of(Zoo.of_one(model.state_dict(), layout), architecture, task, data)

    def collect() -> Zoo:
        base = build_network(architecture, data, seed=0)
        return component.collect(base, data=data, task=task, layout=layout, bench=bench, ctx=Context(seed=3))

    zoo, again = (seeded(noise, collect) for noise in (1, 2))
    theta_ND = zoo.theta_ND
    assert theta_ND.dtype == torch.float32 and theta_ND.device == CPU, f"{name}: theta is not float32 on the CPU"
    fits = len(zoo) > 1 and theta_ND.shape[1] == layout.dim == zoo.layout.dim
    assert fits, f"{name}: theta has {list(theta_ND.shape)}, the layout {layout.dim} parameters"
    assert theta_ND.isfinite().all(), f"{name}: checkpoints hold NaN or Inf"
    assert torch.equal(theta_ND, again.theta_ND), f"{name}: the same context gives other checkpoints"
    for row in zoo.rows:
        assert {"run", "step", "metrics"} <= set(row), f"{name}: a row has {sorted(row)}; it needs run, step, metrics"
    model.load_state_dict(zoo.anchor, strict=True)
    with tempfile.TemporaryDirectory() as folder:
        zoo.save(Path(folder))
        assert Zoo.open(Path(folder)).rows == zoo.rows, f"{name}: rows are not plain JSON"


def check_task(component: Task, *, data: DatasetSplits | None = None, architecture: Architecture | None = None) -> None:
    """Loss with a gradient, predictions also under vmap, and scores that a perfect prediction tops."""
    data, name = as_asked(component, data or tiny_splits()), component.name
    model = build_network(architecture or TinyNet(), data, seed=0)
    batch = data.train.batch(torch.arange(20), CPU)
    loss = component.loss(model, batch)
    assert loss.shape == () and loss.isfinite(), f"{name}: loss() gives {loss}; a finite scalar was expected"
    has_gradient(loss, model, name)
    predictions_ME = component.reduce(_predictions(component, model.eval(), batch), batch.targets)
    score_M, wrong_ME = (f(predictions_ME, batch.targets) for f in (component.score, component.wrong))
    fits = score_M.shape == (2,) and score_M.dtype == torch.float64
    assert fits, f"{name}: score() gives {score_M}, not float64 [M]"
    assert wrong_ME.shape == (2, 20) and wrong_ME.dtype == torch.bool, f"{name}: wrong() is not bool [M, E]"
    assert component.metric, f"{name}: has no metric, the name of its score"
    _check_measures(component, model, batch)
    if predictions_ME.shape[1:] == batch.targets.shape:
        perfect_ME = batch.targets.to(predictions_ME.dtype)[None]
        best = component.score(perfect_ME, batch.targets)
        assert (best >= score_M).all(), f"{name}: perfect predictions score {best.tolist()}, others {score_M.tolist()}"
        assert not component.wrong(perfect_ME, batch.targets).any(), f"{name}: perfect predictions count as wrong"


def _check_measures(task: Task, model: nn.Module, batch: Batch) -> None:
    """Measures of each example, finite, whose mean is a network's."""
    if not task.measures:
        return
    with torch.no_grad():
        measured = task.measured(task.examine(model, batch.inputs)[None], batch.targets)
    size = (1, len(batch.targets), len(task.measures))
    assert measured.shape == size, f"{task.name}: measured() gives {list(measured.shape)}, not {list(size)}"
    assert measured.isfinite().all(), f"{task.name}: measured() gives NaN or Inf"


def _predictions(task: Task, model: nn.Module, batch: Batch) -> Tensor:
    """Return the predictions `[2, E, ...]` of a network and its negative, the same under vmap."""
    states = [dict(model.state_dict()), {key: -value for key, value in model.state_dict().items()}]
    states[1] |= {key: value.clone() for key, value in model.named_buffers()}
    stacked = {key: torch.stack([state[key] for state in states]) for key in states[0]}

    def one(state: dict[str, Tensor]) -> Tensor:
        return task.predict(lambda *x: torch.func.functional_call(model, state, x), batch.inputs)

    with torch.no_grad():
        alone = torch.stack([one(state) for state in states])
        together = torch.func.vmap(one)(stacked)
    assert alone.shape[1] == len(batch.targets), f"{task.name}: predict() gives {list(alone.shape[1:])} for 20 inputs"
    assert alone.shape == together.shape, f"{task.name}: predict() gives other shapes under torch.func.vmap"
    return alone


def check_dataset(component: Dataset, *, data_root: str | Path = "data") -> None:
    """Sizes of the splits, and that the seed alone decides them; nothing is downloaded."""
    ctx, name = Context(seed=3, data_root=Path(data_root), download=False), component.name
    data, again = (seeded(noise, lambda: component.load(ctx)) for noise in (1, 2))
    assert len(data.train) and len(data.test), f"{name}: the train or the test split is empty"
    for split in ("train", "validation", "test"):
        if len(data.split(split)):
            _check_split(f"{name}.{split}", data.split(split), again.split(split), data.input_shape)


def _check_split(name: str, split: Split, again: Split, input_shape: Any) -> None:
    index = torch.arange(min(5, len(split)))
    batch = split.batch(index, CPU)
    _check_inputs(name, batch.inputs, len(index), input_shape)
    assert len(split.targets) == len(split), f"{name}: {len(split.targets)} targets of {len(split)} examples"
    assert torch.equal(batch.targets, split.targets[index]), f"{name}: a batch's targets are not those of its examples"
    same_batch(batch, again.batch(index, CPU), f"{name}: the same seed gives other examples")
    same_batch(
        Batch(*each(lambda x: x[:1], tuple(batch))), split.batch(index[:1], CPU), f"{name}: depends on the batch"
    )
    batches = [split.batch(index, CPU, torch.Generator().manual_seed(0)) for _ in range(2)]
    _check_inputs(f"{name}: the training transform", batches[0].inputs, len(index), input_shape)
    same_batch(batches[0], batches[1], f"{name}: the training transform draws from elsewhere than its generator")


def _check_inputs(name: str, inputs: Any, count: int, input_shape: Any) -> None:
    """Inputs, one or several, of the shapes that the dataset says, finite float32, or whole numbers."""
    shapes = list(input_shape.values()) if isinstance(input_shape, dict) else input_shape
    several = bool(shapes) and all(isinstance(shape, tuple) for shape in shapes)
    for x, wanted in zip(leaves(inputs), shapes if several else [input_shape], strict=True):
        shape = (count, *wanted)
        assert x.shape == shape, f"{name}: inputs have {list(x.shape)}, input_shape says {list(shape)}"
        whole = not x.is_floating_point() and not x.is_complex()
        assert whole or x.dtype == torch.float32, f"{name}: inputs are {x.dtype}, not float32 or whole numbers"
        assert x.isfinite().all(), f"{name}: inputs are not finite"


def check_transform(component: Transform, *, zoo: Zoo | None = None) -> None:
    """A step on a zoo, on samples, or on both: sizes, what it leaves alone, and that its context alone decides."""
    zoo, name, taken = zoo or tiny_zoo(), component.name, [what for what in PLACES if component.takes(what)]
    assert taken, f"{name}: overrides neither zoo() nor samples()"
    zoo = replace(zoo, rows=[row | {"of": index} for index, row in enumerate(zoo.rows)])
    bench, before = bench_of(zoo, TinyNet(), TinyTask(), tiny_splits()), zoo.theta_ND.clone()
    if "zoo" in taken:
        stepped, again = (seeded(noise, lambda: component.zoo(zoo, bench, Context(seed=3))) for noise in (1, 2))
        assert len(stepped.rows) == len(stepped) >= 2, f"{name}: leaves {len(stepped)} checkpoints"
        assert torch.equal(stepped.theta_ND, again.theta_ND), f"{name}: the same context gives another zoo"
        check(stepped.theta_ND, stepped.layout, name)
        if component.exact:
            _check_exact(name, zoo, stepped, bench)
    if "samples" in taken:
        theta_MD, twin_MD = (
            seeded(noise, lambda: component.samples(before[:7].clone(), zoo, bench, Context(seed=3)))
            for noise in (1, 2)
        )
        assert theta_MD.shape == before[:7].shape, f"{name}: gives {list(theta_MD.shape)} for {list(before[:7].shape)}"
        assert torch.equal(theta_MD, twin_MD), f"{name}: the same context gives other networks"
        check(theta_MD, zoo.layout, name)
    assert torch.equal(zoo.theta_ND, before), f"{name}: changes the zoo that it is given"


def _check_exact(name: str, zoo: Zoo, stepped: Zoo, bench: RunBench) -> None:
    """Every row predicts as the checkpoint does that its `of` names."""
    lost = [index for index, row in enumerate(stepped.rows) if "of" not in row]
    assert not lost, f"{name}: exact, but row {lost[0]} has lost its `of`"
    before, after = (bench.log_probabilities(each.theta_ND, "validation", 0) for each in (zoo, stepped))
    if before is not None and after is not None:
        known_MEK = before[0][[row["of"] for row in stepped.rows]]
        same = torch.allclose(after[0], known_MEK, atol=1e-3, rtol=1e-3)
        assert same, f"{name}: exact, but a row predicts otherwise than the checkpoint that its `of` names"


CONTRACTS: dict[str, Callable[..., None]] = {
    "architecture": check_architecture, "dataset": check_dataset, "task": check_task, "selector": check_selector,
    "collector": check_collector, "codec": check_codec, "denoiser": check_denoiser, "method": check_method,
    "evaluator": check_evaluator, "report": check_report, "transform": check_transform,
    "tracker": check_tracker, "engine": check_engine, "encoder": check_encoder, "reader": check_reader,
}  # fmt: skip
