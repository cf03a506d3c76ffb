"""Parts of a report."""

from __future__ import annotations

from pdiff.results.shown import Showing
from pdiff_plugins.reports.figures import every_figure
from pdiff_plugins.reports.findings import findings

RECIPE = """
seed = 3
protocol = "paper"
dataset = { name = "digits", validation = 0.0, image_size = 8 }
task = { name = "classification" }
architecture = { name = "mlp_mini" }
selector = { name = "entire" }
train = { epochs = 2, lr = 3e-3 }
collect = { name = "trajectory", count = 12, lr = 3e-3, batch_size = 64 }
baseline = [{ name = "soup" }, { name = "gaussian", spreads = [1.0, 0.3] }, { name = "constant" }]
sample = { count = 9, baseline_count = 8 }
evaluate = [{ name = "accuracy" }, { name = "similarity" }, { name = "distance" }, { name = "denoising", points = 4 }]
[method]
name = "pdiff"
steps = 70
batch_size = 8
sampler = "ddim"
sampling_steps = 10
codec = { name = "pca", latent = 4 }
[[expect]]
source = "Table <1>"
original = { best = 61.25 }
similarity = { oo = 0.875 }
"""
ALL = ["score_similarity", "score", "similarity", "distance", "denoising", "parameters", "map", "training"]


def showing(evaluators):
    return Showing({evaluator.name: evaluator for evaluator in evaluators}, lambda line: None)


def figures(view):
    """Return all figures of a report, drawn without a fault."""
    shown = showing(view.evaluators.values())
    drawn = every_figure(view, shown)
    assert not shown.faults
    return drawn


def said(scores, evaluators):
    """Return all sentences of a report, the headline first, said without a fault."""
    shown = showing(evaluators)
    sentences = findings(shown, scores)
    assert not shown.faults
    return sentences
