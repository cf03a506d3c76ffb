"""The tables of a recipe, validated as a whole."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from pdiff.components import (
    Architecture,
    Collector,
    Dataset,
    Encoder,
    Evaluator,
    Method,
    Report,
    Selector,
    Table,
    Task,
    Tracker,
    Train,
    Transform,
    plain,
)
from pdiff.steps import listed, steps_on


class Sample(Table):
    """How many networks are drawn."""

    count: int = Field(200, gt=0, description="networks drawn from the method")
    baseline_count: int = Field(100, gt=0, description="networks drawn from each baseline")
    step: tuple[Transform, ...] = Field((), description="what drawn networks go through, in this order")
    about: dict[str, str | int | float] = Field(
        {},
        description="what drawn networks are asked for, of methods that take conditions, as { label = 7 }; nothing: as "
        "often as among checkpoints",
    )

    _listed = field_validator("step", mode="before")(listed)

    @field_validator("step")
    @classmethod
    def _of_samples(cls, steps: tuple[Transform, ...]) -> tuple[Transform, ...]:
        return steps_on("samples", steps)


COUNTED = ("threads", "precision")
"""Keys of [run] that change the last bits, or more, of what is trained: set, they are part of every stage's key."""


class RunSettings(Table):
    """How, not what: nothing here changes a stage's key, but what can change results (`keyed`) does where it is set."""

    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d{1,2})?)$", description="auto, cpu, cuda or cuda:N")
    out: str = Field("runs", description="folder of results, or an address: s3://bucket/runs; stages lie in its store/")
    data: str = Field("data", description="folder where datasets lie and are downloaded to")
    download: bool = Field(True, description="fetch a dataset that is not there")
    threads: int = Field(0, ge=0, description="CPU threads (keyed); 0: one for small networks, else all cores")
    batch_size: int = Field(0, ge=0, description="examples per evaluation batch; 0 chooses by their size")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="of training (keyed); auto is bfloat16 (autocast) on CUDA and float32 on a CPU"
    )
    graphs: bool = Field(True, description="on CUDA, replay training and sampling steps as CUDA graphs")
    shard: bool = Field(
        False, description="processes of one run hold parts of the denoisers and codecs that they fit together (FSDP2)"
    )
    track: tuple[Tracker, ...] = Field((), description='what follows the run: [[run.track]] name = "tensorboard"')


class Expect(Table):
    """Published numbers, shown beside ours: tables of numbers by source (in per cent) or evaluator."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)
    __pydantic_extra__: dict[str, dict[str, float]]
    name: str = Field("published", min_length=1, description="title of the column")
    source: str = Field(min_length=1, description="where they are published")


class Recipe(Table):
    """Everything that decides a run."""

    seed: int = Field(0, ge=0, lt=2**31, strict=True, description="of every random draw")
    plugins: tuple[str, ...] = Field(
        (), description="Python files of your own that are plugins, relative to the recipe"
    )
    protocol: Literal["holdout", "paper"] = Field(
        "holdout", description="holdout selects on validation and reads test once; paper selects on test"
    )
    dataset: Dataset
    task: Task
    architecture: Architecture
    selector: Selector
    train: Train = Train()
    collect: Collector
    encoder: Encoder | None = None
    zoo: tuple[Transform, ...] = ()
    method: Method
    baseline: tuple[Method, ...] = ()
    sample: Sample = Sample()
    evaluate: tuple[Evaluator, ...] = ()
    report: tuple[Report, ...] = ()
    expect: tuple[Expect, ...] = ()
    run: RunSettings = RunSettings()

    _listed = field_validator("zoo", mode="before")(listed)

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

    @model_validator(mode="after")
    def _can_be_asked(self) -> Recipe:
        if self.sample.about and self.encoder is None:
            raise PydanticCustomError(
                "no_encoder", "sample.about is read by an encoder, and there is none; write [encoder] with its name"
            )
        return self

    @property
    def selection(self) -> str:
        """The split on which epochs and networks are selected."""
        return "test" if self.protocol == "paper" else "validation"

    def table(self) -> dict[str, Any]:
        """Return the recipe with every option written out."""
        tables = {name: plain(getattr(self, name)) for name in type(self).model_fields}
        return {name: table for name, table in tables.items() if table is not None}
