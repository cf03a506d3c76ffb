"""The kinds of component: one frozen pydantic model for everything that has a name.

A component's fields are its recipe options, its class docstring is its help, and its one or two methods return
ordinary torch objects. Shapes in this project: N checkpoints, M sampled networks, D selected parameters, Z latent,
B batch, C condition, K classes, E examples.
"""

from __future__ import annotations

from pdiff.components.ahead import Ahead
from pdiff.components.architecture import Architecture
from pdiff.components.backbone import Codec, Denoiser
from pdiff.components.base import (
    CONTENT,
    IF_SET,
    NEVER,
    Component,
    NoSuchComponent,
    ReadsCheckpoints,
    Table,
    identity,
    merge,
    plain,
)
from pdiff.components.collector import Collector
from pdiff.components.dataset import Dataset
from pdiff.components.encoder import Encoder
from pdiff.components.engine import Engine, Job, Launcher
from pdiff.components.evaluator import Evaluator
from pdiff.components.family import PARTS, Family, Rival
from pdiff.components.method import Generator, Method
from pdiff.components.reader import Readout, WeightReader
from pdiff.components.report import Report
from pdiff.components.selector import Selector
from pdiff.components.task import Task
from pdiff.components.tracker import Tracker
from pdiff.components.train import Train
from pdiff.components.transform import Transform
from pdiff.results.shown import Figure, Finding, Page

__all__ = [
    "CONTENT", "IF_SET", "KINDS", "NEVER", "PARTS", "Ahead", "Architecture", "Codec", "Collector", "Component",
    "Dataset", "Denoiser", "Encoder", "Engine", "Evaluator", "Family", "Figure", "Finding", "Generator", "Job",
    "Launcher", "Method", "NoSuchComponent", "Page", "Readout", "ReadsCheckpoints", "Report", "Rival", "Selector",
    "Table", "Task", "Tracker", "Train", "Transform", "WeightReader", "identity", "merge", "plain",
]  # fmt: skip

KINDS: dict[str, type[Component]] = {
    kind.kind: kind
    for kind in (
        Architecture, Dataset, Task, Selector, Collector, Encoder, Transform, Codec, Denoiser, Method, Evaluator,
        WeightReader, Report, Tracker, Engine,
    )
}  # fmt: skip
