"""What codecs keep of checkpoints that they have not seen: principal components against token networks.

    python benchmarks/tokens.py [--runs 24] [--held 4] [--steps 2000]

Checkpoints of `mlp_mini` on digits, of runs that share their start; whole runs are held out. `seen` and `held out` are
the shares of the variance between checkpoints that are kept; the scores are means on the validation split.
"""

from __future__ import annotations

import argparse
import time

import torch
from common import header

import pdiff
from pdiff.bench import Bench
from pdiff.components import Codec
from pdiff.context import Context
from pdiff.zoo import Zoo
from pdiff_plugins.backbones.codecs import Autoencoder, Pca
from pdiff_plugins.backbones.transformers import TransformerCodec
from pdiff_plugins.maths.normalise import per_column


def collected(runs: int) -> tuple[Zoo, Bench]:
    """Return the checkpoints, and the services of their run."""
    recipe = {
        "dataset": {"name": "digits"}, "task": {"name": "classification"}, "architecture": {"name": "mlp_mini"},
        "selector": {"name": "entire"}, "train": {"epochs": 1, "lr": 1e-3, "batch_size": 64},
        "collect": {"name": "seeds", "count": runs, "steps": 600, "every": 60, "lr": 3e-3, "batch_size": 32,
                    "start": "shared"},
        "method": {"name": "pdiff", "steps": 1}, "evaluate": [{"name": "accuracy"}], "sample": {"count": 2},
    }  # fmt: skip
    run = pdiff.run(recipe | {"run": {"out": "runs/benchmark-tokens"}})
    return run.zoo, run.bench


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=24)
    parser.add_argument("--held", type=int, default=4)
    parser.add_argument("--steps", type=int, default=2000)
    options = parser.parse_args()
    zoo, bench = collected(options.runs)
    last = options.runs - options.held
    seen, held = ([n for n, row in enumerate(zoo.rows) if (row["run"] < last) == first] for first in (True, False))
    known, new = zoo.subset(seen), zoo.subset(held)
    normaliser = per_column(known)
    x_ND, new_ND = normaliser.encode(known.theta_ND), normaliser.encode(new.theta_ND)
    tokens = {"tokens": "layer", "size": 64, "width": 128, "contrast": 0.0, "noise": 0.0, "steps": options.steps}
    codecs: dict[str, Codec] = {
        "pca, 32": Pca(latent=32), f"pca, {len(seen) - 1}": Pca(latent=len(seen) - 1),
        "autoencoder, 32": Autoencoder(latent=32, steps=options.steps),
        **{f"tokens, {kind}, 8 each": TransformerCodec(mixing=kind, latent=8, **tokens)
           for kind in ("attention", "convolution", "none")},
    }  # fmt: skip
    scores = ", ".join(f"{float(bench.score(part.theta_ND).mean()):.2%}" for part in (known, new))
    print(f"{len(seen)} checkpoints, {len(held)} held out, {zoo.layout.dim} numbers; their scores: {scores}\n")
    header(torch.device("cpu"), "codec", "latent", "seen", "held out", "score, seen", "score, held out", "CPU-s")
    for name, codec in codecs.items():
        start, ctx = time.process_time(), Context(seed=0)
        torch.manual_seed(0)
        module = codec.build(dim=zoo.layout.dim, layout=zoo.layout)
        codec.fit(module, x_ND, bench, ctx)
        module.eval()
        cells = [name, str(module.latent_dim), "", "", "", "", f"{time.process_time() - start:.1f}"]
        with torch.no_grad():
            for place, x in enumerate((x_ND, new_ND)):
                back = module.decode(module.encode(x))
                cells[2 + place] = f"{1 - float((back - x).square().sum() / x.square().sum()):.3f}"
                cells[4 + place] = f"{float(bench.score(normaliser.decode(back)).mean()):.2%}"
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
