"""The check of components: it must find what is wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pdiff.components import Transform
from pdiff.context import Context
from pdiff.testing import TinyMethod, TinyNet, check_component, check_definition, tiny_zoo


class Broken(TinyMethod.__base__):
    """A method with one fault, as asked."""

    name = "broken"
    fault: str = ""

    def fit(self, zoo, bench, ctx):
        generator = TinyMethod().fit(zoo, bench, ctx)
        sample = generator.sample
        faults = {
            "global random state": lambda count, bench, ctx: sample(count, bench, ctx) * (1 + 0.1 * torch.rand(1)),
            "fixed": lambda count, bench, ctx: sample(count, bench, Context(seed=0)),
            "too many": lambda count, bench, ctx: sample(count + 1, bench, ctx),
            "not finite": lambda count, bench, ctx: sample(count, bench, ctx) / 0,
            "variances": lambda count, bench, ctx: -sample(count, bench, ctx),
            "size": lambda count, bench, ctx: sample(count, bench, ctx)[:, 1:],
        }
        generator.sample = faults.get(self.fault, sample)
        if self.fault == "log":
            generator.log = [{"step": 1, "loss": torch.ones(1)}]
        return generator

    def load(self, tensors, zoo, bench, ctx):
        return self.fit(tiny_zoo(seed=1) if self.fault == "load" else zoo, bench, ctx)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("global random state", r"a second sample\(\) with the same context gives others"),
        ("fixed", "another seed gives the same networks"),
        ("too many", r"sample\(7\) gives \[8, 83\]"),
        ("not finite", "hold NaN or Inf"),
        ("variances", "is negative"),
        ("size", r"gives \[7, 82\]"),
        ("log", "its log is not JSON"),
        ("load", r"load\(\) of what tensors\(\) gave samples other networks"),
    ],
)
def test_a_broken_method_is_found(fault, said):
    check_component(Broken)
    with pytest.raises((AssertionError, ValueError), match=said):
        check_component(Broken, fault=fault)


class Stateful(TinyNet.__base__):
    """Network with one fault, as asked."""

    name = "stateful"
    fault: str = ""

    def build(self, *, input_shape, outputs):
        from torch import nn

        class Net(nn.Module):
            def __init__(self, fault):
                super().__init__()
                self.fault, self.linear = fault, nn.Linear(input_shape[0], outputs + (fault == "size"))
                hidden = torch.rand(1)
                if fault == "hidden":
                    self.hidden = hidden

            def forward(self, x):
                y = self.linear(x) + getattr(self, "hidden", 0)
                return y + torch.rand(1) if self.fault == "random" else y

        return Net(self.fault)


@pytest.mark.parametrize(
    ("fault", "said"),
    [("size", "gives"), ("hidden", "does not carry the whole network"), ("random", "gives another output")],
)
def test_a_broken_architecture_is_found(fault, said):
    check_component(Stateful, input_shape=(3,), outputs=2)
    with pytest.raises(AssertionError, match=said):
        check_component(Stateful, input_shape=(3,), outputs=2, fault=fault)


class Stepping(Transform):
    """Step with one fault, as asked."""

    name = "stepping"
    fault: str = ""

    def zoo(self, zoo, bench, ctx):
        if self.fault == "changes":
            zoo.theta_ND.clamp_(-0.1, 0.1)
        few = zoo.subset(range(1 if self.fault == "one" else 5))
        noise = torch.rand(1) if self.fault == "global random state" else 0
        return replace(few, theta_ND=few.theta_ND * (1 + noise), rows=few.rows)

    def samples(self, theta_MD, zoo, bench, ctx):
        faults = {"variances": -theta_MD, "fewer": theta_MD[1:], "not finite": theta_MD / 0}
        return faults.get(self.fault, theta_MD)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("changes", "changes the zoo that it is given"),
        ("one", "leaves 1 checkpoints"),
        ("global random state", "the same context gives another zoo"),
        ("variances", "is negative"),
        ("fewer", r"gives \[6, 83\] for \[7, 83\]"),
        ("not finite", "hold NaN or Inf"),
    ],
)
def test_a_broken_step_is_found(fault, said):
    check_component(Stepping)
    with pytest.raises((AssertionError, ValueError), match=said):
        check_component(Stepping, fault=fault)


def test_a_step_on_nothing_is_found():
    class Idle(Transform):
        """Does nothing."""

        name = "idle"

    with pytest.raises(AssertionError, match=r"idle: overrides neither zoo\(\) nor samples\(\)"):
        check_component(Idle)


def test_what_a_definition_lacks_is_named():
    class Loose(TinyNet.__base__):
        """Network."""

        name = "loose"
        width: int = 3

        def build(self, *, input_shape, outputs):
            return TinyNet().build(input_shape=input_shape, outputs=outputs)

    with pytest.raises(AssertionError, match="loose: the option width has no description"):
        check_definition(Loose(), strict=True)
    check_definition(Loose())
    with pytest.raises(AssertionError, match="TinyNet: give the options that it needs: width"):
        check_component(TinyNet, width=-1)
    with pytest.raises(AssertionError, match="tiny_net: no option 'wdth'"):
        check_component(TinyNet, wdth=3)
