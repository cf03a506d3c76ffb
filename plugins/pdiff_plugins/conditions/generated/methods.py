"""Methods whose networks are functions of a condition, which learn by the loss of the tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from pdiff.components import IF_SET, Family, Generator, Method

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pdiff.bench import Bench
    from pdiff.components import Ahead
    from pdiff.context import Context
    from pdiff.zoo import Layout, Zoo


class ByTask(Method):
    """A method that learns a function from conditions to networks, whose options of training these are."""

    steps: int = Field(3000, gt=0, description="training steps")
    lr: float = Field(3e-3, gt=0, description="learning rate of AdamW, to zero along a cosine")
    weight_decay: float = Field(0.0, ge=0, description="weight decay of AdamW")
    tasks: int = Field(16, gt=0, description="learnt tasks per step")
    batch_size: int = Field(64, gt=0, description="training examples per task and step")
    tellings: int = Field(
        1, gt=0, json_schema_extra=IF_SET,
        description="how often each learnt task is told, each time by other examples; of families told by examples",
    )  # fmt: skip
    augment: bool = Field(True, description="whether examples are trained on with the dataset's training transform")
    ema: float = Field(0.999, ge=0, lt=1, description="decay of the averaged weights that are kept; 0: none")
    warmup: int = Field(
        0, ge=0, json_schema_extra=IF_SET,
        description="steps in which the rate rises to lr; adapters' products, for one, run away without",
    )  # fmt: skip

    @property
    def by_task(self) -> bool:
        """Whether it learns by the tasks' loss, on their examples."""
        return True

    def module(self, condition_dim: int, layout: Layout) -> nn.Module | None:
        """Return a new module `Conditioned` of the method's own; None where it is one of this folder's."""
        return None

    def foresee(self, ahead: Ahead) -> None:
        if ahead.recipe.encoder is None:
            ahead.lacks(f"method {self.name}: needs conditions; write an [encoder] table, such as name = 'bits'")
        elif self.by_task and not isinstance(ahead.recipe.task, Family):
            ahead.lacks(self.no_family(ahead.recipe.task.name))
        super().foresee(ahead)

    def no_family(self, task: str) -> str:
        """Return what to do where a task is the same for all conditions."""
        other = "loss = 'weights', or " if "loss" in type(self).model_fields else ""
        return (
            f"method {self.name}: learns by the loss of each condition's own task, and task {task!r} knows of no "
            f"conditions; take {other}a family of tasks, such as 'subsets'"
        )

    def fit(self, zoo: Zoo, bench: Bench, ctx: Context) -> Generator:
        from pdiff_plugins.conditions.generated.fitting import fit

        return fit(self, zoo, bench, ctx)

    def load(self, tensors: dict[str, Tensor], zoo: Zoo, bench: Bench, ctx: Context) -> Generator:
        from pdiff_plugins.conditions.generated.fitting import load

        return load(self, tensors, zoo)


class Hypernetwork(ByTask):
    """A perceptron from the condition to all selected weights at once.

    It learns by the tasks' loss through the networks that it writes, or by their squared distance from the zoo's own;
    of adapters also by what their products differ in, direction and spectrum, whatever factors the zoo's came in.
    Networks are a start plus what it adds, each tensor in units of its spread between checkpoints; it begins with
    nothing. With `per_class` the condition has one part for each output of the network, and one and the same
    perceptron writes each output's row of the last linear layer from its part and the mean of all: another order of
    classes is another order of rows. All else is then shared by all tasks, and learnt beside it.
    """

    name = "hypernetwork"
    version = 2
    source: ClassVar[str] = (
        "Ha et al. 2016, HyperNetworks, arXiv 1609.09106 (weights are outputs of a network, by their loss); per "
        "class: Gidaris & Komodakis 2018, arXiv 1804.09458 (a classifier's rows from means of features); products: "
        "LoRAGen, ICLR 2026 (direction of weight 1, spectrum of weight 2, of 85 % of the energy)"
    )
    loss: Literal["task", "weights", "products"] = Field(
        "task",
        description="the tasks' loss on training examples, squared error to the zoo's normalised weights, or of "
        "adapters what their products differ in",
    )
    around: Literal["base", "mean"] = Field(
        "base", description="what it adds to: the base network, or the mean of the zoo, as it always is with per_class"
    )
    width: int = Field(128, gt=0, description="width of the perceptron")
    depth: int = Field(2, ge=0, description="hidden layers; 0: a linear map")
    rank: int = Field(0, ge=0, description="directions of weights in which networks differ; 0: all")
    basis: Literal["pca", "learned"] = Field(
        "pca", description="with rank: principal directions of the zoo, or those as a start of learnt ones"
    )
    per_class: bool = Field(False, description="write the last linear layer's rows class by class, and share the rest")

    @model_validator(mode="after")
    def _fits(self) -> Hypernetwork:
        if self.per_class and (self.rank or self.loss != "task"):
            raise PydanticCustomError(
                "per_class", "per_class is learnt by the tasks' loss, at full rank; leave those out"
            )
        return self

    def foresee(self, ahead: Ahead) -> None:
        from pdiff_plugins.adapters.products.asked import foresee_adapters

        super().foresee(ahead)
        if self.loss == "products":
            foresee_adapters(ahead, f"{ahead.key}.loss = 'products'")

    @property
    def by_task(self) -> bool:
        return self.loss == "task"


class Multitask(ByTask):
    """One network for all tasks, which is told the condition; no generator.

    The rival of every generator. A condition that is concatenated to a layer's input shifts that layer's bias: networks
    share all weights, and their biases have a linear map of the condition added. All is learnt by the tasks' loss.
    """

    name = "multitask"
    source: ClassVar[str] = (
        "Dumoulin et al. 2018, Feature-wise transformations, Distill (concatenation is a shift of biases)"
    )
    into: Literal["all", "first"] = Field("all", description="layers that are told the condition")
    lr: float = Field(0.01, gt=0, description="learning rate of AdamW, to zero along a cosine")
