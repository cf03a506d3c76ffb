"""Progress: live bars for a person, few plain lines for a file, numbers for observers."""

from __future__ import annotations

import io
import time

from rich.console import Console

from pdiff.running.progress import PlainProgress, progress_for


def test_a_terminal_sees_what_how_far_rate_time_left_and_loss() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=120)
    with progress_for(console).step("diffusion", total=200, done=50) as step:
        for _ in range(3):
            time.sleep(0.12)
            step.advance(25, loss=0.123456)
    text = out.getvalue()
    assert "diffusion" in text and "125/200" in text and "/s" in text and "loss 0.1235" in text
    assert "0:00:00" in text, "time left"


def test_a_file_gets_lines_without_control_characters_and_not_too_many() -> None:
    out = io.StringIO()
    progress = progress_for(Console(file=out, force_terminal=False))
    with progress.step("train", total=1000) as step:
        for _ in range(1000):
            step.advance(1, loss=0.5)
    with progress.step("predict original (test)", total=3) as step:
        step.advance(3)
    progress.say("codec: 99.8 % of the variance between checkpoints is kept")
    lines = out.getvalue().splitlines()
    assert lines[0].startswith("train: 1000/1000 in ") and lines[0].endswith("loss 0.5")
    assert len(lines) == 2 and "\x1b" not in out.getvalue(), "a quick step without a loss leaves no line"


def test_long_steps_say_how_much_time_is_left() -> None:
    said: list[str] = []
    with PlainProgress(said.append).step("collect", total=300, done=100) as step:
        step.every_s = 0.0
        time.sleep(0.05)
        step.advance(100, loss=2.0)
    assert said[0].startswith("collect: 200/300  ") and "left" in said[0] and "loss 2" in said[0]
