"""What is said of planted cases: a control wins, the method wins, nothing can be told, the condition is not used."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pdiff.context import Context
from pdiff.results.scores import Unit
from pdiff.results.shown import Showing
from pdiff_plugins.collectors.tasks.training import TWICE
from pdiff_plugins.conditions.evaluation.evaluator import Conditions
from pdiff_plugins.conditions.evaluation.judging import Judged
from pdiff_plugins.conditions.evaluation.verdict import WHOLE, Case, alone, gains, plain, verdict
from pdiff_plugins.maths.crossed import Difference
from tests.conditions.evaluation.helpers import CLASSES, Given, network, scored, view, wrong_in, zoo

TASKS, EXAMPLES = 40, 400


def answers(level: float, seed: int, common_E: Tensor | None = None) -> Judged:
    """Draw which examples are right, tasks having levels of their own."""
    generator = torch.Generator().manual_seed(seed)
    task_T1 = 0.2 * torch.randn(TASKS, 1, generator=generator)
    noise_TE = torch.randn(TASKS, EXAMPLES, generator=generator)
    common_E = torch.randn(EXAMPLES, generator=torch.Generator().manual_seed(0)) if common_E is None else common_E
    right_TE = level + task_T1 + common_E + noise_TE > 0
    return Judged(right_TE.double().mean(dim=1), right_TE)


def case(judged: dict[str, Judged], generated: list[str], **changes: Any) -> Case:
    means = {name: float(each.score_T.mean()) for name, each in judged.items()}
    best = max(generated, key=means.__getitem__)
    known: dict[str, Any] = {
        "method": generated[0], "generated": generated, "judged": "held out", "counts": {"held out": TASKS, "hard": 0},
        "means": means, "gains": gains(judged, generated[0]), "hard_gains": {}, "used": None, "shuffled": None,
        "copies": None, "own_gain": None, "metric": "accuracy", "right": True, "unit": Unit("%"),
        "beyond": WHOLE in judged and alone(judged[WHOLE].less(judged[best]))["said"] == "better",
    }  # fmt: skip
    return Case(**known | changes)


def test_a_control_that_wins_is_named_first_and_one_without_a_generator_says_so_itself() -> None:
    judged = {
        "pdiff": answers(2.4, 1),
        "neighbours": answers(2.8, 2),
        "nearest": answers(1.0, 3),
        WHOLE: answers(3.6, 4),
    }
    known = case(judged, ["pdiff", "neighbours", "nearest"])
    said = plain(known)
    gap = judged["neighbours"].score_T.mean() - judged["pdiff"].score_T.mean()
    assert said.startswith(
        f"pdiff gives networks for unseen tasks that are right in {judged['pdiff'].score_T.mean():.2%}; "
        f"neighbours does better (by {100 * gap:.2f} points); {WHOLE} does better than every generated one "
    )
    lines = verdict(known)
    assert lines[0].startswith(f"on 40 tasks (held out), pdiff is worse than {WHOLE} (-")
    assert "neighbours" in lines[0] and lines[1].startswith("on 40 tasks (held out), pdiff is better than nearest (+")


def test_the_network_of_all_classes_is_named_where_a_generator_is_as_good() -> None:
    judged = {"pdiff": answers(2.4, 1), "hypernetwork": answers(3.61, 2), WHOLE: answers(3.6, 4)}
    said = plain(case(judged, ["pdiff", "hypernetwork"]))
    assert "hypernetwork does better" in said or f"{WHOLE} does better" in said
    assert WHOLE in said and "every generated one" not in said


def test_a_method_that_beats_every_control_is_said_to() -> None:
    judged = {"pdiff": answers(3.2, 1), "neighbours": answers(2.4, 2), "larger class": answers(0.3, 3)}
    assert plain(case(judged, ["pdiff", "neighbours"])).endswith("no control does as well")


def test_what_may_be_chance_is_no_claim() -> None:
    judged = {"pdiff": answers(2.4, 1), "neighbours": answers(2.41, 2)}
    known = case(judged, ["pdiff", "neighbours"])
    assert "it cannot be told from neighbours" in plain(known) and "may be chance" in plain(known)
    assert "not told apart from neighbours" in verdict(known)[0]


def test_without_a_difference_few_controls_are_claimed_to_differ() -> None:
    claimed = 0
    for seed in range(60):
        judged = {f"row {n}": answers(2.0, 100 * seed + n) for n in range(6)}
        claimed += any(gain["said"] for gain in gains(judged, "row 0").values())
    assert claimed <= 7  # of 60, where 5 % of such families of tests, and 3 runs, are expected


def evaluated(make: Any, **others: Any) -> dict[str, Any]:
    seen = view({"pdiff": Given(make)} | {name: Given(other) for name, other in others.items()})
    return Conditions(rival_steps=0, adapt=()).evaluate(seen, Context(seed=0))


def test_a_condition_that_is_not_used_is_said_not_to_matter() -> None:
    everybody = evaluated(lambda condition_MC: network(torch.ones_like(condition_MC)))
    assert "what is asked for makes no difference" in everybody["plain"]
    assert "the condition is not used" in "; ".join(everybody["verdict"])
    heard = evaluated(network)
    assert "what is asked for matters: networks asked for another task are right in" in heard["plain"]


def test_of_few_tasks_it_is_not_said_that_the_condition_does_not_matter() -> None:
    judged = {"pdiff": answers(2.4, 1), "nearest": answers(1.0, 3)}
    said = plain(case(judged, ["pdiff", "nearest"], used=alone(Difference(0.02, 0.02, 3.0)), shuffled=0.9))
    assert "whether what is asked for matters cannot be told (networks asked for another task: 90.00%)" in said


def test_copies_of_learnt_networks_are_called_so() -> None:
    made = zoo()

    def copied(condition_MC: Tensor) -> Tensor:
        assert made.condition_NC is not None
        return made.theta_ND[torch.cdist(condition_MC, made.condition_NC).argmin(dim=1)]

    assert "they are copies of learnt networks, or nearly" in evaluated(copied)["plain"]
    assert "copies" not in evaluated(network)["plain"]


def test_own_networks_below_generated_ones_are_an_under_trained_zoo() -> None:
    made = zoo()
    assert made.holdout is not None
    made.holdout.theta_ND[:, CLASSES] *= -1  # each own network errs in the first class
    seen = view({"pdiff": Given(network)}, made=made)
    assert (
        "the zoo is under-trained, and no ceiling"
        in Conditions(rival_steps=0, adapt=()).evaluate(seen, Context(0))["plain"]
    )


def test_own_networks_that_more_steps_do_not_help_are_not_called_under_trained() -> None:
    made = zoo()
    assert made.holdout is not None
    made.holdout.theta_ND[:, CLASSES] *= -1
    made.rows[0]["metrics"] = {"accuracy": 0.9, TWICE: 0.901}
    seen = view({"pdiff": Given(network)}, made=made)
    given = Conditions(rival_steps=0, adapt=()).evaluate(seen, Context(0))
    notes = Showing({"conditions": Conditions()}, print).notes(scored(seen, given))
    assert not any("under-trained" in line for line in (given["plain"], *notes))
    assert "do worse (80.00%): twice the steps add little to them" in given["plain"]


def test_of_a_single_task_nothing_is_said_of_others() -> None:
    made = zoo()
    assert made.holdout is not None
    made.holdout = made.holdout.subset([0])
    given = Conditions(rival_steps=0, adapt=()).evaluate(view({"pdiff": Given(network)}, made=made), Context(0))
    assert given["plain"].startswith("pdiff gives networks for one held out task that are right in 100.00%; ")
    assert given["plain"].endswith("and nothing is said of other tasks") and given["verdict"][0].startswith(
        "on 1 task ("
    )


def test_a_method_is_worse_than_its_control_on_every_example_of_a_class() -> None:
    scores = evaluated(wrong_in(1), exact=network)
    gain = scores["gains"]["exact"]
    assert gain["mean"] == -0.2 and gain["said"] == "worse" and scores["hard_gains"]["exact"]["mean"] == -0.2
    assert "exact does better (by 20.00 points)" in scores["plain"]
