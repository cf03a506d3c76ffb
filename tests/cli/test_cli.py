"""The program as a user meets it: a whole run, its verbs, and what it says to mistakes."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch

import pdiff
from pdiff.checkpoints.reading import load_state
from pdiff.files import load_tensors, save_tensors
from pdiff.running.progress import STAGES
from pdiff_plugins.images.digits import Digits
from pdiff_plugins.networks.small import MlpMini
from tests.helpers import call, mistake, pdiff_command


@pytest.fixture
def copy(finished, here: Path) -> Path:
    """The current folder holds the finished run, to be changed at will."""
    shutil.copytree(finished.folder.parent, here / "runs")
    shutil.copyfile(finished.folder.parent.parent / "tiny.toml", here / "tiny.toml")
    return here / "runs" / finished.folder.name


def test_a_run_in_a_fresh_process_and_again_from_the_store(tiny: Path) -> None:
    folder = tiny.parent
    first = pdiff_command("run", "tiny.toml", cwd=folder)
    assert first.returncode == 0 and first.stderr == "", first.stderr
    stages = [
        line.split()[:2] for line in first.stdout[: first.stdout.index("run: ")].splitlines() if line[1:3] == "/6"
    ]
    assert stages == [[f"{n}/6", stage] for n, stage in enumerate(STAGES, 1)]
    assert "per network and batch" not in first.stdout and first.stdout.index("run: ") < 1000, (
        "few lines before the result"
    )
    assert "networks" in first.stdout and "original" in first.stdout and "expected (published: nowhere" in first.stdout
    again = pdiff_command("run", "tiny.toml", cwd=folder)
    assert again.returncode == 0
    assert [line.split()[2:] for line in again.stdout.splitlines() if line[1:3] == "/6"] == [["cached"]] * 5
    table = first.stdout[first.stdout.index("networks  ") :]
    assert table == again.stdout[again.stdout.index("networks  ") :]
    (run,) = (path for path in (folder / "runs").iterdir() if path.name.startswith("tiny-"))
    assert {"recipe.toml", "resolved.toml", "scores.json", "report.md"} <= {file.name for file in run.iterdir()}
    assert (run / "recipe.toml").read_text() == tiny.read_text()


def test_show_prints_the_table_and_all_scores_as_json(copy: Path) -> None:
    assert "soup" in call("show", "tiny")
    scores = json.loads(call("show", str(copy), "--json"))
    assert set(scores["networks"]) == {"original", "pdiff", "base", "soup", "noise 0.05", "constant"}
    for source in scores["networks"].values():
        assert {"best", "mean", "std", "median", "min"} <= set(source["accuracy"])
    assert {"oo", "gg", "og", "og_max"} <= set(scores["similarity"])
    assert scores["networks"]["original"]["count"] == 60 and scores["networks"]["pdiff"]["count"] == 12
    assert scores["selection"] == "validation"


def test_check_prints_the_plan_and_every_option_where_it_is_asked_to(copy: Path) -> None:
    said = call("check", "tiny.toml")
    assert said.startswith("stage") and len(said.splitlines()) == 17 and "to do" not in said
    assert said.count("  cached") == 15 and said.endswith("tiny.toml: can run; 15 stages, 15 of them cached\n")
    full = call("check", "tiny.toml", "--full")
    assert full.startswith(said) and "latent = 32" in full and "weight_decay = 0.0" in full
    changed = call("check", "tiny.toml", "--set", "method.steps=61")
    assert changed.count("to do") == 5  # fit and sample of the method, and three evaluators
    assert call("check", "tiny.toml", "--set", "method.sampler=ddim").count("to do") == 4  # fitted is fitted


def test_exported_networks_load_with_strict(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    call("export", "tiny", "--to", "best.safetensors")
    assert "best.safetensors: is there already" in mistake("export", "tiny", "--to", "best.safetensors")
    call("export", "tiny", "--to", "best.safetensors", "--overwrite")
    model = MlpMini(hidden=(12, 8)).build(input_shape=(1, 16, 16), outputs=10)
    model.load_state_dict(load_tensors(Path("best.safetensors")), strict=True)
    best = pdiff.open_run("tiny").networks(1)[0].state_dict()
    assert all(value.equal(best[key]) for key, value in model.state_dict().items())
    for _ in range(2):
        (said,) = {call("export", "tiny", "--overwrite", "--which", "3").strip()}
    assert said == f"{copy.relative_to(Path.cwd()) / 'network-pdiff-3.safetensors'}: network 3 of pdiff"
    assert "networks-soup" in call("export", "tiny", "--all", "--source", "soup")
    with monkeypatch.context() as patch:  # the data may be elsewhere
        patch.setattr(Digits, "load", None)
        for source in ("original", "pdiff", "soup"):
            call("export", "tiny", "--source", source, "--to", f"{source}.safetensors")
    assert load_tensors(Path("pdiff.safetensors")).keys() == best.keys()
    assert all(value.equal(best[key]) for key, value in load_tensors(Path("pdiff.safetensors")).items())
    call("export", "tiny", "--all", "--source", "original", "--to", "all")
    assert len(list(Path("all").glob("*.safetensors"))) == 60
    zoo = pdiff.open_run("tiny").theta("original")
    assert pdiff.open_run("tiny").pipeline.zoo.layout.vector(load_state("all/network-0007.safetensors")).equal(zoo[7])


def test_export_needs_no_data_and_says_which_network_it_is(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    best = {source: pdiff.open_run("tiny")._order(source)[0] for source in ("pdiff", "original")}
    monkeypatch.setattr(Digits, "load", lambda *_: pytest.fail("the data was read"))
    before = os.umask(0o027)
    try:
        said = call("export", "tiny", "--to", "best.safetensors")
        assert f"best.safetensors: network {best['pdiff']} of pdiff (best on the validation split)" in said
        said = call("export", "tiny", "--to", "original.safetensors", "--source", "original")
        assert f"network {best['original']} of original" in said
        call("export", "tiny", "--to", "all", "--all")
    finally:
        os.umask(before)
    assert Path("best.safetensors").stat().st_mode & 0o777 == 0o640 and len(list(Path("all").iterdir())) == 12


def test_sample_draws_more_and_other_networks(copy: Path) -> None:
    said = call("sample", "tiny", "-n", "4")
    assert "4 networks in" in said and "%" in said
    first = [load_state(file) for file in sorted((copy / "samples-pdiff-4-draw-1").glob("*.safetensors"))]
    call("sample", "tiny", "-n", "4", "--draw", "2", "--to", "more")
    second = [load_state(file) for file in sorted(Path("more").glob("*.safetensors"))]
    assert len(first) == len(second) == 4
    key = max(first[0], key=lambda name: first[0][name].numel())
    states = [*first, *second]
    assert all(not a[key].equal(b[key]) for i, a in enumerate(states) for b in states[:i])
    run = pdiff.open_run("tiny")
    own = run.pipeline.zoo.layout.vector(first[0])
    assert not (run.theta() == own).all(dim=1).any(), "the networks of the run itself are not given again"


def test_draws_are_not_mixed_and_originals_are_not_drawn(copy: Path) -> None:
    call("sample", "tiny", "-n", "4", "--to", "more")
    assert "holds other networks already" in mistake(
        "sample", "tiny", "-n", "2", "--source", "noise 0.05", "--to", "more"
    )
    assert len(list(Path("more").glob("*.safetensors"))) == 4
    assert "are collected, not drawn" in mistake("sample", "tiny", "--source", "original")
    for change in ("method.steps=3", "run.threads=2"):
        assert "a finished run takes run.* only" in mistake("sample", "tiny", "--set", change)
    assert "cannot be made" in mistake("sample", "tiny", "--to", "tiny.toml/x")


def test_evaluate_adds_an_evaluator_and_report_writes_again(copy: Path) -> None:
    call("evaluate", "tiny", "--with", "denoising")
    call("evaluate", "tiny")
    assert len(json.loads(call("show", "tiny", "--json"))["denoising"]["scores"]) == 5
    (copy / "report.md").unlink()
    assert "report.md" in call("report", "tiny")
    assert "soup" in (copy / "report.md").read_text()


def test_from_python(finished) -> None:
    models = finished.networks(5)
    assert len(models) == 5 and not models[0].training
    x = torch.zeros(2, 1, 16, 16)
    assert models[0](x).shape == (2, 10)
    values = finished.scores["networks"]["pdiff"]["accuracy"]["selection_values"]
    assert finished._order("pdiff")[0] == max(range(12), key=values.__getitem__)
    assert len(finished.sample(3)) == 3
    assert finished.sources[:2] == ["original", "pdiff"]


def test_a_changed_recipe_says_what_changed_and_keeps_the_old_run(copy: Path) -> None:
    said = call("run", "tiny.toml", "--set", "method.steps=70", "--set", "sample.count=13")
    assert f"recipe changed since {copy.name} (kept): method.steps, sample.count" in said
    assert "collect:" not in said, "the collected networks are used again"
    assert (copy / "scores.json").is_file() and len(list(Path("runs").glob("tiny-*"))) == 2


def test_a_run_of_another_version_is_named_once_and_kept(copy: Path) -> None:
    resolved = copy / "resolved.toml"
    resolved.write_text(resolved.read_text().replace("zoo = []", 'zoo = { first = "all" }'))
    said = call("run", "tiny.toml", "--set", "sample.count=13")
    assert (
        said.count(f"{copy.name} (kept) is of another version of pdiff or of your code: its stages are computed again")
        == 1
    )
    assert resolved.is_file()


def test_bring_your_own_checkpoints(copy: Path) -> None:
    call("export", "tiny", "--source", "original", "--all", "--to", "checkpoints")
    text = Path("tiny.toml").read_text()
    start, end = text.index("[collect]"), text.index("[method]")
    own = text[:start] + '[collect]\nname = "folder"\npath = "checkpoints"\n\n' + text[end:]
    Path("own.toml").write_text(own.replace("[train]\nepochs = 6\nlr = 1e-2\nbatch_size = 64", ""))
    call("run", "own.toml", "-q")
    ours, theirs = (json.loads(call("show", name, "--json"))["networks"]["original"] for name in ("own", "tiny"))
    assert ours["accuracy"]["mean"] == pytest.approx(theirs["accuracy"]["mean"])
    shutil.rmtree("checkpoints")
    call("export", "own", "--to", "best.safetensors", "--set", "run.device=cpu")
    call("sample", "own", "-n", "2")


def test_mistakes_end_with_exit_code_2_and_one_line_each(tiny: Path) -> None:
    tiny.write_text(tiny.read_text().replace("steps = 60", "steps = 0\nstep = 1"))
    for arguments, lines in ((["run", "tiny.toml"], 2), (["describe", "method", "pdif"], 1)):
        result = pdiff_command(*arguments, cwd=tiny.parent)
        assert result.returncode == 2, result
        said = result.stderr.splitlines()
        assert len(said) == lines and all(line.startswith("error: ") for line in said), result.stderr
    assert not (tiny.parent / "runs").exists()
    for arguments in (["run", "tinny.toml"], ["show", "nothing"]):
        assert arguments[1] in mistake(*arguments)


def test_brackets_in_a_folders_name_are_no_markup(tiny: Path, here: Path) -> None:
    assert "results in b[/x]" in call("run", "tiny.toml", "-q", "--out", "b[/x]")


def test_a_run_whose_scores_are_damaged_says_so(copy: Path) -> None:
    (copy / "scores.json").write_text("{}")
    assert "scores.json: damaged" in mistake("show", "tiny")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_cuda_that_is_not_there(tiny: Path, here: Path) -> None:
    assert "run.device = 'cuda': torch finds no CUDA device; write 'auto' or 'cpu'" in mistake(
        "run", "tiny.toml", "--device", "cuda"
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            ["selector.name=names", 'selector.include=["conv*"]'],
            "selector.include: 'conv*' matches none of the network's",
        ),
        (["selector.name=last_norms", "selector.n=99"], "selector.n = 99: the network has 2 normalisation layers"),
        (["dataset.validation=0.0"], "the validation split is empty; protocol = 'holdout' selects on validation"),
        (["architecture.weights=none.safetensors"], "architecture.weights = 'none.safetensors': no such file"),
        (["dataset.name=mnist", "run.download=false", "run.data=nowhere"], "nowhere"),
        (["dataset.name=cifar10", "run.download=false"], "cifar-10-batches-py"),
    ],
)
def test_a_fault_that_shows_only_when_it_runs_is_one_line_too(
    tiny: Path, here: Path, change: list[str], words: str
) -> None:
    text = tiny.read_text().replace('augment = "crop"\ncrop_scale = [0.6, 1.0]\n', "")
    tiny.write_text(text)
    assert words in mistake("run", "tiny.toml", "-q", *[part for item in change for part in ("--set", item)])


def test_weights_of_another_network_are_refused(tiny: Path, here: Path) -> None:
    save_tensors(
        here / "w.safetensors", MlpMini(hidden=(11, 8)).build(input_shape=(1, 16, 16), outputs=10).state_dict()
    )
    said = mistake("run", "tiny.toml", "-q", "--set", "architecture.weights=w.safetensors")
    assert "architecture.weights: w.safetensors" in said and "has shape [11" in said


def test_no_such_source_and_no_such_network(copy: Path) -> None:
    assert "no networks of source 'sup'; did you mean 'soup'?" in mistake(
        "export", "tiny", "--to", "x.safetensors", "--source", "sup"
    )
    assert "number from 0 to 11" in mistake("export", "tiny", "--to", "x.safetensors", "--which", "12")
    assert "ends in .safetensors" in mistake("export", "tiny", "--to", "x.pt")
    assert "no evaluator 'accurac'; did you mean 'accuracy'?" in mistake("evaluate", "tiny", "--with", "accurac")


def test_a_damaged_stage_is_named_and_the_rest_is_kept(copy: Path) -> None:
    (zoo,) = copy.parent.glob("store/collect-*")
    whole = (zoo / "zoo.safetensors").read_bytes()
    (zoo / "zoo.safetensors").write_bytes(whole[: len(whole) // 2])
    said = call("run", "tiny.toml")
    assert f"{zoo.name}: damaged (zoo.safetensors has another size" in said
    assert "1/6 train     cached" in said and "2/6 collect   cached" not in said
    assert "3/6 fit       cached" in said, "only what was damaged is computed again"
    assert (zoo / "zoo.safetensors").read_bytes() == whole
