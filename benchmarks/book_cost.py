"""What the paper's 94 cells cost on a CPU and on GPUs, by a model: operations over rates, and workers over the graph.

    python benchmarks/book_cost.py [--seeds 5] [--workers 1 8 64] [--parts] [--in-turn]

The graph is what `Plan` says of every recipe and seed, without data; a stage that several cells have is one. Operations
are counted on the meta device. Rates of the CPU are measured (networks now, the paper's codec and denoiser and the
default's step on 21 November 2026, see README.md); those of the GPU are assumed. `--parts`: by
kind of stage and by table, too.
"""

from __future__ import annotations

import argparse
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from operations import DATA, GPU, Machine, Work, codec_step, cpu, denoiser_pass, network_of
from schedule import Task, chain, simulate

from pdiff.components import Codec, Method
from pdiff.engine.plan import Plan
from pdiff.recipe.loading import read_tables, recipe_of
from pdiff.recipe.tables import Recipe
from pdiff.view import ORIGINAL
from pdiff_plugins.book.variants import efficient as brief

AWAY = {"run.data": "nowhere"}
"""No folder of data, so that nothing is read of one."""
RECIPES = Path(__file__).parent.parent / "recipes" / "paper"
FILES = {"food101", "flowers102", "oxford_pets", "imagenet", "coco_detection", "coco_segmentation"}
"""Read from images' files at every pass; the others lie in memory."""
COCO_AND_DDPM = {"table10", "table11", "table12"}
ONE = ("base", "soup", "constant")
"""Sources of one network."""
PATHS, NOISY, BESIDE, LIKELY = 5 * 21, 16 * 6, 32, 2_000
"""Networks of `denoising`; of the audit's noise; of its `outside`, of a source; examples of its likelihoods."""


