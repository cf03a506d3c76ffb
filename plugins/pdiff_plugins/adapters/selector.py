"""The selector that adds adapters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, PositiveFloat, PositiveInt

from pdiff.components import Ahead, Selector

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from torch import Tensor, nn

    from pdiff.zoo import Layout


class Lora(Selector):
    """Low-rank adapters: y = layer(x) + alpha / rank * B(A(x)).

    Of linear and convolutional layers, attention, and embeddings that are named. A begins at random and B at zero, so
    that the network begins as it was; all else of it is frozen.
    """

    name = "lora"
    source: ClassVar[str] = "Hu et al. 2021, LoRA, arXiv 2106.09685; names of entries as in the library peft"
    extends: ClassVar[bool] = True
    formats: ClassVar[tuple[str, ...]] = ("peft",)
    rank: int = Field(4, gt=0, description="rank of B A; of a layer that allows less, as high as it allows")
    alpha: float = Field(0.0, ge=0, description="B A is added alpha / rank times; 0: once")
    targets: tuple[str, ...] = Field(
        ("*",), min_length=1,
        description="globs of names of layers, or of their ends; one without a dot is of the last part of a name",
    )  # fmt: skip
    exclude: tuple[str, ...] = Field((), description="globs of names of layers that have none")
    biases: bool = Field(False, description="with the biases of these layers, which are added to as they are")
    ranks: dict[str, PositiveInt] = Field({}, description="ranks of layers by globs of names, the first that matches")
    alphas: dict[str, PositiveFloat] = Field(
        {}, description="alphas of layers by globs of names, the first that matches"
    )

    def rank_of(self, layer: str) -> int:
        """Return the rank that a layer's adapter is to have, by the layer's name."""
        from pdiff_plugins.adapters.targets import first

        return first(layer, self.ranks, self.rank)

    def scale_of(self, layer: str) -> float:
        """Return what B A is multiplied by, by the layer's name."""
        from pdiff_plugins.adapters.targets import first

        alpha = first(layer, self.alphas, self.alpha)
        return alpha / self.rank_of(layer) if alpha else 1.0

    def widened(self, model: nn.Module, times: int) -> Self:
        """Return it with so many times the rank in each layer of a plain network, as far as the layer allows.

        What B A is multiplied by stays what it is.
        """
        from pdiff_plugins.adapters.layers import most
        from pdiff_plugins.adapters.targets import chosen

        names = chosen(model, self.targets, self.exclude)
        ranks = {name: min(times * self.rank_of(name), most(model.get_submodule(name))) for name in names}
        alphas = {name: self.scale_of(name) * rank for name, rank in ranks.items()}
        return self.model_copy(update={"ranks": ranks, "alphas": alphas})

    def foresee(self, ahead: Ahead) -> None:
        """Note where the network that is to be adapted knows nothing, and where factors say nothing."""
        recipe = ahead.recipe
        if not recipe.train.epochs and not recipe.architecture.weights:
            trainable = getattr(recipe.task, "base", lambda: True)() is not None
            remedy = "set train.epochs, or architecture.weights" if trainable else "name a file in architecture.weights"
            ahead.note(f"{ahead.key}: adapters of a network that is not trained; {remedy}")
        if hasattr(recipe.collect, "path"):
            ahead.note(
                f"{ahead.key}: adapters that were trained apart share no factors, only products: learn those "
                "(codec = { name = 'products' }, of = 'products', loss = 'products'), but where all began alike"
            )

    def extend(self, model: nn.Module) -> None:
        """See `Selector.extend`."""
        from pdiff_plugins.adapters.layers import adapt, most
        from pdiff_plugins.adapters.targets import check_allowed, check_groups, check_known, chosen

        names = chosen(model, self.targets, self.exclude)
        check_known("ranks", self.ranks, names)
        check_known("alphas", self.alphas, names)
        ranks = {name: self.rank_of(name) for name in names}
        for name, rank in ranks.items():
            check_groups(name, model.get_submodule(name), rank)
        check_allowed(model, ranks)
        for name, rank in ranks.items():
            layer = model.get_submodule(name)
            adapt(layer, min(rank, most(layer)), self.scale_of(name))

    def check(self, model: nn.Module, run: Callable[[], object]) -> None:
        """See `Selector.check`."""
        from pdiff_plugins.adapters.targets import check_called

        check_called(model, run)

    def select(self, model: nn.Module) -> list[str]:
        from pdiff_plugins.adapters.layers import adapted

        ends = ("lora_A.weight", "lora_B.weight", *(("bias",) if self.biases else ()))
        wanted = {f"{name}.{end}".removeprefix(".") for name in adapted(model) for end in ends}
        return [key for key in model.state_dict() if key in wanted]

    def plain(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `Selector.plain`."""
        from pdiff_plugins.adapters.layers import merged

        return merged(state, self.scale_of)

    def coordinates(self, theta_MD: Tensor, layout: Layout) -> Tensor:
        """See `Selector.coordinates`: they are what is added to weights."""
        from pdiff_plugins.adapters.products.coordinates import coordinates

        return coordinates(theta_MD, layout, self.scales(layout))

    def scales(self, layout: Layout) -> dict[str, float]:
        """Return what B A is multiplied by, of each layer that has an adapter."""
        from pdiff_plugins.adapters.factors import pairs
        from pdiff_plugins.adapters.layers import owner

        return {pair.module: self.scale_of(owner(pair.module, layout.keys)) for pair in pairs(layout)}

    def write(
        self, format: str, state: Mapping[str, Tensor], model: nn.Module, folder: Path, **options: Any
    ) -> Mapping[str, float]:
        """See `Selector.write`. Of options there are `rank`, which each layer is cut to, and `halved`."""
        from pdiff_plugins.adapters.files.peft import written

        return written(state, model, folder, self.biases, options)
