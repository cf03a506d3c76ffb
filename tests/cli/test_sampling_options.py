"""Options of sampling on the command line: what is wrong with one is told in one line, with exit code 2."""

from __future__ import annotations

import sys

import pytest

from pdiff.api import Run
from pdiff.cli import main
from pdiff.errors import UserError
from pdiff.testing import tiny_run


@pytest.fixture
def refused(finished, monkeypatch, capsys):
    """Return a function that runs a command as a user does, and gives the one line with which it is refused."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["pdiff", *arguments])

        def there():
            return sorted([*finished.folder.iterdir(), *(finished.folder.parent / "store").iterdir()])

        before, listed = there(), (finished.folder / "stages.json").read_bytes()
        with pytest.raises(SystemExit) as caught:
            main()
        (line,) = capsys.readouterr().err.splitlines()
        assert caught.value.code == 2 and there() == before
        assert (finished.folder / "stages.json").read_bytes() == listed
        return line

    return run


HAS = "method pdiff has no such option of sampling; it has: sampler, sampling_steps, guidance, mean_of, noise"
NEAR = HAS.replace("; it", "; did you mean 'guidance'?; it")
NO_CONDITIONS = (
    "there are no conditions that it could be read with; write [encoder] with its name, such as 'bits', and "
)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["guidence=7"], f"guidence: {NEAR}"),
        (["steps=7"], f"steps: {HAS}"),
        (["prompt.loss=0.2"], f"prompt: {HAS}; methods that have it: gpt"),
        (["sampling_steps=many"], "method: sampling_steps = 'many': input should be a valid integer, unable to parse "
         "string as an integer"),
        (["sampling_steps=-1"], "method: sampling_steps = -1: input should be greater than or equal to 0"),
        (["sampler=euler"], "method: sampler = 'euler': input should be 'ddpm' or 'ddim'"),
        (["sampling_steps=41"], "method: sampling_steps = 41 is more than timesteps = 40"),
        (["label=1"], f"label: {HAS}"),
        (["guidance=2"], f"method.guidance: {NO_CONDITIONS}leave condition = true, or leave guidance out"),
        (["sampler"], "-o sampler: write it as key=value, for example -o guidance=3"),
        (["=ddim"], "-o =ddim: write it as key=value, for example -o guidance=3"),
        (["sampler.kind=ddim"], "method: sampler: input should be 'ddpm' or 'ddim'"),
        (["sampler=ddim", "sampler.kind=3"], "-o sampler.kind: another option has a value there; give one of them"),
    ],
)  # fmt: skip
def test_a_wrong_option_is_one_line(options, said, refused, finished):
    arguments = [part for option in options for part in ("-o", option)]
    assert refused("sample", str(finished.folder), *arguments) == f"error: {said}"


def test_the_command_that_draws_takes_the_same_options(refused, finished):
    assert refused("render", str(finished.folder), "-o", "guidence=7") == f"error: guidence: {NEAR}"


def test_options_are_those_of_the_source_that_is_drawn_from(tmp_path):
    run = Run(tmp_path, tiny_run(tmp_path, baseline=[{"name": "flow_matching", "steps": 3, "batch_size": 8}]))
    plain, other = (
        each.draw(4, source="flow_matching")
        for each in (run, run.drawing("flow_matching", solver="euler", sampling_steps=2))
    )
    assert plain.shape == other.shape and not plain.equal(other)
    with pytest.raises(UserError, match="solver: method tiny_method has no such option of sampling; it has: none"):
        run.drawing(solver="euler")


def test_files_of_a_run_are_never_those_of_other_options(finished):
    drawing = finished.drawing(sampling_steps=2)
    for write in (drawing.evaluate, drawing.report):
        with pytest.raises(UserError, match="is of the run as its recipe has it, not of other options"):
            write()
