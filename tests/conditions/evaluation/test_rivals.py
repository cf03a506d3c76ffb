"""What is trained beside generated networks: one network of all classes, and training on from several starts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from pdiff.context import Context
from pdiff.data import Batch, TensorSplit
from pdiff.results.shown import Showing
from pdiff.running.snapshot import Snapshot
from pdiff_plugins.conditions.evaluation.evaluator import Conditions
from pdiff_plugins.conditions.evaluation.page import rows
from pdiff_plugins.conditions.evaluation.verdict import WHOLE
from tests.conditions.evaluation.helpers import EXAMPLES, Apart, Given, One, Parts, network, scored, view, wrong_in


class Unread(Parts):
    """Tasks that cannot be read from a network of all classes."""

    name = "parts_unread"

    def of_classes(self, log_probabilities_EK: Tensor, about: object) -> None:
        return None


@pytest.mark.parametrize("family", [Parts(), Apart()])
def test_one_network_of_all_classes_answers_every_task(family: Parts) -> None:
    options = Conditions(rival_steps=60, rival_lr=0.1, adapt=())
    scores = options.evaluate(view({"pdiff": Given(wrong_in(1))}, family), Context(seed=0))
    assert [scores["beside"][WHOLE][key] for key in ("learnt", "held_out", "hard")] == [1.0, 1.0, 1.0]
    assert 0 <= scores["class_gain"] < 0.5 and f"{WHOLE} does better than every generated one" in scores["plain"]


def test_it_is_trained_with_the_datasets_transform_as_hypernetworks_are(monkeypatch: pytest.MonkeyPatch) -> None:
    augmented, batch = [], TensorSplit.batch

    def told(split: TensorSplit, index: Tensor, device: torch.device, augment: torch.Generator | None = None) -> Batch:
        augmented.append(augment is not None)
        return batch(split, index, device, augment)

    monkeypatch.setattr(TensorSplit, "batch", told)
    Conditions(rival_steps=6, adapt=()).evaluate(view({"pdiff": Given(network)}), Context(seed=0))
    assert sum(augmented) == 6 + 3  # its own steps, and those of one for half as long


def test_rows_say_how_many_examples_they_have_learnt_from() -> None:
    seen = view({"pdiff": Given(network), "hypernetwork": Given(network, generated={"examples": 1234})})
    given = Conditions(rival_steps=10, adapt=()).evaluate(seen, Context(seed=0))
    counts = {row: each.get("seen") for row, each in (given["networks"] | given["beside"]).items()}
    assert counts["original"] == counts["pdiff"] == 20 * 5 * 20 and counts["hypernetwork"] == 1234
    assert counts[WHOLE] == 10 * EXAMPLES and counts["larger class"] is None
    seen.scores = scored(seen, given)
    (note,) = (
        note for note in Showing({"conditions": Conditions()}, print).notes(seen.scores) if "learnt from," in note
    )
    assert note.endswith(f"1,000: {WHOLE}; 1,234: hypernetwork; 2,000: original / pdiff / mean of all networks")
    head, (first, *_) = rows(seen.scores)
    assert first[head.index("examples")] == "2,000"


def test_no_network_of_all_classes_is_trained_for_what_it_cannot_answer() -> None:
    scores = Conditions(adapt=()).evaluate(view({"pdiff": Given(network)}, Unread()), Context(seed=0))
    assert WHOLE not in scores["beside"] and "class_gain" not in scores


def test_training_on_begins_where_each_start_is_and_gains_on_a_blank_one(tmp_path: Path) -> None:
    options = Conditions(rival_steps=0, adapt=(0, 1, 40), adapt_lr=(0.001, 0.1), adapted=4)
    seen = view({"pdiff": Given(wrong_in(1)), "kernel": Given(network), "soup": One()})
    scores = options.evaluate(seen, Context(seed=0, snapshot=Snapshot(tmp_path)))
    trained = scores["adapted"]
    assert trained["tasks"] == 4 and trained["steps"] == [0, 1, 40]
    starts = trained["starts"]
    assert list(starts) == ["pdiff", "kernel", "shared start"]
    assert starts["pdiff"][0] == pytest.approx(0.8) and starts["kernel"] == [1.0, 1.0, 1.0]
    blank = 1 - seen.zoo.holdout.condition_NC[:4].mean(dim=1)  # zeros answer no to everything
    assert starts["shared start"][0] == pytest.approx(float(blank.mean()))
    assert starts["pdiff"][1] < 1.0
    assert starts["shared start"][2] == pytest.approx(1.0) and starts["pdiff"][2] == pytest.approx(1.0)


def test_what_takes_no_conditions_is_not_trained_on() -> None:
    scores = Conditions(rival_steps=0, adapt=(0, 1)).evaluate(view({"soup": One()}), Context(seed=0))
    assert "adapted" not in scores and torch.isfinite(torch.tensor(scores["networks"]["soup"]["mean"]))
