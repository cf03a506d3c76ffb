"""Where in a vector of weights a method writes: biases, rows of the last layer, directions of a zoo."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from pdiff.errors import UserError
from pdiff.mapped import windows
from pdiff.zoo import Layout


def biases(model: nn.Module, layout: Layout, first: bool) -> Tensor:
    """Return the columns of the selected biases of linear and convolutional layers, or of the first one alone."""
    names = [f"{name}.bias" for name, module in model.named_modules() if isinstance(module, nn.Linear | _ConvNd)]
    columns = {key: entry.columns for entry in layout.entries for key in (entry.key, *entry.also)}
    chosen = [torch.arange(columns[name].start, columns[name].stop) for name in names if name in columns]
    if not chosen:
        raise UserError(
            "method multitask: the selection holds no bias of a linear or convolutional layer, which a condition "
            "could shift; select more (of adapters selector.biases = true), or take 'hypernetwork'"
        )
    return torch.cat(chosen[:1] if first else chosen)


def rows_of_classes(model: nn.Module, layout: Layout, condition_dim: int) -> Tensor:
    """Return the columns `[W, R]` of the rows of the last selected linear layer, the bias last where it is selected."""
    columns = {key: entry.columns for entry in layout.entries for key in (entry.key, *entry.also)}
    layers = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    name, layer = next(((n, m) for n, m in reversed(layers) if f"{n}.weight" in columns), ("", None))
    if layer is None:
        raise UserError("method hypernetwork: per_class writes a linear layer's rows, and the selection holds none")
    if condition_dim % layer.out_features:
        raise UserError(
            f"method hypernetwork: per_class needs a part of the condition for each of the {layer.out_features} "
            f"outputs, and conditions have {condition_dim} numbers; take another encoder, such as 'features'"
        )
    parts = [columns[key] for key in (f"{name}.weight", f"{name}.bias") if key in columns]
    return torch.cat([torch.arange(p.start, p.stop).view(layer.out_features, -1) for p in parts], dim=1)


def directions(x_ND: Tensor, basis_KD: Tensor) -> None:
    """Write the principal directions of normalised weights, each as long as its deviation, into `basis_KD`."""
    gram_NN = torch.zeros(len(x_ND), len(x_ND), dtype=torch.float64)
    for _, x_NW in windows(x_ND):
        gram_NN += x_NW.double() @ x_NW.double().T
    vector_NK = torch.linalg.eigh(gram_NN).eigenvectors.flip(1)[:, : len(basis_KD)]
    for _, x_NW, into_KW in windows(x_ND, basis_KD):
        into_KW.copy_(vector_NK.T @ x_NW.double() / len(x_ND) ** 0.5)
