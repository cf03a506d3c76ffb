"""Options of sampling on the command line: what is wrong with one is told in one line, with exit code 2."""

from __future__ import annotations

import sys

import pytest

from pdiff.cli import main


@pytest.fixture
def refused(finished, monkeypatch, capsys):
    """Return a function that runs a command as a user does, and gives the one line with which it is refused."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["pdiff", *arguments])
        before = sorted(finished.folder.iterdir())
        with pytest.raises(SystemExit) as caught:
            main()
        (line,) = capsys.readouterr().err.splitlines()
        assert caught.value.code == 2 and sorted(finished.folder.iterdir()) == before
        return line

    return run


HAS = "method pdiff has no such option of sampling; it has: sampler, sampling_steps, guidance, label"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["lable=7"], f"lable: {HAS}"),
        (["steps=7"], f"steps: {HAS}"),
        (["prompt.loss=0.2"], f"prompt: {HAS}"),
        (["sampling_steps=many"], "method: sampling_steps = 'many': input should be a valid integer, unable to parse "
         "string as an integer"),
        (["sampling_steps=-1"], "method: sampling_steps = -1: input should be greater than or equal to 0"),
        (["sampler=euler"], "method: sampler = 'euler': input should be 'ddpm' or 'ddim'"),
        (["sampling_steps=41"], "method: sampling_steps = 41 is more than timesteps = 40"),
        (["label=1"], "method: label and guidance are read with labels = true only; set it"),
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
    assert refused("render", str(finished.folder), "-o", "lable=7") == f"error: lable: {HAS}"
