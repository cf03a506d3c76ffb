"""Networks read by what they say of learnt inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from pdiff.components import WeightReader

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.bench import Bench
    from pdiff.components import Readout
    from pdiff.context import Context


class ProbeReader(WeightReader):
    """Learnt inputs, sent through a network; a perceptron reads what comes out.

    What is read are log-probabilities where the task has classes, else outputs. A network's function is all that is
    seen: reordered and rescaled networks read the same, and so do networks of any other layers with the same inputs and
    outputs. Probes are learnt with the perceptron. `generated` ones begin as noise and never see data; `examples` begin
    as training examples, whose labels the perceptron can learn from networks' scores: that is nearer to evaluating a
    network than to reading it, needs inputs when it is fitted, and none when it reads. The mean of `members` is told.
    """

    name = "probes"
    source: ClassVar[str] = (
        "Kahana et al. 2024, Deep Linear Probe Generators, arXiv 2410.10811, section 4; probe features: Kofinas et al. "
        "2024, arXiv 2403.12143, section 3"
    )
    start: Literal["generated", "examples"] = Field("generated", description="what probes begin as")
    probes: int = Field(32, gt=0, description="inputs that are learnt")
    width: int = Field(128, gt=0, description="width of the perceptron's two hidden layers")
    members: int = Field(5, gt=0, description="sets of probes, each with a perceptron, whose mean is told")
    steps: int = Field(1200, gt=0, description="training steps of each")
    lr: float = Field(5e-3, gt=0, description="largest learning rate of AdamW, in one cycle")
    weight_decay: float = Field(0.1, ge=0, description="weight decay of AdamW")
    batch_size: int = Field(64, gt=1, description="networks per step")

    def fit(self, theta_ND: Tensor, value_N: Tensor, bench: Bench, ctx: Context) -> Readout:
        """See `WeightReader.fit`. Raises UserError where inputs are no tensor of real numbers, or there are no data."""
        from pdiff_plugins.reading.readers.probing import learn_probes

        return learn_probes(self, theta_ND, value_N, bench, ctx)
