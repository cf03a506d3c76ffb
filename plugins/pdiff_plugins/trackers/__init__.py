"""Trackers: TensorBoard, Weights & Biases and MLflow follow a run, each by its own library, which is an extra."""

from __future__ import annotations

from typing import Any

from pdiff import hookimpl


@hookimpl
def register_trackers(register: Any) -> None:
    from pdiff_plugins.trackers.mlflow import MLflow
    from pdiff_plugins.trackers.tensorboard import TensorBoard
    from pdiff_plugins.trackers.wandb import WeightsAndBiases

    for tracker in (TensorBoard, WeightsAndBiases, MLflow):
        register(tracker)