class Costs:
    """What the stages of a recipe do."""

    def __init__(self, recipe: Recipe, plan: Plan):
        self.recipe, self.plan = recipe, plan
        self.train_examples, self.test, _ = DATA[recipe.dataset.name]
        side = getattr(recipe.dataset, "image_size", None) or 32
        self.network = network_of(recipe.architecture, recipe.selector, recipe.task, recipe.dataset.name, side)
        self.files = recipe.dataset.name in FILES

    def _images(self, count: float) -> float:
        return count if self.files else 0.0

    def train(self) -> list[Work]:
        asked, whole = self.recipe.train, self.network.whole
        steps = asked.epochs * self.train_examples / asked.batch_size
        seen = asked.epochs * (self.train_examples + self.test)
        operations = asked.epochs * whole * (3 * self.train_examples + self.test)
        return [Work("network", operations, steps, self._images(seen))]

    def collect(self) -> list[Work]:
        asked = self.recipe.collect
        per_epoch = max(2, self.train_examples // asked.batch_size)
        steps = asked.saved_steps(per_epoch)[-1]
        images = steps * asked.batch_size
        step = Work("network", images * (self.network.whole + 2 * self.network.suffix), steps, self._images(images))
        return [step, self.predict(asked.count)]

    def predict(self, networks: int, share: float = 1.0) -> Work:
        """Return a pass of networks over the test split; `share`: of its examples."""
        each = self.network.whole - self.network.suffix + networks * self.network.suffix
        return Work("network", share * self.test * each, 0, self._images(share * self.test))

    def fit(self, method: Method) -> list[Work]:
        name = type(method).name
        if name == "pdiff":
            return self._fit_pdiff(method)
        if name == "vae":
            step = codec_step(_plain(method.codec), self.network.dim)
            return [Work("codec", method.steps * method.batch_size * step, method.steps)]
        return [Work("default", 0, 3_000)] if name.startswith(("s_kde", "sane")) else []

    def _fit_pdiff(self, method: Any) -> list[Work]:
        works, kind = [self.predict(16)], "denoiser" if method.denoiser.name == "conv1d" else "default"
        if "steps" in type(method.codec).model_fields:
            batch, step = method.codec.batch_size, codec_step(_plain(method.codec), self.network.dim)
            works.append(Work("codec", method.codec.steps * batch * step, method.codec.steps))
        step = 3 * method.batch_size * denoiser_pass(method.denoiser, method.codec.latent)
        return [*works, Work(kind, method.steps * step, method.steps)]

    def sample(self, source: str, count: int) -> list[Work]:
        method: Any = self.plan.methods[source]
        if type(method).name != "pdiff":
            return []
        steps = method.sampling_steps or method.timesteps
        each = denoiser_pass(method.denoiser, method.codec.latent)
        return [Work("denoiser" if method.denoiser.name == "conv1d" else "default", steps * count * each, 0)]

    def evaluate(self, name: str, counts: dict[str, int]) -> list[Work]:
        if name == "denoising":
            return [self.predict(PATHS), *self.sample(self.plan.method, 5)]
        if name != "audit":
            return []
        likely = [self.predict(count, min(1.0, LIKELY / self.test)) for count in counts.values()]
        return [self.predict(NOISY), *likely, *(self.predict(min(BESIDE, n)) for n in counts.values() if n > 1)]


def _plain(codec: Any) -> Codec:
    """Return a codec of the same network: cells differ in how they train it."""
    return type(codec)(latent=codec.latent)


def stages(recipe: Recipe, in_turn: bool) -> Iterator[tuple[str, str, list[Work], list[str]]]:
    """Yield (name, kind, work, needs) of all stages of a recipe, predictions too, in an order of theirs."""
    plan = Plan(recipe)
    costs, counts = Costs(recipe, plan), {ORIGINAL: recipe.collect.count}
    yield plan.train.folder_name, "train", costs.train(), []
    yield plan.collect.folder_name, "collect", costs.collect(), [plan.train.folder_name]
    zoo = plan.zoo.folder_name
    if plan.zoo != plan.collect:
        counts[ORIGINAL] = recipe.zoo[0].count
        yield zoo, "zoo", [], [plan.collect.folder_name]
    for source, method in plan.methods.items():
        fit, sample = plan.fit(source).folder_name, plan.sample(source)
        kind = "method" if source == plan.method else "baseline"
        counts[source] = 1 if type(method).name in ONE else sample.config["count"]
        yield fit, f"fit {kind}", costs.fit(method), [zoo]
        yield sample.folder_name, f"sample {kind}", costs.sample(source, counts[source]), [fit]
    before = [zoo, *(plan.sample(source).folder_name for source in plan.methods)]
    for source in plan.methods:
        name, sampled = plan.predict(source, "test").folder_name, plan.sample(source).folder_name
        yield name, "predict", [costs.predict(counts[source])], before if in_turn else [sampled]
        before = [*before, name]
    for evaluator in recipe.evaluate:
        kind = f"evaluate {evaluator.name}"
        needs = before[: 1 + len(plan.methods)] if evaluator.name == "denoising" else before
        yield plan.evaluate(evaluator).folder_name, kind, costs.evaluate(evaluator.name, counts), needs


@dataclass(frozen=True)
class Named:
    """A stage that is there once, however many cells need it."""

    kind: str
    table: str
    works: Sequence[Work]
    needs: Sequence[str]
    cell: int


def graph(seeds: int, efficient: bool, in_turn: bool = False) -> dict[str, Named]:
    """Return all different stages, by name, each behind what it needs."""
    different: dict[str, Named] = {}
    for number, path in enumerate(sorted(RECIPES.rglob("*.toml"))):
        tables = brief(read_tables(path)) if efficient else read_tables(path)
        for seed in range(seeds):
            recipe = recipe_of(tables, path, {"seed": seed} | AWAY)
            for name, kind, works, needs in stages(recipe, in_turn):
                named = Named(kind, path.parent.name, works, needs, number * seeds + seed)
                different.setdefault(name, named)
    return different


def told(seconds: float) -> str:
    hours, days = seconds / 3_600, seconds / 86_400
    return f"{hours:.1f} h" if hours < 48 else f"{days:.1f} d" if days < 100 else f"{days:,.0f} d"


def row(what: str, named: dict[str, Named], machine: Machine, workers: Sequence[int]) -> None:
    """Print what so many workers take: when the last is done, and the share of their time in which they compute."""
    tasks = {name: Task(machine.seconds(each.works), tuple(each.needs), each.cell) for name, each in named.items()}
    ended = [simulate(tasks, count) for count in workers]
    cells = " | ".join(f"{told(each.makespan)} ({each.utilisation:.0%})" for each in ended)
    print(f"| {what} | {len(tasks):,} | {told(chain(tasks))} | {cells} |", flush=True)


def parts_of(named: dict[str, Named], machines: Sequence[Machine], by: str) -> None:
    """Print a row for each kind of stage, or each table: how many stages, and the time on each machine."""
    rows: dict[str, list[float]] = defaultdict(lambda: [0.0] * (1 + len(machines)))
    for each in named.values():
        rows[getattr(each, by)][0] += 1
        for column, machine in enumerate(machines, 1):
            rows[getattr(each, by)][column] += machine.seconds(each.works)
    print(f"\n| {by} | stages | CPU core | GPU |\n| --- | --: | --: | --: |")
    for kind, (count, *seconds) in sorted(rows.items(), key=lambda row: -row[1][1]):
        print(f"| {kind} | {count:,.0f} | " + " | ".join(map(told, seconds)) + " |")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--parts", action="store_true", help="by kind of stage and by table, too")
    parser.add_argument("--in-turn", action="store_true", help="as if one worker made all predictions of a cell")
    options = parser.parse_args(arguments)
    core = cpu()
    rates = ", ".join(f"{kind} {rate / 1e9:.0f}" for kind, rate in core.rates.items())
    print(f"a CPU core, GFLOP/s: {rates} (load {os.getloadavg()[0]:.1f}); GPU, assumed: 30 % of 100 TFLOP/s\n")
    print(f"| cells | method | worker | stages | chain | {' | '.join(map(str, options.workers))} |")
    print("| --- | --- | --- " + "| --: " * (2 + len(options.workers)) + "|")
    for method, efficient in (("paper's", False), ("default", True)):
        whole = graph(options.seeds, efficient, options.in_turn)
        most = {name: each for name, each in whole.items() if each.table not in COCO_AND_DDPM}
        for cells, named in (("all", whole), ("without tables 10 to 12", most)):
            for worker, machine in (("GPU", GPU), ("CPU core", core)):
                row(f"{cells} | {method} | {worker}", named, machine, options.workers)
        for by in ("kind", "table") if options.parts else ():
            parts_of(whole, (core, GPU), by)


if __name__ == "__main__":
    main()
