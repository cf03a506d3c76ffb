"""False claims of the audit's interval where there is no difference, and what it finds where there is one.

    pdiff run recipes/quickstart.toml
    python benchmarks/verdict.py [RUN] [--out runs] [--repeats 1000]

Networks are real ones: Gaussians fitted to the checkpoints of a run (quickstart's, by default), and these themselves,
scored on its test split. A repeat draws other networks, and with `examples drawn` other examples, with replacement.
Beside it the interval that stood in its place before: a bootstrap of the examples, the networks held fixed.
"""

from __future__ import annotations

import argparse
import datetime
import platform
from collections.abc import Callable, Sequence
from statistics import NormalDist

import torch
from torch import Tensor

from pdiff.api import open_run
from pdiff.context import Context
from pdiff_plugins.baselines.plain import Gaussian
from pdiff_plugins.maths.crossed import difference

POOL = 8000
"""Networks drawn from each Gaussian."""
CHOSEN_FROM = 8
Pair = tuple[Tensor, Tensor]


def claims(draw: Callable[[torch.Generator], Pair], repeats: int) -> tuple[float, float, float, float]:
    """Return the shares of repeats in which zero lies outside the interval and outside the bootstrap's.

    And the interval's mean standard error beside the standard deviation that the differences have.
    """
    generator, ours, theirs = torch.Generator().manual_seed(0), 0, 0
    means, errors = [], []
    for _ in range(repeats):
        a_ME, b_NE = draw(generator)
        gap = difference(a_ME, b_NE)
        low, high = gap.interval()
        ours += low > 0 or high < 0
        gap_E = a_ME.double().mean(dim=0) - b_NE.double().mean(dim=0)
        reach = NormalDist().inv_cdf(0.975) * float(gap_E.std(correction=0)) / len(gap_E) ** 0.5  # the bootstrap's
        theirs += abs(gap.mean) > reach
        means.append(gap.mean)
        errors.append(gap.error)
    spread = float(torch.tensor(means, dtype=torch.float64).std())
    return ours / repeats, theirs / repeats, sum(errors) / repeats, spread


def some(right_PE: Tensor, count: int, generator: torch.Generator) -> Tensor:
    return right_PE[torch.randint(len(right_PE), (count,), generator=generator)]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", default="quickstart")
    parser.add_argument("--out", default="runs")
    parser.add_argument("--repeats", type=int, default=1000)
    options = parser.parse_args(arguments)
    pipeline = open_run(options.run, out=options.out).pipeline
    zoo, bench, task = pipeline.zoo, pipeline.bench, pipeline.recipe.task
    targets_E = pipeline.data.test.targets

    def right(theta_MD: Tensor) -> Tensor:
        return ~task.wrong(bench.predict(theta_MD, "test"), targets_E)

    def gaussian(spread: float) -> Tensor:
        method, ctx = Gaussian(spreads=(spread,)), Context(seed=1)
        return right(method.fit(zoo, bench, ctx).sample(POOL, bench, ctx))

    pool_PE, originals_NE, narrow_PE = gaussian(1.0), right(zoo.theta_ND), gaussian(0.9)
    share = float(pool_PE.double().mean())
    like_PE = pool_PE[(pool_PE.double().mean(dim=1) - share).abs() <= 0.5 / len(targets_E)]  # as good as all together

    def gaussians(ours: int, theirs: int) -> Callable[[torch.Generator], Pair]:
        return lambda generator: (some(pool_PE, ours, generator), some(pool_PE, theirs, generator))

    def on_others(pair: Callable[[torch.Generator], Pair], examples: int) -> Callable[[torch.Generator], Pair]:
        def draw(generator: torch.Generator) -> Pair:
            a_ME, b_NE = pair(generator)
            index_E = torch.randint(a_ME.shape[1], (examples,), generator=generator)
            return a_ME[:, index_E], b_NE[:, index_E]

        return draw

    def halves(generator: torch.Generator) -> Pair:
        first, second = originals_NE[torch.randperm(len(originals_NE), generator=generator)].chunk(2)
        return first, second

    def best_of(generator: torch.Generator) -> Pair:
        """Choose one of eight equal rivals on examples of another split, as was done before."""
        rivals = [some(pool_PE, 100, generator) for _ in range(CHOSEN_FROM)]
        index_E = torch.randperm(pool_PE.shape[1], generator=generator)
        chosen_E, test_E = index_E.chunk(2)
        rival = max(rivals, key=lambda right_NE: float(right_NE[:, chosen_E].double().mean()))
        return some(pool_PE, 200, generator)[:, test_E], rival[:, test_E]

    def one(generator: torch.Generator) -> Pair:
        return some(pool_PE, 200, generator), some(like_PE, 1, generator)

    def gain(generator: torch.Generator) -> Pair:
        return some(narrow_PE, 200, generator), some(pool_PE, 100, generator)

    truth = float(narrow_PE.double().mean()) - share
    cases = {
        "Gaussian, 200 against 100 networks": gaussians(200, 100),
        "Gaussian, 50 against 50": gaussians(50, 50),
        "two random halves of the checkpoints": halves,
        "200 against the best of eight equal ones, chosen on other examples": best_of,
        "200 against 100, 200 examples drawn": on_others(gaussians(200, 100), 200),
        "200 against 100, 2,000 examples drawn": on_others(gaussians(200, 100), 2000),
        "50 against 50, 2,000 examples drawn": on_others(gaussians(50, 50), 2000),
        "200 against one network of the mean score, 200 examples drawn": on_others(one, 200),
        "200 against one network of the mean score, 2,000 examples drawn": on_others(one, 2000),
        f"a true gain of {100 * truth:.2f} points, 200 against 100, 500 examples drawn": on_others(gain, 500),
    }
    print(f"{pipeline.name}, {len(targets_E)} test examples, seed 0; torch {torch.__version__}; "
          f"Python {platform.python_version()}; {datetime.date.today()}; {options.repeats:,} repeats\n")  # fmt: skip
    print("| case | claims | before | error, points | deviation, points |\n|---|--:|--:|--:|--:|", flush=True)
    for case, draw in cases.items():
        ours, theirs, error, spread = claims(draw, options.repeats)
        print(f"| {case} | {ours:.1%} | {theirs:.1%} | {100 * error:.3f} | {100 * spread:.3f} |", flush=True)


if __name__ == "__main__":
    main()
