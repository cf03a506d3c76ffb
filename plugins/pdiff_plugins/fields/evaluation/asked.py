"""Pictures of what networks are asked for: shapes held out, one sentence varied, between two conditions.

M networks, C numbers of a condition, H shapes held out, D parameters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pdiff.zoo import about as about_of
from pdiff_plugins.conditions.controls.control import Control
from pdiff_plugins.drawing.kept import text
from pdiff_plugins.fields.evaluation.pictures import in_rows, mosaic
from pdiff_plugins.maths.decibels import psnr

if TYPE_CHECKING:
    from pdiff.context import Context
    from pdiff.view import View
    from pdiff_plugins.fields.evaluation.pictures import Renderer

MOST = 64
"""Held-out shapes by which the best plain way is told."""
OTHERS, PLACES = 5, 6
"""Words that stand in for one, and words of a sentence that are replaced, at most."""


def sampled(view: View, source: str, condition_MC: Tensor, ctx: Context) -> Tensor | None:
    """Return a source's networks for conditions, `[M, D]`; None where it gives fewer."""
    theta_MD = view.generators[source].sample(len(condition_MC), view.bench, ctx.scope(f"ask {source}"), condition_MC)
    return theta_MD.detach().to("cpu", torch.float32) if len(theta_MD) == len(condition_MC) else None


def between(view: View, draw: Renderer, ctx: Context, count: int, side: int) -> str:
    """Return the method's networks for conditions from the first learnt network's to the last one's."""
    condition_NC = view.zoo.condition_NC
    assert condition_NC is not None
    share_M1 = torch.linspace(0, 1, count)[:, None]
    theta_MD = sampled(view, view.method, condition_NC[0] + share_M1 * (condition_NC[-1] - condition_NC[0]), ctx)
    return "" if theta_MD is None else text(mosaic(draw(theta_MD, side)[None]))


def unseen(view: View, draw: Renderer, ctx: Context, count: int) -> dict[str, Any]:
    """Return shapes held out: what they are, and their own, the method's and the best plain way's networks."""
    kept = view.zoo.holdout
    if kept is None or kept.condition_NC is None or not hasattr(view.recipe.task, "asks"):
        return {}
    abouts = [about_of(row) for row in kept.rows][:MOST]
    truth_H = draw.truth(view, abouts)
    pictures = {"truth": truth_H, "own networks": draw.like_truth(kept.theta_ND[:MOST], abouts)}
    for source in (view.method, *_plain(view)):
        theta_HD = sampled(view, source, kept.condition_NC[:MOST], ctx)
        if theta_HD is not None:
            pictures[source] = draw.like_truth(theta_HD, abouts)
    psnrs = {name: float(psnr(drawn_H / 255, truth_H / 255).mean()) for name, drawn_H in pictures.items()}
    plain = max((name for name in pictures if name in _plain(view)), key=psnrs.__getitem__, default="")
    shown = [name for name in ("truth", "own networks", view.method, plain) if name in pictures]
    titles = [name if name == "truth" else f"{name}: {psnrs[name]:.1f} dB" for name in shown]
    return {"rows": titles, "picture": text(mosaic(torch.stack([pictures[name][:count] for name in shown])))}


def _plain(view: View) -> list[str]:
    """Return the plain ways from a condition to a network; without any, all that are asked beside the method."""
    asked = [name for name, made in view.generators.items() if made.conditional and name != view.method]
    return [name for name in asked if isinstance(view.methods[name], Control)] or asked


def words(view: View, draw: Renderer, ctx: Context, side: int) -> dict[str, Any]:
    """Return the method's networks for one sentence, each of its words replaced in turn.

    The sentence is that of the first shape held out, else of the first learnt.
    """
    encoder = getattr(view.recipe, "encoder", None)
    rows = [*(view.zoo.holdout.rows if view.zoo.holdout else ()), *view.zoo.rows]
    sentence = about_of(rows[0]).get("text")
    if encoder is None or "text" not in encoder.reads or not sentence:
        return {}
    known = [about_of(row) for row in view.zoo.rows]
    texts = [each for one in known for each in (one.get("text"), *(one.get("wordings") or ())) if each]
    sentences = varied(sentence, texts)
    each = [told for row in sentences for told in row]
    others = {key: value for key, value in about_of(rows[0]).items() if key != "texts"}
    condition_MC = view.bench.encode([{**others, "text": told} for told in each])
    theta_MD = sampled(view, view.method, condition_MC, ctx)
    if theta_MD is None:
        return {}
    columns = max(map(len, sentences))
    pixels = draw(theta_MD, side).split([len(row) for row in sentences])
    return {"sentences": sentences, "picture": text(mosaic(torch.cat([in_rows(row, columns) for row in pixels])))}


def varied(sentence: str, texts: Sequence[str], others: int = OTHERS, places: int = PLACES) -> list[list[str]]:
    """Return rows of sentences, each begun by the sentence itself, in which one word is another.

    Others are those that texts of as many words have in its place: first of those that agree with the sentence in more
    of the other words, of which half have to, then the more frequent.
    """
    spoken = sentence.split()
    alike: list[dict[str, int]] = [{} for _ in spoken]
    often = Counter[tuple[int, str]]()
    for told in (each.split() for each in texts):
        if len(told) != len(spoken):
            continue
        same = [a == b for a, b in zip(spoken, told, strict=True)]
        for place, word in enumerate(told):
            agree = sum(same) - same[place]
            if not same[place] and 2 * agree >= len(spoken) - 1:
                alike[place][word] = max(agree, alike[place].get(word, 0))
                often[place, word] += 1
    rows = []
    for place, there in enumerate(alike):
        best = sorted(there, key=lambda word: (-there[word], -often[place, word], word))[:others]
        if best:
            rows.append([sentence, *(" ".join([*spoken[:place], word, *spoken[place + 1 :]]) for word in best)])
    return rows[:places] or [[sentence]]
