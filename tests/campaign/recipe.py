"""A recipe with every stage, as small as it can be."""

from __future__ import annotations

RECIPE = """
seed = 5

[dataset]
name = "digits"
augment = "none"
[task]
name = "classification"
[architecture]
name = "mlp_mini"
hidden = [4]
[selector]
name = "entire"
[train]
epochs = 2
batch_size = 512
[collect]
name = "trajectory"
count = 6
lr = 3e-3
batch_size = 512
[[zoo]]
name = "first"
count = 5
[method]
name = "pdiff"
steps = 8
timesteps = 5
batch_size = 4
[[baseline]]
name = "noise"
scales = [0.05]
[sample]
count = 3
baseline_count = 2
[[evaluate]]
name = "accuracy"
[[evaluate]]
name = "distance"
[[report]]
name = "markdown"
[[report]]
name = "html"
"""
