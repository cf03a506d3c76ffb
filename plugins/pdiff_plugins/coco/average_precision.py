"""COCO's average precision of many networks at once: the numbers of pycocotools, without its loops over boxes.

Shapes: M networks, E images, D detections of an image in falling order of score, G true boxes of an image, T
thresholds of overlap. A detection is (x1, y1, x2, y2, score, label), score -1 where there is none; a true box is
(x1, y1, x2, y2, label, iscrowd, area), label -1 where there is none. Everything is computed in float64.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

THRESHOLDS = torch.from_numpy(np.linspace(0.5, 0.95, 10))
RECALLS = np.linspace(0.0, 1.0, 101)
AT_ONCE = 2**23
"""Overlaps that are held at a time."""
GROUPS = 8
"""Of images by their number of boxes: a few crowded ones would else make work for all."""


def average_precision(predictions_MED6: Tensor, truth_EG7: Tensor) -> Tensor:
    """Return the mean over IoU .50:.05:.95, 101 recalls and all classes that occur, `[M]`; 0 where none occurs."""
    scores = [
        _average(few, *match(few, truth_EG7, THRESHOLDS)[:2], truth_EG7)
        for few in _few(predictions_MED6, truth_EG7)
    ]  # fmt: skip
    return torch.cat(scores)


def faults(predictions_MED6: Tensor, truth_EG7: Tensor, least: float, overlap: float) -> Tensor:
    """Return which images have a missed or a false box, `[M, E]`, among detections that score `least` or more."""
    parts = []
    for few_mED6 in _few(predictions_MED6, truth_EG7):
        true, ignored, found_mETG = match(few_mED6, truth_EG7, torch.tensor([overlap], dtype=torch.float64), least)
        false = (few_mED6[..., 4] >= least) & ~true[..., 0] & ~ignored[..., 0]
        missed = _wanted(truth_EG7) & ~found_mETG[..., 0, :]
        parts.append(false.any(dim=2) | missed.any(dim=2))
    return torch.cat(parts)


def _few(predictions_MED6: Tensor, truth_EG7: Tensor) -> tuple[Tensor, ...]:
    """Split the networks into groups whose overlaps fit into memory."""
    each = predictions_MED6[0, ..., 0].numel() * truth_EG7.shape[1] // GROUPS
    return predictions_MED6.split(max(AT_ONCE // max(each, 1), 1))


def _wanted(truth_EG7: Tensor) -> Tensor:
    """Return the boxes that are to be found, `[E, G]`: those that mark no crowd."""
    return (truth_EG7[..., 4] >= 0) & (truth_EG7[..., 5] == 0)


def match(
    predictions_mED6: Tensor, truth_EG7: Tensor, thresholds_T: Tensor, least: float = 0.0
) -> tuple[Tensor, Tensor, Tensor]:
    """Return (true `[m, E, D, T]`, ignored `[m, E, D, T]`, found `[m, E, T, G]`), all bool.

    In falling order of score, a detection takes the free box of its class that it overlaps most, if it overlaps it
    enough; failing that it is ignored where it lies in a crowd of its class, which takes any number.
    """
    size, steps, boxes = predictions_mED6.shape[:3], len(thresholds_T), truth_EG7.shape[1]
    true, ignored = (torch.zeros(*size, steps, dtype=torch.bool) for _ in range(2))
    found_mETG = torch.zeros(*size[:2], steps, boxes, dtype=torch.bool)
    last_E = ((truth_EG7[..., 4] >= 0) * torch.arange(1, boxes + 1)).amax(dim=1) if boxes else torch.zeros(size[1])
    for images in last_E.argsort().tensor_split(GROUPS):
        most = int(last_E[images].max()) if len(images) else 0
        if most:
            matched = _match(predictions_mED6[:, images], truth_EG7[images, :most], thresholds_T, least)
            true[:, images], ignored[:, images], found_mETG[:, images, :, :most] = matched
    return true, ignored, found_mETG


def _match(
    predictions_mED6: Tensor, truth_EG7: Tensor, thresholds_T: Tensor, least: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Do what `match` says for images with about as many boxes."""
    truth_EG7 = truth_EG7.flip(1)  # of equal overlaps the last counts, and `max` gives the first
    overlap_mEDG = overlaps(predictions_mED6, truth_EG7, least)
    order_mEK = _candidates(overlap_mEDG, thresholds_T)
    overlap_mEKG = overlap_mEDG.take_along_dim(order_mEK[..., None], dim=2)
    crowd_EG, enough_T1 = truth_EG7[..., 5] == 1, thresholds_T[:, None]
    found_mETG = torch.zeros(*order_mEK.shape[:2], len(thresholds_T), truth_EG7.shape[1], dtype=torch.bool)
    true, ignored = (torch.zeros(*overlap_mEDG.shape[:3], len(thresholds_T), dtype=torch.bool) for _ in range(2))
    for k in range(order_mEK.shape[2]):
        close_mETG = overlap_mEKG[:, :, k, None] * (overlap_mEKG[:, :, k, None] >= enough_T1)
        best_mET, which_mET = (close_mETG * ~(found_mETG | crowd_EG[:, None])).max(dim=-1)
        hit_mET, row = best_mET > 0, order_mEK[:, :, k, None, None]
        found_mETG |= hit_mET[..., None] & (which_mET[..., None] == torch.arange(truth_EG7.shape[1]))
        aside_mET = ~hit_mET & (close_mETG * crowd_EG[:, None]).any(dim=-1)
        for status, now_mET in ((true, hit_mET), (ignored, aside_mET)):
            status.scatter_(2, row.expand(*now_mET.shape[:2], 1, now_mET.shape[2]), now_mET[:, :, None])
    return true, ignored, found_mETG.flip(-1)


