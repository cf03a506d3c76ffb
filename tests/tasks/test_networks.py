"""What networks give: refused where torch would broadcast it beside the targets, averaged of several outputs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pdiff.ensembles import Ensemble
from pdiff.errors import UserError
from pdiff_plugins.audit.probabilities import as_classes, ensemble
from pdiff_plugins.images.classification import Classification
from pdiff_plugins.tasks.labels import Binary, Multilabel
from pdiff_plugins.tasks.regression import Regression


class Two(nn.Module):
    """Gives something hidden beside what counts."""

    def __init__(self, seed: int, outputs: int = 3) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.layer = nn.Linear(4, outputs)

    def forward(self, x):
        return {"hidden": x, "out": self.layer(x)}


@pytest.mark.parametrize("task", [Regression(), Multilabel(), Classification()])
def test_a_network_of_another_width_is_refused_before_it_is_trained(task) -> None:
    x = torch.zeros(2, 4)
    task.check_network(nn.Linear(4, 3), x, 3)
    with pytest.raises(UserError, match=r"gives \[1\] numbers for an example, and the dataset has 3 outputs"):
        task.check_network(nn.Linear(4, 1), x, 3)


def test_one_quantity_may_lack_its_axis_and_there_may_be_classes_that_no_example_has() -> None:
    x = torch.zeros(2, 4)
    for model in (nn.Linear(4, 1), lambda x: x[:, 0]):
        Regression().check_network(model, x, 1)
    with pytest.raises(UserError, match=r"gives \[3\] numbers"):
        Regression().check_network(nn.Linear(4, 3), x, 1)
    Classification().check_network(nn.Linear(4, 10), x, 3)


def test_what_holds_no_tensor_is_told_so() -> None:
    with pytest.raises(UserError, match="the network gives a NoneType, which holds no tensor"):
        Regression().check_network(lambda x: None, torch.zeros(2, 4), 1)


@pytest.mark.parametrize("task", [Regression(output="out"), Multilabel(output="out")])
def test_an_ensemble_averages_the_output_that_counts(task) -> None:
    members, x = [Two(seed) for seed in range(3)], torch.randn(5, 4)
    given = torch.stack([member(x)["out"] for member in members])
    mean = given.sigmoid().mean(dim=0) if isinstance(task, Multilabel) else given.mean(dim=0)
    made = Ensemble(members, task, example=x[:2])
    assert torch.allclose(made.predict(x), mean, atol=1e-6)
    again = made(x).sigmoid() if isinstance(task, Multilabel) else made(x)
    assert torch.allclose(again, mean, atol=1e-6)


def test_predict_gives_numbers_the_type_of_the_datas() -> None:
    made = Ensemble([nn.Linear(4, 1)], Regression(), example=torch.zeros(2, 4))
    x = torch.arange(12).reshape(3, 4)
    wanted = made(x.float()).detach()

    class Frame:
        def __array__(self, dtype=None, copy=None):
            return x.numpy().astype(">f8")[::-1]

    for given in (x, x.double(), x.to(torch.uint8), x.numpy(), x.tolist(), Frame()):
        told = torch.as_tensor(made.predict(given))
        assert torch.allclose(told, wanted.flip(0) if isinstance(given, Frame) else wanted)
    assert made.predict(x[:0]).shape == (0, 1)
    for wrong in (x[0], x[:, :3], "abc", [[1], [1, 2]], (x, x), {"x": x}):
        with pytest.raises(UserError, match=r"^predict: .*float32 \[4\]|^predict: .*of numbers"):
            made.predict(wrong)
    tokens = Ensemble([nn.Sequential(nn.Embedding(9, 2), nn.Flatten())], Regression(), example=x[:2, :2])
    assert torch.equal(tokens.predict(x[:2, :2].double()), tokens.predict(x[:2, :2].int()))
    with pytest.raises(UserError, match="whole numbers"):
        tokens.predict(x[:2, :2] + 0.5)


@pytest.mark.parametrize("shift", [-500.0, 300.0])
def test_the_likelihood_of_an_ensemble_of_densities_beyond_the_range_of_floats(shift: float) -> None:
    """Many outputs, or a large unit, give densities such as exp(-500)."""
    log = torch.randn(4, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    wanted = -(log.exp().mean(dim=0).log() + shift).mean()
    assert ensemble(*as_classes(log + shift))[1] == pytest.approx(float(wanted), rel=1e-6)


def test_labels_of_minus_one_and_one_are_told_so() -> None:
    with pytest.raises(UserError, match="labels are -1 and 1; write 0 for -1"):
        Binary().checked(torch.tensor([-1, 1, 1]), 1)
