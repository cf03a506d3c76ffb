"""MLflow: a run on a tracking server, or in a local store."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from pdiff.components import Ahead, Tracker
from pdiff_plugins.trackers.following import Following, began, flat, foresee_library, library

ODD = re.compile(r"[^\w\-. /]", re.ASCII)
"""What a name in MLflow cannot hold."""
LONGEST, AT_ONCE = 500, 100
"""Characters of a parameter's value, and entries that a server takes at once."""
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
"""Where the user says nothing else: by itself MLflow tries for minutes."""


class MLflow(Tracker):
    """A run in MLflow: parameters, curves, scores, reports."""

    name = "mlflow"
    source = "Zaharia et al. 2018, IEEE Data Engineering Bulletin 41; pip install 'neural-pdiff[mlflow]'"
    tracking_uri: str = Field("", description="server or store; empty: MLFLOW_TRACKING_URI, else MLflow's own")
    experiment: str = Field("", description="empty: MLFLOW_EXPERIMENT_NAME, else pdiff")

    @field_validator("tracking_uri")
    @classmethod
    def _without_password(cls, uri: str) -> str:
        if "@" in urlsplit(uri).netloc and uri.startswith("http"):
            raise ValueError("holds a password, which recipes keep; set MLFLOW_TRACKING_USERNAME and _PASSWORD instead")
        return uri

    def foresee(self, ahead: Ahead) -> None:
        """See `Component.foresee`."""
        foresee_library(self.name)

    def begin(self, *, run: str, recipe: Mapping[str, Any], folder: Path, stages: Mapping[str, str]) -> Following:
        """See `Tracker.begin`."""
        for name, value in PATIENCE.items():
            os.environ.setdefault(name, value)
        mlflow: Any = library(self.name)
        experiment = self.experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME") or "pdiff"
        try:
            return Following(Logged(mlflow, self.tracking_uri, experiment, run, recipe), run, stages)
        except Exception as error:  # whichever its library, its store or its server raises
            raise began(self.name, error) from None


class Logged:
    """A `Sink` of a run in MLflow."""

    def __init__(self, mlflow: Any, uri: str, experiment: str, run: str, recipe: Mapping[str, Any]):
        self.entities, self.client = mlflow.entities, mlflow.MlflowClient(tracking_uri=uri or None)
        known = self.client.get_experiment_by_name(experiment)
        where = known.experiment_id if known else self.client.create_experiment(experiment)
        self.id = self.client.create_run(where, run_name=run, tags={"pdiff.run": run}).info.run_id
        rows = [(named(key), str(value)[:LONGEST]) for key, value in flat(recipe)]
        for some in batches([self.entities.Param(key, value) for key, value in rows]):
            self.client.log_batch(self.id, params=some)

    def curve(self, curve: str, step: int, values: Mapping[str, float]) -> None:
        self._metrics({f"{curve}/{name}": value for name, value in values.items()}, step)

    def numbers(self, numbers: Mapping[str, float]) -> None:
        self._metrics(numbers, 0)

    def _metrics(self, numbers: Mapping[str, float], step: int) -> None:
        now = int(time.time() * 1000)
        metrics = [self.entities.Metric(named(name), value, now, step) for name, value in numbers.items()]
        for some in batches(metrics):
            self.client.log_batch(self.id, metrics=some)

    def table(self, name: str, head: list[str], rows: list[list[str]], notes: list[str]) -> None:
        from pdiff_plugins.reports.reports import markdown_table

        text = markdown_table(head, rows) + "\n\n" + "\n".join(f"- {line}" for line in notes) + "\n"
        self.client.log_text(self.id, text, f"{name}.md")

    def picture(self, name: str, path: Path) -> None:
        """Pictures are among the files."""

    def files(self, folder: Path, paths: list[Path]) -> None:
        self.client.set_tag(self.id, "pdiff.folder", str(folder.resolve()))
        for path in paths:
            below = path.parent.relative_to(folder).as_posix()
            self.client.log_artifact(self.id, str(path), None if below == "." else below)

    def close(self, failure: str) -> None:
        if failure:
            self.client.set_tag(self.id, "pdiff.failure", failure)
        stopped = "KILLED" if failure.startswith("KeyboardInterrupt") else "FAILED"
        self.client.set_terminated(self.id, stopped if failure else "FINISHED")


def named(name: str) -> str:
    """Return a name as MLflow takes it."""
    return ODD.sub("_", name)[:250]


def batches(entries: list[Any]) -> Iterator[list[Any]]:
    """Yield entries, as many at a time as a server takes."""
    for start in range(0, len(entries), AT_ONCE):
        yield entries[start : start + AT_ONCE]
