"""Captures as rays: what each pixel of each view sees, and in what colour. E rays, S scenes, V views of H x W."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pdiff.data import DatasetSplits
from pdiff.errors import Faults, UserError
from pdiff_plugins.radiance.captures.lens import straight
from pdiff_plugins.radiance.captures.pictures import colours
from pdiff_plugins.radiance.captures.scene import SPLITS, Capture, View
from pdiff_plugins.radiance.rays import INPUTS, RaySplit, rays, within_ball

if TYPE_CHECKING:
    from pdiff.context import Context
    from pdiff_plugins.radiance.captures.dataset import PosedImages


def splits(options: PosedImages, scenes: Sequence[Capture], ctx: Context) -> DatasetSplits:
    """Return all scenes in the views of each split. Raises Faults that name the pictures that cannot be read."""
    faults: list[str] = []
    views = {split: _as_many([scene.views[split] for scene in scenes]) for split in SPLITS}
    left = {split: max(len(scene.views[split]) for scene in scenes) for split in SPLITS}
    cut = [f"{len(views[split][0])} of {left[split]} {split}" for split in SPLITS if len(views[split][0]) < left[split]]
    if cut:
        ctx.warn(f"dataset.root: scenes have different numbers of views; of each are used {', '.join(cut)} views")
    abouts, parts = [dict(scene.about) for scene in scenes], list[RaySplit]()
    with ctx.progress.step("pictures", sum(len(each) for of in views.values() for each in of)) as bar:
        for split in SPLITS:
            lens = views[split][0][0].lens.resized(options.side)
            targets, segments = [], []
            for scene in views[split]:
                for view in scene:
                    try:
                        targets.append(colours(view, options.side))
                        segments.append(seen_along(options, view))
                    except UserError as error:
                        faults.append(str(error))
                    bar.advance()
            if faults:
                continue
            shape = (len(views[split][0]), lens.height, lens.width)
            targets_ES3 = torch.cat(targets).view(len(scenes), -1, 3).transpose(0, 1).contiguous()
            parts.append(RaySplit(_shared(torch.cat(segments), len(scenes)), targets_ES3, abouts, shape))
    if faults:
        raise Faults(dict.fromkeys(faults))
    alike = all(part.segments.ndim == 2 for part in parts)
    train, validation, test = parts if alike else [part.of_own(len(scenes)) for part in parts]
    return DatasetSplits(train, validation, test, (INPUTS,) if alike else (len(scenes), INPUTS), 3)


def _as_many(views: Sequence[list[View]]) -> list[list[View]]:
    """Return as many views of each scene as there are of all, evenly spaced."""
    count = min(map(len, views))
    return [[each[number * len(each) // count] for number in range(count)] for each in views]


def _shared(segments: Tensor, scenes: int) -> Tensor:
    """Return `[E, S, 6]` of all scenes' rays, one scene's behind another's; `[E, 6]` where all have the same."""
    segments_SE6 = segments.view(scenes, -1, 6)
    if (segments_SE6 == segments_SE6[:1]).all():
        return segments_SE6[0]
    return segments_SE6.transpose(0, 1).contiguous()


def seen_along(options: PosedImages, view: View) -> Tensor:
    """Return the segments of a view's rays, `[H * W, 6]`. Raises UserError for a lens that cannot be undone."""
    lens = view.lens.resized(options.side)
    pose_34 = torch.from_numpy(view.pose).float()
    origin_3, direction_P3 = rays(pose_34, lens.height, lens.width, lens.focal, lens.centre, straight(lens, view.file))
    if not options.far:
        return within_ball(origin_3, direction_P3)
    return torch.cat([origin_3 + options.near * direction_P3, origin_3 + options.far * direction_P3], dim=1)
