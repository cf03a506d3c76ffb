"""Recipe: one TOML file, validated as a whole; all of its faults are reported together."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

from pdiff.components import (
    Architecture,
    Collector,
    Component,
    Dataset,
    Evaluator,
    Method,
    Report,
    Selector,
    Task,
    Transform,
    merge,
    plain,
    steps_on,
)
from pdiff.errors import Faults, UserError, did_you_mean


class Table(BaseModel):
    """A recipe table that is no component."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Train(Table):
    """How the base network is trained; without this table it is used as built (or as loaded)."""

    epochs: int = Field(0, ge=0, description="passes over the train split; 0 keeps the network as built or loaded")
    lr: float = Field(1e-3, gt=0, description="learning rate, at the start")
    weight_decay: float = Field(0.0, ge=0, description="decoupled weight decay (L2 for sgd)")
    batch_size: int = Field(128, gt=0, description="examples per step")
    optimizer: Literal["adamw", "adam", "sgd"] = Field("adamw", description="sgd has momentum 0.9")
    schedule: Literal["cosine", "constant"] = Field("cosine", description="cosine falls to 0 epoch by epoch")
    keep: Literal["best", "last", "average"] = Field(
        "best",
        description="epoch kept; best on the selection split; average: instead of any epoch, the moving average of "
        "the weights (decay 0.999) at the end, and no epoch is scored",
    )


class Sample(Table):
    """How many networks are drawn."""

    count: int = Field(200, gt=0, description="networks drawn from the method")
    baseline_count: int = Field(100, gt=0, description="networks drawn from each baseline")
    step: tuple[Transform, ...] = Field((), description="what drawn networks go through, in this order")

    @field_validator("step")
    @classmethod
    def _of_samples(cls, steps: tuple[Transform, ...]) -> tuple[Transform, ...]:
        return steps_on("samples", steps)


class RunSettings(Table):
    """How, not what: nothing here changes a stage's key."""

    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d{1,2})?)$", description="auto, cpu, cuda or cuda:N")
    out: str = Field("runs", description="folder of results; stages lie in its store/")
    data: str = Field("data", description="folder where datasets lie and are downloaded to")
    download: bool = Field(True, description="fetch a dataset that is not there")
    threads: int = Field(0, ge=0, description="CPU threads; 0 is one for small networks and all cores for large ones")
    batch_size: int = Field(0, ge=0, description="examples per evaluation batch; 0 chooses by their size")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="of training; auto is bfloat16 (autocast) on CUDA and float32 on a CPU"
    )
    graphs: bool = Field(True, description="on CUDA, replay training and sampling steps as CUDA graphs")


class Expect(Table):
    """Published numbers, shown beside ours: a table of numbers per source (in per cent), and `similarity`."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)
    __pydantic_extra__: dict[str, dict[str, float]]
    name: str = Field("published", min_length=1, description="title of the column")
    source: str = Field(min_length=1, description="where they are published")


class Recipe(Table):
    """Everything that decides a run."""

    seed: int = Field(0, ge=0, lt=2**31, strict=True, description="of every random draw")
    protocol: Literal["holdout", "paper"] = Field(
        "holdout", description="holdout selects on validation and reads test once; paper selects on test"
    )
    dataset: Dataset
    task: Task
    architecture: Architecture
    selector: Selector
    train: Train = Train()
    collect: Collector
    zoo: tuple[Transform, ...] = ()
    method: Method
    baseline: tuple[Method, ...] = ()
    sample: Sample = Sample()
    evaluate: tuple[Evaluator, ...] = ()
    report: tuple[Report, ...] = ()
    expect: tuple[Expect, ...] = ()
    run: RunSettings = RunSettings()

    @field_validator("zoo")
    @classmethod
    def _of_zoos(cls, steps: tuple[Transform, ...]) -> tuple[Transform, ...]:
        return steps_on("zoo", steps)

    @model_validator(mode="after")
    def _one_of_each(self) -> Recipe:
        for table in ("evaluate", "report"):
            names = [component.name for component in getattr(self, table)]
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice:
                raise PydanticCustomError("twice", "[[{t}]] names {n} twice; keep one", {"t": table, "n": repr(twice)})
        return self

    @property
    def selection(self) -> str:
        """The split on which epochs and networks are selected."""
        return "test" if self.protocol == "paper" else "validation"

    def table(self) -> dict[str, Any]:
        """Return the recipe with every option written out."""
        return {name: plain(getattr(self, name)) for name in type(self).model_fields}


def find_recipe(name: str | Path) -> Path:
    """Return the path of a recipe given by path or, below `recipes/`, by name. Raises UserError."""
    path = Path(name)
    for candidate in (path, Path("recipes") / path, Path("recipes") / f"{path}.toml"):
        if candidate.is_file():
            return candidate
    known = [str(file) for file in sorted(Path("recipes").glob("**/*.toml"))]
    near = did_you_mean(str(path), known) or did_you_mean(path.stem, [Path(file).stem for file in known])
    raise UserError(f"{path}: no such recipe here or in ./recipes{near}")


def load_recipe(path: str | Path, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Read and validate a recipe. Raises Faults with one line per mistake.

    Args:
        path: TOML file.
        overrides: values by dotted key, as `--set` gives them.
    """
    path = Path(path)
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such recipe") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid TOML: {error}") from None
    for key, value in (overrides or {}).items():
        _set(raw, key, value)
    try:
        return Recipe.model_validate(raw)
    except ValidationError as error:
        raise Faults(f"{path}: {line}" for line in faults(error, raw)) from None


