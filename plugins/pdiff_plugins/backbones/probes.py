"""A codec that reads networks by what they say, not by their weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from pdiff.components import Codec
from pdiff.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pdiff.bench import Bench
    from pdiff.context import Context
    from pdiff.objective import Objective
    from pdiff.zoo import Layout


class Probes(Codec):
    """Principal components of what networks put out at probes; a perceptron back.

    The way to the latent has nothing to learn: a network's outputs at random training examples, and their principal
    components. The way back is trained so that the decoded network's predictions are the first one's (or, where they
    are classes, its probabilities of them); its weights may be others. What networks say generalises from few of them
    where their weights do not: a perceptron that reads weights draws unseen digits worse than their nearest training
    digit does. A loaded codec reads networks where its probes are one tensor; else it decodes only.
    """

    name = "probes"
    version = 2  # 2: fits that train it count examples
    source: ClassVar[str] = (
        "probes: Kahana et al. 2024, Deep Linear Probe Generators, arXiv 2410.10811, section 3; the way back is a "
        "hypernetwork: Ha et al. 2016, arXiv 1609.09106"
    )
    latent: int = Field(64, gt=0, description="principal components kept at most")
    probes: int = Field(256, gt=0, description="training examples at which networks are read")
    hidden: int = Field(512, gt=0, description="width of the hidden layer on the way back")
    steps: int = Field(4000, gt=0, description="training steps of the way back")
    lr: float = Field(2e-3, gt=0, description="learning rate of AdamW, to zero along a cosine")
    batch_size: int = Field(256, gt=0, description="checkpoints per step")
    points: int = Field(64, gt=0, description="training examples per step at which predictions are compared")
    latent_noise: float = Field(0.02, ge=0, description="std of the noise on the latent while training")

    @property
    def examples(self) -> int:
        """Training examples at which networks are compared, each as often as a network's gradient is taken there."""
        return self.steps * self.batch_size * self.points

    def build(self, *, dim: int, layout: Layout | None = None) -> nn.Module:
        from pdiff_plugins.backbones.nets.probe_codec import ProbeModule

        return ProbeModule(dim, self.latent, self.hidden)

    def fit(self, module: nn.Module, x_ND: Tensor, bench: Bench, ctx: Context) -> list[dict[str, float]]:
        """Fit the components, then minimise the squared error of predictions, or of probabilities of classes.

        Raises UserError where predictions of the task have no gradient, and there are no classes.
        """
        import torch
        from torch.nn import functional as F

        from pdiff.training.loop import train
        from pdiff_plugins.backbones.nets.probe_codec import ProbeModule

        assert isinstance(module, ProbeModule)
        objective = bench.objective
        predictions = _differentiable(objective, x_ND, ctx)
        codec, x_ND = module.to(ctx.device), x_ND.to(ctx.device)
        probes = objective.batch(self.probes, ctx.generator("probes"), ctx.device).inputs
        codec.probes = probes
        codec.fit(lambda x_BD: objective.answers(x_BD, probes).flatten(1), x_ND)
        z_NZ = codec.encode_all(x_ND)
        codec.said = lambda x_BD: predictions(x_BD, probes).flatten(1)

        def draw(step: int, generator: torch.Generator) -> tuple[Any, ...]:
            rows = torch.randint(len(x_ND), (self.batch_size,), generator=generator)
            noise_BZ = torch.randn(self.batch_size, codec.latent_dim, generator=generator)
            return rows, noise_BZ, objective.batch(self.points, generator, torch.device("cpu")).inputs

        def loss(rows: Tensor, noise_BZ: Tensor, inputs: Any) -> Tensor:
            x_BD = x_ND[rows]
            decoded_BD = codec.decode(z_NZ[rows] + self.latent_noise * noise_BZ)
            said, known = (predictions(theta_BD, inputs) for theta_BD in (decoded_BD, x_BD))
            return F.mse_loss(said, known)

        log = train(codec, loss, steps=self.steps, ctx=ctx, what="codec", lr=self.lr, draw=draw)
        codec.eval()
        return log


def _differentiable(objective: Objective, x_ND: Tensor, ctx: Context) -> Callable[[Tensor, Any], Tensor]:
    """Return what gives networks' predictions with their gradient: `objective.predictions`, or `probabilities`."""
    inputs, x_BD = objective.batch(1, ctx.generator("probes"), ctx.device).inputs, x_ND[:1].to(ctx.device)
    if objective.predictions(x_BD.requires_grad_(), inputs).requires_grad:
        return objective.predictions
    if objective.log_probabilities(x_BD, inputs) is not None:
        return objective.probabilities
    name = objective.task.name
    raise UserError(f"method.codec: probes: predictions of task {name} have no gradient; use 'autoencoder'")
