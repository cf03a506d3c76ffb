"""A classifier of scikit-learn's digits, trained alike each time, whose hidden layer says how digits look."""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pdiff.training.loop import threads_for

SIDE, STEPS, RATE, DECAY = 8, 300, 5e-3, 1e-2
HELD_OUT = 500
"""The last so many digits, the data set's test split, are not learnt."""


class DigitFeatures(nn.Module):
    """From images in -1..1, averaged to one grey channel of 8 x 8, to `width` features."""

    def __init__(self, width: int):
        super().__init__()
        classifier = _classifier(width)
        classifier.load_state_dict(_trained(width))
        self.hidden = classifier[:-1]

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.hidden(F.adaptive_avg_pool2d(x_BCHW.mean(dim=1, keepdim=True), SIDE).flatten(1))


def _classifier(width: int) -> nn.Sequential:
    pixels, between = SIDE * SIDE, 2 * width
    first, second = nn.Linear(pixels, between), nn.Linear(between, width)
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.Linear(width, 10))


@functools.lru_cache(maxsize=2)
@torch.enable_grad()
def _trained(width: int) -> dict[str, Tensor]:
    """Return the classifier's state dict; all digits at once, on one thread, so that the bytes are the same."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    x = torch.from_numpy(pixels[:-HELD_OUT] / 8 - 1).float()
    y = torch.from_numpy(labels[:-HELD_OUT]).long()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = _classifier(width)
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=DECAY)
    with threads_for(net, 1), torch.autocast("cpu", enabled=False):
        for _ in range(STEPS):
            optimizer.zero_grad()
            F.cross_entropy(net(x), y).backward()
            optimizer.step()
    return {key: value.detach() for key, value in net.state_dict().items()}