def parse_override(text: str, example: str = "--set sample.count=50") -> tuple[str, Any]:
    """Split `a.b=value`; the value is read as TOML where it is that, else as text. Raises UserError."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UserError(f"{example.split()[0]} {text}: write it as key=value, for example {example}")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values by dotted key as tables in tables. Raises UserError."""
    tables: dict[str, Any] = {}
    for key, value in values.items():
        _set(tables, key, value)
    return tables


def _set(raw: dict[str, Any], dotted: str, value: Any) -> None:
    """Put `value` at `a.b.c`; a number steps into a list."""
    *path, last = dotted.split(".")
    node: Any = raw
    try:
        for part in path:
            node = node[int(part)] if isinstance(node, list) else node.setdefault(part, {})
        node[int(last) if isinstance(node, list) else last] = value
    except (IndexError, ValueError, TypeError, AttributeError):
        raise UserError(f"--set {dotted}: there is no such place in the recipe") from None


def faults(error: ValidationError, raw: Mapping[str, Any]) -> list[str]:
    """Return one line per fault: key path, value found, what was expected, nearest known key."""
    return [_fault(row, raw) for row in error.errors(include_url=False)]


def _fault(row: Any, raw: Mapping[str, Any]) -> str:
    where = dotted(row["loc"])
    if row["type"] == "extra_forbidden":
        known = _known_keys(row["loc"][:-1], raw)
        return f"{where}: unknown key{did_you_mean(str(row['loc'][-1]), known)}; known: {', '.join(known)}"
    if row["type"] == "missing":
        return f"{where}: missing; add it{_hint(row['loc'])}"
    found = f" = {row['input']!r}" if not isinstance(row["input"], Mapping | list) else ""
    message = row["msg"][0].lower() + row["msg"][1:] if row["msg"].startswith("Input") else row["msg"]
    return f"{where}{found}: {message}" if where else message


def _hint(loc: tuple[Any, ...]) -> str:
    """Name the components that a missing top-level table could ask for."""
    from pdiff.plugins.discovery import registry

    kind = _component_of(Recipe.model_fields[loc[0]].annotation) if len(loc) == 1 else None
    return f" with name = one of: {registry().known(kind.kind)}" if kind else ""


def dotted(loc: tuple[Any, ...]) -> str:
    """Return `method.codec.latent` or `evaluate[0].name`."""
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _component_of(annotation: Any) -> type[Component] | None:
    """Return the component kind that an annotation names, alone or inside a tuple."""
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, Component):
            return candidate
    return None


def _known_keys(loc: tuple[Any, ...], raw: Any) -> list[str]:
    """Return the keys that the table at `loc` may have."""
    from pdiff.plugins.discovery import registry

    model: Any = Recipe
    parts = list(loc)
    while parts:
        field = parts.pop(0)
        about, raw = model.model_fields[field], raw[field]
        if parts and isinstance(parts[0], int):
            raw = raw[parts.pop(0)]
        model = _component_of(about.annotation) or about.annotation
        if issubclass(model, Component):
            default = about.default.table() if isinstance(about.default, Component) else {}
            model, values = registry().find(model.kind, merge(default, raw)["name"])
            raw = merge(values, raw)
    named = ["name"] if issubclass(model, Component) else []
    return named + list(model.model_fields)
