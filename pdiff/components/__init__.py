"""The kinds of component: one frozen pydantic model for everything that has a name.

A component's fields are its recipe options, its class docstring is its help, and its one or two methods return
ordinary torch objects. Shapes in this project: N checkpoints, M sampled networks, D selected parameters, Z latent,
B batch, C condition, K classes, E examples.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from enum import Enum
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from pdiff.context import Context
    from pdiff.data import Batch, DatasetSplits
    from pdiff.view import View
    from pdiff.zoo import Layout, Zoo


class Component(BaseModel):
    """A named, validated, hashable piece of a recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())

    kind: ClassVar[str] = ""
    name: ClassVar[str] = ""
    version: ClassVar[int] = 1
    """Raise it when the same options give another result: stages computed by the older version are not reused."""
    source: ClassVar[str] = ""
    """Where it comes from: paper, section, equation."""
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Further names under which the component can be asked for, each with its own values."""

    @model_validator(mode="wrap")
    @classmethod
    def _from_table(cls, value: Any, handler: Any) -> Any:
        """Turn a recipe table into the component that its `name` asks for, where the field says only the kind."""
        if cls.name and isinstance(value, Mapping):
            return handler(_with_defaults(cls, value))
        if not cls.kind or not isinstance(value, Mapping):
            return handler(value)
        from pdiff.plugins.discovery import NoSuchComponent, registry

        table = dict(value)
        wanted = table.pop("name", None)
        if not isinstance(wanted, str):
            raise PydanticCustomError("no_name", "needs name = one of: {known}", {"known": registry().known(cls.kind)})
        try:
            found, values = registry().find(cls.kind, wanted)
        except NoSuchComponent as error:
            raise PydanticCustomError("no_component", "{why}", {"why": str(error)}) from None
        return found.model_validate(merge(values, table))

    def table(self) -> dict[str, Any]:
        """Return the recipe table that rebuilds this component, every option written out."""
        from pdiff.plugins.discovery import registry

        options = {field: plain(getattr(self, field)) for field in type(self).model_fields}
        # TOML has no null: an option that is None is left out, which is what its default says.
        return {"name": registry().reference(type(self))} | {k: v for k, v in options.items() if v is not None}

    def identity(self) -> dict[str, Any]:
        """Return what decides this component's result, for the keys of stages: origin, version and options."""
        from pdiff.plugins.discovery import registry

        options = {field: identity(getattr(self, field)) for field in type(self).model_fields}
        return {"component": registry().qualified(type(self)), "version": self.version} | options


def _with_defaults(cls: type[Component], table: Mapping[str, Any]) -> dict[str, Any]:
    """Complete nested tables that name no component: they change options of the default one."""
    completed = dict(table)
    for field, about in cls.model_fields.items():
        own = completed.get(field)
        if isinstance(about.default, Component) and isinstance(own, Mapping) and "name" not in own:
            completed[field] = merge(about.default.table(), own)
    return completed


def plain(value: Any) -> Any:
    """Return `value` as JSON-ready data, components as their tables."""
    return _walk(value, Component.table)


def identity(value: Any) -> Any:
    """Return `value` as JSON-ready data, components as their identities."""
    return _walk(value, lambda component: component.identity())


