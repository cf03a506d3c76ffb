"""The hooks: everything that a plugin can do to pdiff.

A plugin is a module (or any object) that a distribution names in its entry-point group `pdiff`; pdiff calls the hooks
that it implements. Each example below is a whole plugin module. The `register_*` hooks and `register_commands` are
called once, when the program starts: import torch inside functions, so that `pdiff --help` stays quick.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from pathlib import Path

    import typer
    from torch import Tensor, nn

    from pdiff.bench import Bench
    from pdiff.components.base import Component
    from pdiff.context import Context
    from pdiff.data import Inputs
    from pdiff.view import Setup
    from pdiff.way import Chooser, Predicts
    from pdiff.zoo import Layout, Zoo

hookspec = pluggy.HookspecMarker("pdiff")

Register = Callable[[type["Component"]], None]
"""Takes a component class; raises ValueError when it is not fit to be one."""


@hookspec
def register_architectures(register: Register) -> None:
    """Register networks: subclasses of `pdiff.components.Architecture`.

    Example:
        from pdiff import hookimpl
        from pdiff.components import Architecture

        class Perceptron(Architecture):
            '''Two-layer perceptron.'''
            name = "perceptron"
            width: int = 16

            def build(self, *, input_shape, outputs):
                from math import prod
                from torch import nn
                first = nn.Linear(prod(input_shape), self.width)
                return nn.Sequential(nn.Flatten(), first, nn.ReLU(), nn.Linear(self.width, outputs))

        @hookimpl
        def register_architectures(register):
            register(Perceptron)
    """


@hookspec
def register_datasets(register: Register) -> None:
    """Register datasets: subclasses of `pdiff.components.Dataset`.

    Example:
        from pdiff import hookimpl
        from pdiff.components import Dataset

        class Blobs(Dataset):
            '''Two noisy points in the plane.'''
            name = "blobs"

            def load(self, ctx):
                import torch
                from pdiff.data import DatasetSplits, TensorSplit
                y = torch.arange(300) % 2
                x = torch.randn(300, 2, generator=ctx.generator("blobs")) + 3.0 * y[:, None]
                splits = [TensorSplit(x[part], y[part]) for part in torch.arange(300).split(100)]
                return DatasetSplits(*splits, input_shape=(2,), outputs=2)

        @hookimpl
        def register_datasets(register):
            register(Blobs)
    """


@hookspec
def register_tasks(register: Register) -> None:
    """Register tasks: subclasses of `pdiff.components.Task`.

    Example:
        from pdiff import hookimpl
        from pdiff.components import Task

        class Ordinal(Task):
            '''Regression on class numbers, rounded to predict.'''
            name = "ordinal"
            metric = "accuracy"

            def loss(self, model, batch):
                return (model(batch.inputs)[:, 0] - batch.targets).square().mean()

            def predict(self, model, inputs):
                return model(inputs)[:, 0].round()

            def wrong(self, predictions, targets):
                return predictions != targets

            def score(self, predictions, targets):
                return 1 - self.wrong(predictions, targets).double().mean(dim=1)

        @hookimpl
        def register_tasks(register):
            register(Ordinal)
    """


@hookspec
def register_selectors(register: Register) -> None:
    """Register selectors: subclasses of `pdiff.components.Selector`.

    Example:
        from pdiff import hookimpl
        from pdiff.components import Selector

        class Biases(Selector):
            '''Every bias.'''
            name = "biases"

            def select(self, model):
                return [key for key, _ in model.named_parameters() if key.endswith("bias")]

        @hookimpl
        def register_selectors(register):
            register(Biases)
    """


@hookspec
def register_collectors(register: Register) -> None:
    """Register collectors: subclasses of `pdiff.components.Collector`.

    Example:
        from pdiff import hookimpl
        from pdiff.components import Collector

        class Jitter(Collector):
            '''Noisy copies of the base network, for trying things out.'''
            name = "jitter"
            count: int = 60

            def collect(self, model, *, data, task, layout, bench, ctx):
                import torch
                from pdiff.zoo import Zoo
                base = layout.vector(model.state_dict())
                noise = torch.randn(self.count, layout.dim, generator=ctx.generator("jitter"))
                rows = [{"run": 0, "step": i, "metrics": {}} for i in range(self.count)]
                return Zoo(base + 0.01 * noise, layout, dict(model.state_dict()), rows)

        @hookimpl
        def register_collectors(register):
            register(Jitter)
    """


@hookspec
def register_encoders(register: Register) -> None:
    """Register what makes conditions: subclasses of `pdiff.components.Encoder`.

    Example:
        from pdiff import UserError, hookimpl
        from pdiff.components import Encoder

        class Clock(Encoder):
            '''A label of a dozen, as its place on the face of a clock.'''
            name = "clock"
            reads = ("condition", "label")

            def encode(self, about, known, bench, ctx):
                import torch
                angle = torch.tensor([what["label"] for what in about]) * torch.pi / 6
                return torch.stack([angle.sin(), angle.cos()], dim=1)

            def read(self, asked, known, bench):
                label = next(iter(asked.values()))
                if label not in map(str, range(12)):
                    raise UserError(f"label = {label!r}: a clock has 0 to 11; ask for one of them")
                return {"label": int(label)}

        @hookimpl
        def register_encoders(register):
            register(Clock)
    """


@hookspec
def register_transforms(register: Register) -> None:
    """Register steps on a zoo, or on samples: subclasses of `pdiff.components.Transform`.

    Example:
        from pdiff import hookimpl
        from pdiff.components import Transform

        class EverySecond(Transform):
            '''Every second checkpoint.'''
            name = "every_second"

            def zoo(self, zoo, bench, ctx):
                return zoo.subset(range(0, len(zoo), 2))

        @hookimpl
        def register_transforms(register):
            register(EverySecond)
    """


@hookspec
def register_backbones(register: Register) -> None:
    """Register codecs and denoisers: subclasses of `pdiff.components.Codec` and `pdiff.components.Denoiser`.

    Example:
        from pdiff import hookimpl
        from pdiff.components import Codec
        from pdiff.components import Denoiser

        class Tenth(Codec):
            '''Every tenth number of a vector; the others are taken to be as it.'''
            name = "tenth"

            def build(self, *, dim, layout=None):
                import torch
                from torch import nn

                class Net(nn.Module):
                    latent_dim = len(range(0, dim, 10))

                    def encode(self, x):
                        return x[:, ::10]

                    def decode(self, z):
                        return z.repeat_interleave(10, dim=1)[:, :dim]

                return Net()

        class Tiny(Denoiser):
            '''One hidden layer; the step is one more input.'''
            name = "tiny"
            width: int = 64

            def build(self, *, dim, condition_dim=0, layout=None):
                import torch
                from torch import nn

                class Net(nn.Sequential):
                    def forward(self, z, t, condition=None):
                        return super().forward(torch.cat([z, t[:, None] / 1000], dim=1))

                return Net(nn.Linear(dim + 1, self.width), nn.SiLU(), nn.Linear(self.width, dim))

        @hookimpl
        def register_backbones(register):
            register(Tenth)
            register(Tiny)
    """


@hookspec
def register_methods(register: Register) -> None:
    """Register methods: subclasses of `pdiff.components.Method`.

    Example:
        from pdiff import hookimpl
        from pdiff.components import Generator
        from pdiff.components import Method

        class Bootstrap(Method):
            '''Checkpoints drawn again at random: the copy that any generator should beat.'''
            name = "bootstrap"

            def fit(self, zoo, bench, ctx):
                return Draws(zoo)

            def load(self, tensors, zoo, bench, ctx):
                return Draws(zoo)

        class Draws(Generator):
            def __init__(self, zoo):
                super().__init__()
                self.zoo = zoo

            def sample(self, count, bench, ctx, condition_MC=None):
                import torch
                return self.zoo.theta_ND[torch.randint(len(self.zoo), (count,), generator=ctx.generator("draw"))]

        @hookimpl
        def register_methods(register):
            register(Bootstrap)
    """


@hookspec
def register_evaluators(register: Register) -> None:
    """Register evaluators: subclasses of `pdiff.components.Evaluator`.

    Example:
        from pdiff import hookimpl
        from pdiff.components import Evaluator

        class Norm(Evaluator):
            '''Mean length of the parameter vectors.'''
            name = "norm"
            columns = (("norm", "mean", ".2f"),)

            def evaluate(self, view, ctx):
                return {"networks": {
                    source: {"mean": float(theta_MD.norm(dim=1).mean())} for source, theta_MD in view.theta.items()
                }}

        @hookimpl
        def register_evaluators(register):
            register(Norm)
    """


@hookspec
def register_readers(register: Register) -> None:
    """Register what tells a property of networks from their weights: subclasses of `pdiff.components.WeightReader`.

    Example:
        from pdiff import hookimpl
        from pdiff.components import WeightReader

        class Norm(WeightReader):
            '''A straight line through the weights' norm.'''
            name = "norm"

            def fit(self, theta_ND, value_N, bench, ctx):
                import numpy as np
                line = np.polyfit(theta_ND.norm(dim=1).double().numpy(), value_N.numpy(), 1)
                return Line(line)

        class Line:
            def __init__(self, line):
                self.line = line

            def read(self, theta_MD, bench):
                return self.line[0] * theta_MD.norm(dim=1).double() + self.line[1]

        @hookimpl
        def register_readers(register):
            register(Norm)
    """


@hookspec
def register_reports(register: Register) -> None:
    """Register reports: subclasses of `pdiff.components.Report`.

    Example:
        from pdiff import hookimpl
        from pdiff.components import Report

        class Csv(Report):
            '''The summary table as comma-separated values.'''
            name = "csv"

            def render(self, view, out):
                head, rows = view.table()
                path = out / "summary.csv"
                path.write_text("\\n".join(",".join(row) for row in [head, *rows]) + "\\n")
                return [path]

        @hookimpl
        def register_reports(register):
            register(Csv)
    """


@hookspec
def register_trackers(register: Register) -> None:
    """Register trackers: subclasses of `pdiff.components.Tracker`.

    Example:
        from pdiff import hookimpl
        from pdiff.components import Tracker

        class Diary(Tracker):
            '''A line for each stage, in a file.'''
            name = "diary"
            path: str = "diary.txt"

            def begin(self, *, run, recipe, folder, stages):
                folder.mkdir(parents=True, exist_ok=True)
                return Following(folder / self.path)

        class Following:
            def __init__(self, path):
                self.path = path

            def write(self, line):
                with open(self.path, "a") as file:
                    file.write(line + "\\n")

            @hookimpl
            def stage_finished(self, stage, seconds):
                self.write(f"{stage}: {seconds:.1f} s")

            @hookimpl
            def run_finished(self, failure):
                self.write(failure or "done")

        @hookimpl
        def register_trackers(register):
            register(Diary)
    """


@hookspec
def register_engines(register: Register) -> None:
    """Register engines, which run the workers of `pdiff sweep`: subclasses of `pdiff.components.Engine`.

    Example:
        from pdiff import hookimpl
        from pdiff.components import Engine, Job, Launcher

        class Nice(Engine):
            '''Processes on this machine that let others go first.'''
            name = "nice"
            by: int = 10

            def open(self, folder):
                return Niced(self.by)

        class Niced(Launcher):
            def __init__(self, by):
                self.by = by

            def start(self, command, number, env):
                import os
                import subprocess
                return Process(subprocess.Popen(["nice", f"-n{self.by}", *command], env={**os.environ, **env}))

        class Process(Job):
            def __init__(self, process):
                self.process = process

            def ended(self):
                code = self.process.poll()
                return "" if code == 0 else None if code is None else f"exit code {code}"

            def stop(self):
                self.process.terminate()
                self.process.wait()

        @hookimpl
        def register_engines(register):
            register(Nice)
    """


@hookspec
def register_commands(app: typer.Typer) -> None:
    """Add commands to the `pdiff` program, which is a Typer app.

    Example:
        from pdiff import hookimpl

        @hookimpl
        def register_commands(app):
            @app.command()
            def hello(name: str = "world"):
                '''Say hello.'''
                print(f"hello {name}")
    """


@hookspec(firstresult=True)
def complete_recipe(given: dict[str, Any]) -> dict[str, object] | None:
    """Return the tables of a recipe for what a caller of `pdiff.run` or `pdiff.open_run` hands over, or None.

    Of several plugins the first that returns something is taken. What it raises reaches the caller.

    Args:
        given: `recipe` (its tables so far, which may hold components), `out` (folder of results), `complete` (whether
            tables that are missing get defaults), and of `architecture`, `data`, `checkpoints`, `task`, `method` and
            `selector` those that were given, whatever they are.

    Example:
        from pdiff import hookimpl

        @hookimpl
        def complete_recipe(given):
            if given.get("data") == "nothing but zeros":
                return given["recipe"] | {"dataset": {"name": "zeros"}}
    """


@hookspec
def align_networks(
    model: nn.Module, inputs: Inputs, layout: Layout, reference_D: Tensor, ctx: Context
) -> Callable[[Tensor, Tensor | None], Tensor] | None:
    """Return what brings networks (theta_MD, to_MD) nearest to others without changing a function, or None.

    It is what `Bench.align` does; of several plugins the first that returns something is taken.

    Args:
        model: a network of the run's architecture.
        inputs: those of two examples, on the CPU; see `pdiff.data.Inputs`.
        layout: the map between state-dict entries and columns of theta.
        reference_D: the network to come near to where to_MD, of each network one that was brought near, is None.
        ctx: of this purpose; its seed is the same every time.

    Example:
        from pdiff import hookimpl

        @hookimpl
        def align_networks(model, inputs, layout, reference_D, ctx):
            def signs(theta_MD, to_MD):
                return theta_MD  # a network whose hidden units have no order to change

            return signs if layout.dim == 1 else None
    """


@hookspec
def choose_ways(model: nn.Module, layout: Layout, task: Predicts, steady: bool) -> Chooser | None:
    """Return what finds a quick way to run many networks that differ in the selected entries alone, or None.

    It changes how soon predictions come, and never what they are, but for rounding. Of several plugins the first that
    returns something is taken; without any, networks are run one at a time.

    Args:
        model: holds the anchor; its selected entries may be overwritten.
        layout: the map between state-dict entries and columns of theta.
        task: what is predicted.
        steady: the way must follow from shapes alone, and never from a clock.

    Example:
        from pdiff import hookimpl
        from pdiff.way import OneAtATime

        @hookimpl
        def choose_ways(model, layout, task, steady):
            return OneAtATime(model, layout, task) if steady else None
    """


@hookspec
def render_samples(recipe: Setup, zoo: Zoo, theta_MD: Tensor, bench: Bench, ctx: Context, folder: Path) -> None:
    """Write pictures of what newly drawn networks show, where they show anything (`pdiff sample --render`).

    Args:
        recipe: the run's task, dataset, architecture and collector.
        zoo: the checkpoints in use.
        theta_MD: the networks that were drawn, `[M, D]`.
        bench: the services of the run.
        ctx: device, progress and data folder.
        folder: where the networks lie, and the pictures go.

    Example:
        from pdiff import hookimpl

        @hookimpl
        def render_samples(theta_MD, folder):
            lengths = theta_MD.norm(dim=1)
            (folder / "lengths.txt").write_text("\\n".join("*" * round(float(length)) for length in lengths))
    """


@hookspec
def stage_started(stage: str, key: str, run: str, config: dict[str, Any]) -> None:
    """Observe that a stage begins to be computed (not called for a stage that is taken from the store).

    Args:
        stage: `train`, `collect`, `zoo`, `fit`, `sample`, `predict`, `measure` or `evaluate`.
        key: the stage's key in the store.
        run: the run's name, `<recipe>-<key>`.
        config: what the key was made from.

    Example:
        from pdiff import hookimpl

        @hookimpl
        def stage_started(stage, key, run, config):
            print("begins:", stage)
    """


@hookspec
def stage_progress(stage: str, key: str, what: str, step: int, values: dict[str, float]) -> None:
    """Observe a step of a training loop inside a stage, with its loss; called about every second, and at its end.

    `what` is the loop: a stage may have several, each of which counts its steps anew.

    Example:
        from pdiff import hookimpl

        @hookimpl
        def stage_progress(stage, key, step, values):
            print(stage, step, values)
    """


@hookspec
def stage_finished(stage: str, key: str, seconds: float) -> None:
    """Observe that a stage was computed and stored.

    Example:
        from pdiff import hookimpl

        @hookimpl
        def stage_finished(stage, key, seconds):
            print("ends:", stage, f"{seconds:.1f} s")
    """


@hookspec
def run_finished(run: str, folder: Path, scores: dict[str, Any], files: list[Path], failure: str) -> None:
    """Observe that a run has ended, also one whose stages were all in the store.

    `scores` are what `scores.json` holds, `files` the reports'; where the run failed there are none of either, and
    `failure` says why in a line, else it is empty.

    Example:
        from pdiff import hookimpl

        @hookimpl
        def run_finished(run, scores, failure):
            print("run", run, failure or f"gave {len(scores['networks'])} populations")
    """
