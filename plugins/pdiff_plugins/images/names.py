"""Names of the classes of published sets, in the order of their numbers."""

from __future__ import annotations

DIGITS = tuple(map(str, range(10)))
NAMES = {
    "cifar10": ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    "fashion_mnist": (
        "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
    ),
    "stl10": ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck"),
    "digits": DIGITS, "mnist": DIGITS, "svhn": DIGITS,
}  # fmt: skip
