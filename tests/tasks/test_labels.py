"""Tasks with a logit for each label, beside scikit-learn and closed forms, and what they say of other targets."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from types import SimpleNamespace

import pytest
import torch
from sklearn.metrics import f1_score, log_loss
from torch import nn

from pdiff.data import Batch
from pdiff.errors import UserError
from pdiff_plugins.images.classification import Classification
from pdiff_plugins.tasks.labels import Binary, Multilabel

Named = namedtuple("Named", "logits hidden")


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def identity(x: torch.Tensor) -> torch.Tensor:
    return x


def test_binary_has_the_likelihood_and_the_answers_of_its_logit() -> None:
    logit, targets = drawn(50, 1), (drawn(50, seed=1) > 0).long()
    task, chance = Binary(), torch.sigmoid(logit[:, 0].double())
    loss = log_loss(targets.numpy(), chance.numpy())
    assert float(task.loss(identity, Batch(logit, targets))) == pytest.approx(loss, rel=1e-5)
    assert float(task.loss(identity, Batch(logit[:, 0], targets))) == pytest.approx(loss, rel=1e-5)
    logp = task.log_probabilities(identity, logit)
    assert torch.allclose(logp.double().exp(), torch.stack([1 - chance, chance], dim=1), atol=1e-6)
    said = task.predict(identity, logit)
    right = (said.long() == targets).double().mean()
    assert float(task.score(said[None], targets)[0]) == pytest.approx(float(right))
    measured = task.measured(task.examine(identity, logit)[None], targets)[0].double().mean(dim=0)
    assert measured.tolist() == pytest.approx([loss, 1 - float(right)], rel=1e-5)


def test_a_binary_network_of_two_logits_is_refused() -> None:
    with pytest.raises(UserError, match="gives 2 numbers for an example; it must be one"):
        Binary().predict(identity, drawn(5, 2))


@pytest.mark.parametrize("average", ["micro", "macro"])
def test_f1_of_labels_is_scikit_learns(average: str) -> None:
    logits, targets = drawn(3, 40, 5), (drawn(40, 5, seed=1) > 0.5).to(torch.int8)
    logits[:, :, 4], targets[:, 4] = -1.0, 0  # neither there nor given
    task = Multilabel(average=average)
    said = torch.stack([task.predict(identity, each) for each in logits])
    theirs = [f1_score(targets.numpy(), each.numpy(), average=average, zero_division=0) for each in said]
    assert task.score(said, targets).tolist() == pytest.approx(theirs)
    assert torch.equal(task.wrong(said, targets), (said != targets).any(dim=2))


def test_measures_of_labels_are_the_loss_and_the_share_that_is_wrong() -> None:
    logits, targets = drawn(30, 3), (drawn(30, 3, seed=1) > 0).to(torch.int8)
    task = Multilabel()
    loss, error = task.measured(task.examine(identity, logits)[None], targets)[0].mean(dim=0).tolist()
    assert loss == pytest.approx(float(task.loss(identity, Batch(logits, targets))), rel=1e-5)
    assert error == pytest.approx(float(((logits > 0) != targets.bool()).float().mean()))


@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8, torch.bool, torch.float64, torch.int64])
def test_labels_of_any_type_and_in_a_column_become_whole_numbers(dtype: torch.dtype) -> None:
    labels = torch.tensor([0, 1, 1, 0])
    for task, outputs in ((Classification(), 2), (Binary(), 1)):
        for given in (labels.to(dtype), labels.to(dtype)[:, None]):
            assert torch.equal(task.checked(given, outputs), labels)
    assert torch.equal(Multilabel().checked(labels.to(dtype)[:, None], 1), labels[:, None].to(torch.int8))


@pytest.mark.parametrize(
    ("task", "labels", "outputs", "says"),
    [
        (
            Classification(),
            [1, 2, 3],
            3,
            "example 2: the label is 3, where 0 to 2 are expected; labels run from 1 to 3",
        ),
        (Classification(), [0, -1, 2], 3, "example 1: the label is -1, .* leave examples without a label out"),
        (Classification(), [0, 255, 2], 3, "example 1: the label is 255, .* leave examples without a label out"),
        (Classification(), [0.0, 0.5], 2, "example 1: the label 0.5 is no whole number"),
        (Classification(), [0.0, float("nan")], 2, "example 1: the label is nan"),
        (Classification(), [[0, 1], [1, 0]], 2, r"targets have shape \[2, 2\], and task 'classification'"),
        (Classification(), [0, 1], 1, "example 1: the label is 1, .* take task 'binary'"),
        (Binary(), [0, 1], 2, "outputs = 2, and task 'binary' has one logit"),
        (Binary(), [1, 2], 1, "example 1: the label is 2, where 0 to 1 are expected"),
        (Binary(), [[0, 1]], 1, "take 'multilabel'"),
        (Multilabel(), [[0, 1], [1, 3]], 2, "example 1: the label is 3, .* each label is 0 or 1"),
        (Multilabel(), [0, 1], 2, r"targets have shape \[2\], and task 'multilabel' takes a row of 2 labels"),
    ],
)
def test_other_labels_are_refused_with_the_example_and_what_is_expected(task, labels, outputs, says) -> None:
    with pytest.raises(UserError, match=says):
        task.checked(torch.tensor(labels), outputs)


class Several(nn.Module):
    """Gives logits and something else, in one of several forms."""

    def __init__(self, form):
        super().__init__()
        self.form = form

    def forward(self, x):
        return self.form(x, x.mean(dim=1, keepdim=True))


FORMS = {
    "tuple": (lambda a, b: (a, b), 0),
    "last of a list": (lambda a, b: [b, a], 1),
    "dict": (lambda a, b: {"hidden": b, "logits": a}, "logits"),
    "ordered": (lambda a, b: OrderedDict(logits=a, hidden=b), "logits"),
    "named": (Named, "logits"),
    "object": (lambda a, b: SimpleNamespace(logits=a, hidden=b), "logits"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("task", [Classification, Multilabel])
def test_the_output_that_counts_is_named(form: str, task) -> None:
    make, output = FORMS[form]
    x = drawn(6, 3)
    targets = torch.tensor([0, 1, 2, 0, 1, 2]) if task is Classification else (x > 0).to(torch.int8)
    plain, chosen = task(), task(output=output)
    assert torch.equal(chosen.predict(Several(make), x), plain.predict(identity, x))
    batch = Batch(x, targets)
    assert torch.equal(chosen.loss(Several(make), batch), plain.loss(identity, batch))
    with pytest.raises(UserError, match=r"the network gives several outputs .* task\.output"):
        plain.predict(Several(make), x)
    with pytest.raises(UserError, match="gives no output 'scores'"):
        task(output="scores").predict(Several(make), x)


def test_a_single_output_in_a_form_needs_no_name() -> None:
    x = drawn(6, 3)
    for form in (lambda a, b: (a,), lambda a, b: {"logits": a}, lambda a, b: {"logits": a, "attentions": None}):
        assert torch.equal(Classification().predict(Several(form), x), x.argmax(dim=1).to(torch.int16))


def test_the_output_counts_in_keys_where_it_is_named() -> None:
    assert Classification().identity() == Classification(output="").identity()
    assert "output" not in Classification().identity()
    assert Classification(output=0).identity()["output"] == 0