def _walk(value: Any, leaf: Any) -> Any:
    if isinstance(value, Component):
        return leaf(value)
    if isinstance(value, BaseModel):
        own = {field: getattr(value, field) for field in type(value).model_fields} | (value.model_extra or {})
        return {field: _walk(item, leaf) for field, item in own.items()}
    if isinstance(value, Mapping):
        return {str(key): _walk(item, leaf) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_walk(item, leaf) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(_walk(item, leaf) for item in value)
    if isinstance(value, Enum):
        return value.value
    return str(value) if isinstance(value, PurePath) else value


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` overlaid by `over`, table by table; a nested table with another name replaces the whole."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        tables = isinstance(old, Mapping) and isinstance(value, Mapping)
        same = tables and value.get("name", old.get("name")) == old.get("name")
        merged[key] = merge(old, value) if same else value
    return merged


class Architecture(Component):
    """Builds a network."""

    kind: ClassVar[str] = "architecture"
    weights: str = Field(
        "", description="start from: a .safetensors or .pt file, 'pretrained' where the component offers it, or nothing"
    )

    @abstractmethod
    def build(self, *, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        """Return the network for inputs `[B, *input_shape]` and `outputs` outputs, on the CPU, newly initialised.

        The caller seeds torch's global generator first, and afterwards loads `weights` where it names a file.
        Raises UserError for sizes that the network cannot take.
        """

    def state(self) -> dict[str, Tensor]:
        """Return the state dict that `weights` names, where it names a file. Raises UserError."""
        from pdiff.files import load_state

        return load_state(self.weights)

    def identity(self) -> dict[str, Any]:
        """Name a weights file by its content, so that moving it changes no key."""
        from pdiff.files import digest_of

        return super().identity() | {"weights": digest_of(self.weights)}


class Dataset(Component):
    """Examples in three splits: train, validation, test."""

    kind: ClassVar[str] = "dataset"

    def content(self, data_root: Path) -> str:
        """Return what tells the user's own files apart, for the keys of stages; nothing for published sets."""
        return ""

    @abstractmethod
    def load(self, ctx: Context) -> DatasetSplits:
        """Return the splits; the validation split is cut from train by `ctx.seed`. Raises UserError when absent."""


class Task(Component):
    """The objective of a dataset: its loss, its prediction, its score."""

    kind: ClassVar[str] = "task"
    metric: ClassVar[str] = ""
    """Name of the score, e.g. `accuracy`; higher is better."""
    measures: ClassVar[Mapping[str, Literal["lower", "higher"]]] = {}
    """What networks can be asked for (see `Generator.prompted`), by name: which is better."""

    @abstractmethod
    def loss(self, model: Any, batch: Batch) -> Tensor:
        """Return the mean loss of `model` (a module or a function) on the batch, a scalar."""

    @abstractmethod
    def predict(self, model: Any, inputs: Tensor) -> Tensor:
        """Return small storable predictions `[B, ...]`.

        It should work under torch.func.vmap; where it does not, networks are run one at a time.
        """

    def reduce(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """Return what is kept of predictions `[m, B, ...]` once a batch's targets `[B, ...]` are at hand.

        Everything, unless overridden: a task with large predictions keeps, for example, counts per image. Both lie on
        the device; `score` and `wrong` are given what this returns.
        """
        return predictions

    def log_probabilities(self, model: Any, inputs: Tensor) -> Tensor | None:
        """Return log-probabilities of classes `[B, K]`, as `targets` number them; None where there are no classes."""
        return None

    def examine(self, model: Any, inputs: Tensor) -> Tensor:
        """Return what `measured` reads of a batch, `[B, ...]`: the predictions, unless overridden."""
        return self.predict(model, inputs)

    def measured(self, examined: Tensor, targets: Tensor) -> Tensor:
        """Return each example's part in the `measures`, `[m, B, measures]`, in their order; their mean is a network's.

        `examined` `[m, B, ...]` is what `examine` gave for m networks.
        """
        raise TypeError(f"{type(self).__name__} has no measures")

    @abstractmethod
    def score(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """Return one score per network, `[M]` in float64, from predictions `[M, E, ...]` and targets `[E, ...]`."""

    @abstractmethod
    def wrong(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """Return a bool tensor `[M, E]`: the examples that each network gets wrong."""


class Selector(Component):
    """Names the state-dict entries that are generated; all others are the anchor."""

    kind: ClassVar[str] = "selector"

    @abstractmethod
    def select(self, model: nn.Module) -> list[str]:
        """Return state-dict keys in state-dict order. Raises UserError when nothing matches."""


class Collector(Component):
    """Makes checkpoints."""

    kind: ClassVar[str] = "collector"

    @abstractmethod
    def collect(self, model: nn.Module, *, data: DatasetSplits, task: Task, layout: Layout, ctx: Context) -> Zoo:
        """Return the zoo. `model` is the base network; the collector may change it. Resumes from `ctx.snapshot`."""


class Codec(Component):
    """Maps normalised parameter vectors to latents and back."""

    kind: ClassVar[str] = "codec"

    @abstractmethod
    def build(self, *, dim: int, layout: Layout | None = None) -> nn.Module:
        """Return a module with `latent_dim`, `encode(x_BD) -> z_BZ` and `decode(z_BZ) -> x_BD`; here D is `dim`."""

    def fit(self, module: nn.Module, x_ND: Tensor, ctx: Context) -> list[dict[str, float]]:
        """Train `module` in place on normalised vectors and return the log; nothing to do unless overridden."""
        return []


class Denoiser(Component):
    """The network inside a diffusion or flow model."""

    kind: ClassVar[str] = "denoiser"

    @abstractmethod
    def build(self, *, dim: int, condition_dim: int = 0, layout: Layout | None = None) -> nn.Module:
        """Return a module called as `(z_BZ, t_B, condition_BC | None) -> [B, Z]`, Z = `dim`, t in 0..T-1 (float)."""


class Method(Component):
    """Learns a zoo and samples new parameter vectors."""

    kind: ClassVar[str] = "method"
    sampling: ClassVar[tuple[str, ...]] = ()
    """Options that are read when sampling only: changing them fits nothing again."""

    @abstractmethod
    def fit(self, zoo: Zoo, ctx: Context) -> Generator:
        """Learn the zoo. Resumes from `ctx.snapshot`."""

    @abstractmethod
    def load(self, tensors: dict[str, Tensor], zoo: Zoo, ctx: Context) -> Generator:
        """Rebuild the generator from what `Generator.tensors` gave."""

    def variants(self) -> dict[str, Method]:
        """Return the methods that this table stands for, by label: one, unless an option lists several settings."""
        return {self.name: self}


class Generator:
    """A fitted method."""

    log: list[dict[str, float]]
    """Training curve: rows of `step` and losses; `part` tells curves apart."""
    facts: dict[str, Any]
    """What the fit found worth telling, JSON-ready (the codec gate, for one)."""
    metric: str = ""
    """The task's measure that networks can be asked for, where `prompted` is there."""

    def __init__(self, log: list[dict[str, float]] | None = None, facts: dict[str, Any] | None = None):
        self.log, self.facts = log or [], facts or {}

    def sample(self, count: int, ctx: Context) -> Tensor:
        """Return up to `count` vectors theta_MD in the original scale (fewer where a method has fewer to give)."""
        raise TypeError(f"{type(self).__name__} has no sample()")

    def prompted(self, start_MD: Tensor, measure_M: Tensor, wanted_M: Tensor, ctx: Context) -> Tensor:
        """Return networks theta_MD asked to have `metric` = wanted, each from a start whose metric is given."""
        raise TypeError(f"{type(self).__name__} takes no prompt")

    def warnings(self) -> list[str]:
        """Return what is to be told whenever samples with the method's options are used, a line each."""
        return []

    def tensors(self) -> dict[str, Tensor]:
        """Return what `Method.load` needs beside the zoo."""
        return {}

    def path(self, count: int, points: int, ctx: Context) -> tuple[list[float], torch.Tensor] | None:
        """Return (progress in 0..1, theta `[points, count, D]`) along the way from noise, or None if there is none."""
        return None

    def film(self, count: int, frames: int, ctx: Context) -> tuple[list[float], torch.Tensor, torch.Tensor] | None:
        """Return at most `frames` moments of the way from noise that show as much change each, or None.

        They are (share of signal in 0..1, theta, the clean theta predicted from it), theta as `[frames, count, D]`.
        """
        return None


class Evaluator(Component):
    """Turns the populations of a run into scores."""

    kind: ClassVar[str] = "evaluator"
    columns: ClassVar[tuple[tuple[str, str, str], ...]] = ()
    """What the summary table shows per source: (title, key in the source's scores, format spec)."""
    legend: ClassVar[str] = ""
    """What the titles mean, in one line below the table."""

    @abstractmethod
    def evaluate(self, view: View, ctx: Context) -> dict[str, Any]:
        """Return JSON: `networks` maps each source to its scores; everything else is about the run as a whole."""


class Report(Component):
    """Writes what a person reads."""

    kind: ClassVar[str] = "report"

    @abstractmethod
    def render(self, view: View, out: Any) -> list[Any]:
        """Write files below the folder `out` and return their paths."""


KINDS: dict[str, type[Component]] = {
    kind.kind: kind
    for kind in (
        Architecture, Dataset, Task, Selector, Collector, Codec, Denoiser, Method, Evaluator, Report,
    )
}  # fmt: skip
