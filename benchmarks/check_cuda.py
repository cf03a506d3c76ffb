"""Everything that is claimed of a GPU, in one call: results against the CPU, times against their bars, idle time.

    python benchmarks/check_cuda.py [--quick]

Prints a table of checks, then the other benchmarks on the device. Ends with status 1 where a check fails.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from common import Idle, finish, header

import pdiff
from pdiff.context import Context
from pdiff.engine.bench import predictor_of
from pdiff.plugins.discovery import registry
from pdiff.running.device import device_for, placed
from pdiff.zoo import Layout, Zoo
from pdiff_plugins.images.classification import Classification
from pdiff_plugins.images.splits import ImageSplit, Transform
from pdiff_plugins.selectors import LastNorms

QUICKSTART = Path(__file__).parent.parent / "recipes" / "quickstart.toml"
FAILED: list[str] = []


def row(what: str, value: float, bar: float, least: bool = False, unit: str = "") -> None:
    good = value >= bar if least else value <= bar
    FAILED.extend([] if good else [what])
    sign = ">=" if least else "<="
    print(f"| {what} | {value:.4g} {unit} | {sign} {bar:g} | {'ok' if good else 'NO'} |", flush=True)


def timed(device: torch.device, work: Callable[[], object]) -> float:
    finish(device)
    start = time.perf_counter()
    work()
    finish(device)
    return time.perf_counter() - start


def busy(device: torch.device, work: Callable[[], object]) -> float:
    """Return the share of the time in which the device runs a kernel."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        seconds = timed(device, work)
    return sum(event.self_device_time_total for event in profiler.key_averages()) / 1e6 / seconds


def against_the_cpu() -> None:
    """Run quickstart on both, in float32, and compare."""
    with tempfile.TemporaryDirectory() as folder:
        runs = {}
        for device in ("cpu", "cuda", "cuda again"):
            values = {"run.device": device.split()[0], "run.out": f"{folder}/{device}", "run.precision": "float32"}
            runs[device] = pdiff.run(QUICKSTART, set=values, quiet=True)
        cpu, cuda, again = runs.values()
        same = all(cuda.theta(source).equal(again.theta(source)) for source in cuda.sources)
        row("quickstart twice on the device: same bytes", float(same), 1, least=True)
        first = float((cuda.theta("original")[0] - cpu.theta("original")[0]).abs().max())
        row("first checkpoint, largest difference to the CPU's", first, 1e-2)
        for source in ("original", "pdiff"):
            ours, theirs = (run.scores["networks"][source]["accuracy"]["mean"] for run in (cuda, cpu))
            row(f"mean accuracy of {source}, difference to the CPU's", abs(ours - theirs), 0.02)


def resnet18(device: torch.device, count: int) -> tuple[torch.nn.Module, Zoo]:
    """Return a ResNet-18 and a zoo of its last two norm layers: a random walk around it."""
    found, values = registry().find("architecture", "resnet18")
    torch.manual_seed(0)
    model = placed(found(**values).build(input_shape=(3, 224, 224), outputs=100), device).eval()
    layout = Layout.of(model, LastNorms(n=2).select(model))
    theta_ND = layout.vector(model.state_dict()) + 0.01 * torch.randn(count, layout.dim).cumsum(dim=0)
    anchor = {key: value.cpu() for key, value in model.state_dict().items()}
    return model, Zoo(theta_ND, layout, anchor, [{"run": 0, "step": i, "metrics": {}} for i in range(count)])


def the_cell(device: torch.device, quick: bool) -> None:
    """Fit the paper's p-diff to 300 x 2,048 numbers and draw 200 networks."""
    _, zoo = resnet18(device, 300)
    found, values = registry().find("method", "pdiff_paper")
    steps = 100 if quick else 1000
    method = found.model_validate(values | {"steps": steps, "codec": {"name": "conv1d", "steps": steps // 2}})
    bench, ctx = Idle(zoo), Context(seed=0, device=device, precision="bfloat16")
    generators = []
    row(
        "ResNet-18 cell: codec and diffusion",
        timed(device, lambda: generators.append(method.fit(zoo, bench, ctx))),
        55,
        unit="s",
    )
    row("ResNet-18 cell: 200 samples", timed(device, lambda: generators[0].sample(200, bench, ctx)), 5, unit="s")
    row("device busy while sampling", busy(device, lambda: generators[0].sample(200, bench, ctx)), 0.8, least=True)
    short = found.model_validate(values | {"steps": 200, "codec": {"name": "conv1d", "steps": 200}})
    row("device busy while fitting", busy(device, lambda: short.fit(zoo, bench, ctx)), 0.8, least=True)


def the_evaluation(device: torch.device, quick: bool) -> None:
    """Run 1,401 ResNet-18 on 10,000 images at 224 pixels."""
    networks, examples = (100, 1000) if quick else (1401, 10_000)
    model, zoo = resnet18(device, networks)
    images = torch.randint(256, (examples, 3, 32, 32), dtype=torch.uint8)
    split = ImageSplit(images, torch.zeros(examples, dtype=torch.long), Transform(224, (0.5,) * 3, (0.25,) * 3))
    ctx, task = Context(seed=0, device=device), Classification()
    found = []
    work = lambda: found.append(predictor_of(model, zoo.layout, task, ctx).predict(zoo.theta_ND, split, ctx, "all"))  # noqa: E731
    row(f"{networks} ResNet-18 on {examples} images", timed(device, work), 300, unit="s")
    few = ImageSplit(images[:200], split.targets[:200], split.transform)
    cpu = Context(seed=0, batch_size=100)
    theirs = predictor_of(model.cpu(), zoo.layout, task, cpu).predict(zoo.theta_ND[:4], few, cpu, "cpu")
    row("predictions that differ from the CPU's", float((theirs != found[0][:4, :200]).float().mean()), 0.01)


def the_second_device() -> None:
    """Run quickstart on the second device, where there is one."""
    if torch.cuda.device_count() < 2:
        print("| quickstart on cuda:1 | | | there is one device |", flush=True)
        return
    with tempfile.TemporaryDirectory() as folder:
        runs = [
            pdiff.run(QUICKSTART, set={"run.device": device, "run.out": f"{folder}/{device}"}, quiet=True)
            for device in ("cuda:0", "cuda:1")
        ]
        same = all(runs[0].theta(source).equal(runs[1].theta(source)) for source in runs[0].sources)
        row("quickstart on cuda:1: the bytes of cuda:0", float(same), 1, least=True)
        device_for("cuda:0")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the work, to see that it runs")
    quick = parser.parse_args().quick
    device = device_for("cuda")
    header(device, "check", "value", "bar", "")
    against_the_cpu()
    the_second_device()
    the_cell(device, quick)
    the_evaluation(device, quick)
    for name in ("population", "sampling", "overlap", "seeds", "training_step", "memory"):
        print(f"\n{name}\n", flush=True)
        __import__(name).main(["--device", "cuda"])
    if FAILED:
        sys.exit("failed: " + "; ".join(FAILED))


if __name__ == "__main__":
    main()