def _candidates(overlap_mEDG: Tensor, thresholds_T: Tensor) -> Tensor:
    """Return the detections that overlap anything enough, in order `[m, E, K]`; K is the most that an image has."""
    near_mED = (overlap_mEDG >= thresholds_T.min()).any(dim=-1)
    most = int(near_mED.sum(dim=2).max()) if near_mED.numel() else 0
    return near_mED.int().argsort(dim=2, descending=True, stable=True)[..., :most]


def overlaps(predictions_mED6: Tensor, truth_EG7: Tensor, least: float) -> Tensor:
    """Return intersection over union `[m, E, D, G]`, over the detection's area for a crowd; 0 for another class."""
    ours, theirs = predictions_mED6.double()[:, :, :, None], truth_EG7.double()[:, None]
    sides = torch.minimum(ours[..., 2:4], theirs[..., 2:4]) - torch.maximum(ours[..., :2], theirs[..., :2])
    shared = sides.clamp_min(0).prod(dim=-1)
    area, other = ((boxes[..., 2:4] - boxes[..., :2]).prod(dim=-1) for boxes in (ours, theirs))
    union = torch.where(theirs[..., 5] == 1, area, area + other - shared)
    counts = (ours[..., 5] == theirs[..., 4]) & (ours[..., 4] >= least) & (theirs[..., 4] >= 0) & (shared > 0)
    return torch.where(counts, shared / union, 0.0)


def _average(predictions_mED6: Tensor, true: Tensor, ignored: Tensor, truth_EG7: Tensor) -> Tensor:
    """Return the average precision of each network, `[m]`."""
    labels, counts = truth_EG7[..., 4][_wanted(truth_EG7)].unique(return_counts=True)
    sums = []
    flat = (table.flatten(1, 2) for table in (predictions_mED6, true, ignored))
    for rows_R6, true_RT, ignored_RT in zip(*flat, strict=True):
        order = (-rows_R6[:, 4]).argsort(stable=True)
        order = order[rows_R6[order, 4] >= 0]
        labels_R, trues_RT, ignores_RT = (x[order].numpy() for x in (rows_R6[:, 5], true_RT, ignored_RT))
        each = [
            _class(trues_RT[labels_R == label], ignores_RT[labels_R == label], count)
            for label, count in zip(labels.tolist(), counts.tolist(), strict=True)
        ]
        sums.append(float(np.mean(each)) if each else 0.0)
    return torch.tensor(sums, dtype=torch.float64)


def _class(true_RT: np.ndarray, ignored_RT: np.ndarray, count: int) -> float:
    """Return the mean precision at all recalls and thresholds of one class, which has `count` boxes to be found."""
    hits, misses = true_RT.cumsum(axis=0, dtype=float), (~true_RT & ~ignored_RT).cumsum(axis=0, dtype=float)
    precision = hits / (hits + misses + np.spacing(1))
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    at = [np.searchsorted(recall, RECALLS, side="left") for recall in (hits / count).T]
    padded = np.vstack([precision, np.zeros((1, precision.shape[1]))])
    return float(np.mean([padded[rows, t] for t, rows in enumerate(at)]))
