"""Progress: live bars for a person, few plain lines for a file, numbers for observers."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from pdiff.running import progress as running_progress
from pdiff.running.progress import PlainProgress, Progress, Told, progress_for


class Clock:
    """A clock that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the plain lines."""
    clock = Clock()
    monkeypatch.setattr(running_progress, "time", SimpleNamespace(monotonic=clock))
    return clock


def test_a_terminal_sees_what_how_far_time_left_and_loss_as_long_as_it_takes(clock: Clock) -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=80, get_time=clock)
    with progress_for(console).step("diffusion", total=200, done=50) as step:
        for _ in range(3):
            clock.seconds += 10
            step.advance(25, loss=0.123456)
    text = out.getvalue()
    assert "diffusion" in text and "125/200" in text and "00:30" in text and "loss 0.1235" in text
    assert "\n" not in text.rstrip("\n") or text.endswith("\x1b[2K"), "it goes when it is done"


def test_a_file_gets_lines_without_control_characters_and_not_too_many(clock: Clock) -> None:
    out = io.StringIO()
    progress = progress_for(Console(file=out, force_terminal=False))
    with progress.step("train", total=1000) as step:
        for _ in range(1000):
            step.advance(1, loss=0.5)
    with progress.step("predict original (test)", total=3) as step:
        step.advance(3)
    progress.say("codec: 99.8 % of the variance between checkpoints is kept")
    assert out.getvalue() == "codec: 99.8 % of the variance between checkpoints is kept\n", "quick steps leave no line"


def test_a_stage_leaves_one_line_of_what_its_parts_took(clock: Clock) -> None:
    said: list[str] = []
    progress = PlainProgress(said.append)
    with progress.stage("train"):
        progress.took("train", "", None)
    with progress.stage("fit"):
        progress.begins("fit", "pdiff")
        with progress.step("codec", total=10) as step:
            clock.seconds += 31
            step.advance(1, loss=3.0)
        progress.took("predict", "", 5.0)
        for what, seconds in (("pdiff", 75.0), ("soup", 0.25), ("base", 0.5), ("noise", None)):
            progress.took("fit", what, seconds)
    with progress.stage("evaluate"):
        pass
    progress.detail("predict: 6 networks, one at a time: 1.2 ms")
    assert said == [
        "1/6 train     cached",
        "3/6 fit pdiff: codec: 1/10  0.0323/s  4m39s left  loss 3",
        "3/6 fit       pdiff 1m15s, 2 others 0.8s, 1 cached",
    ]
    progress.verbose = True
    progress.detail("predict: 6 networks, one at a time: 1.2 ms")
    assert said[3:] == ["predict: 6 networks, one at a time: 1.2 ms"]


def test_long_steps_say_how_much_time_is_left(clock: Clock) -> None:
    said: list[str] = []
    with PlainProgress(said.append).step("collect", total=300, done=100) as step:
        clock.seconds += 29
        step.advance(50, loss=3.0)
        clock.seconds += 11
        step.advance(50, loss=2.0)
    assert said == ["collect: 200/300  2.5/s  40.0s left  loss 2"]


def test_an_observer_is_told_each_second_and_the_last_of_every_value(clock: Clock) -> None:
    told: list[tuple[str, int, dict[str, float]]] = []
    with Told(Progress(), lambda *values: told.append(values)).step("codec", total=9, done=10) as step:
        for loss in (3.0, 2.0, 1.0):
            clock.seconds += 0.4
            step.advance(1, loss=loss)
        step.advance(1, score=0.5)
        step.advance(2)
    assert told == [("codec", 11, {"loss": 3.0}), ("codec", 13, {"loss": 1.0}), ("codec", 14, {"score": 0.5})]
