"""Adapters go out of a run as files and come back as a zoo."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import pdiff
from pdiff.files import load_tensors, save_tensors
from pdiff_plugins.adapters.selector import Lora
from tests.adapters.files.helpers import extended
from tests.helpers import HANG_S, call, mistake

RECIPE = """
seed = 3
[dataset]
name = "digits"
[task]
name = "classification"
[architecture]
name = "{architecture}"
{weights}
[selector]
name = "lora"
rank = {rank}
alpha = 5
biases = true
[train]
epochs = {epochs}
[collect]
{collect}
[method]
name = "soup"
[[baseline]]
name = "base"
[sample]
count = 1
[[evaluate]]
name = "accuracy"
"""
MADE = {"architecture": "mlp_mini", "weights": "", "rank": 3, "epochs": 1}
READ = MADE | {"weights": 'weights = "zoo/base.safetensors"', "epochs": 0}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run of adapters, and all of its networks as PEFT's."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("lo.toml").write_text(RECIPE.format(**MADE, collect='name = "trajectory"\ncount = 5\nlr = 0.01'))
        call("run", "lo.toml")
        call("export", "lo", "--format", "peft", "--source", "original", "--all", "--to", "zoo")
    return folder


@pytest.fixture
def inside(made: Path, here: Path) -> Path:
    shutil.copytree(made, here, dirs_exist_ok=True)
    return here


def recipe(name: str, **changes) -> str:
    collect = {"collect": 'name = "folder"\npath = "zoo"'}
    Path(f"{name}.toml").write_text(RECIPE.format(**READ | collect | changes))
    return f"{name}.toml"


def test_all_networks_come_back_equal_in_every_bit(inside: Path) -> None:
    said = call("run", recipe("back"))
    assert "collect: left out base.safetensors" in said and "warning: collect" not in said
    ours, theirs = pdiff.open_run("lo"), pdiff.open_run("back")
    assert theirs.theta("original").equal(ours.theta("original")) and theirs.zoo.layout == ours.zoo.layout
    assert [row["file"] for row in theirs.zoo.rows] == [f"network-{n:04d}" for n in range(5)]
    for key, value in ours.zoo.anchor.items():
        assert value.equal(theirs.zoo.anchor[key]) or ".lora_A." in key
    call("run", recipe("wide", rank=5))
    plain = [pdiff.open_run(name).state_dict(2, "original") for name in ("lo", "wide")]
    assert all(torch.allclose(plain[0][key], value, atol=1e-6) for key, value in plain[1].items())


def test_a_trainers_folder_is_a_run_of_checkpoints(inside: Path) -> None:
    Path("out").mkdir()
    for number in range(4):
        shutil.copytree(f"zoo/network-{number:04d}", f"out/checkpoint-{(number + 1) * 10}")
        Path(f"out/checkpoint-{(number + 1) * 10}/optimizer.pt").touch()
    for file in Path("zoo/network-0003").iterdir():
        shutil.copy(file, "out")
    said = call("run", recipe("trained", collect='name = "folder"\npath = "out"'))
    assert "left out adapter_model.safetensors" in said
    rows = pdiff.open_run("trained").zoo.rows
    assert [(row["run"], row["step"]) for row in rows] == [(0, 10), (0, 20), (0, 30), (0, 40)]


def test_a_copy_is_told_and_a_configuration_counts(inside: Path) -> None:
    shutil.copytree("zoo/network-0001", "zoo/network-0007")
    said = call("run", recipe("back"))
    assert "warning: collect: network-0001 and network-0007 are one adapter" in said
    file = Path("zoo/network-0007/adapter_config.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | {"lora_alpha": 10}))
    said = call("run", recipe("back"))
    assert "1 file: scale 3.33333 worked into B, as the network's is 1.66667" in said and "one adapter" not in said
    file.write_text(json.dumps(json.loads(file.read_text()) | {"use_dora": True}))
    said = mistake("check", recipe("back"))
    assert "zoo/network-0007/adapter_config.json: use_dora = true scales each row" in said


@pytest.mark.parametrize("changes", [{"weights": ""}, {"epochs": 1}])
def test_another_network_than_theirs_is_told_before_anything_is_computed(inside: Path, changes) -> None:
    note = "adapters are of the network that they were trained on; name its file by architecture.weights, and let"
    assert note in call("check", recipe("back", **changes)) and note not in call("check", recipe("back"))


def test_another_selector_is_told_which_fits(inside: Path) -> None:
    file = Path(recipe("back"))
    file.write_text(file.read_text().replace('name = "lora"\nrank = 3\nalpha = 5\nbiases = true', 'name = "entire"'))
    said = mistake("run", "back.toml")
    assert "zoo/network-0000/adapter_model.safetensors: " in said
    table = '{ name = "lora", rank = 3, alpha = 5.0, targets = ["0", "head"], biases = true }'
    assert said.endswith(f"selector = {table} fits it")


def test_one_network_is_a_folder_with_its_base(inside: Path) -> None:
    call("export", "lo", "--format", "peft", "--which", "0", "--to", "one", "--source", "original")
    folder = Path("one")
    names = {"README.md", "adapter_config.json", "adapter_model.safetensors", "base.safetensors"}
    assert {file.name for file in folder.iterdir()} == names
    own, before = (load_tensors(at / "adapter_model.safetensors") for at in (folder, Path("zoo/network-0000")))
    assert own.keys() == before.keys() and all(value.equal(own[key]) for key, value in before.items())
    base = load_tensors(folder / "base.safetensors")
    assert all(value.equal(base[key]) for key, value in pdiff.open_run("lo").state_dict(0, "base").items())
    assert "one: is there already" in mistake("export", "lo", "--format", "peft", "--to", "one")
    paths = pdiff.open_run("lo").export(folder, format="peft", overwrite=True, source="base", rank=1)
    nothing = load_tensors(folder / "adapter_model.safetensors")["base_model.model.head.lora_B.weight"]
    assert paths == [folder] and nothing.shape[1] == 1 and not nothing.any()
    (folder / "notes.txt").touch()
    assert "one: holds notes.txt, which would be lost" in mistake(
        "export", "lo", "--format", "peft", "--to", "one", "--overwrite"
    )
    assert {file.name for file in folder.iterdir()} == names | {"notes.txt"} and not list(Path().glob("*.part"))


def test_networks_of_another_source_are_not_left_among_new_ones(inside: Path) -> None:
    export = ("export", "lo", "--format", "peft", "--all", "--to", "zoo", "--overwrite", "--source")
    assert "zoo: holds other networks already (network-0001); choose an empty folder" in mistake(*export, "base")
    call(*export, "original")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--format", "pfet"), "selector lora has no such format; did you mean 'peft'?; there: peft"),
        (("-o", "rank=2"), "-o rank: is an option of a format; name it by --format"),
        (("--format", "peft", "-o", "ranks=2"), "format peft has no such option; it has: rank, halved"),
        (("--format", "peft", "-o", "ranks=2", "--all"), "format peft has no such option"),
        (("--format", "peft", "-o", "rank=0"), "-o rank=0: give the rank that each layer is cut to, 1 or more"),
        (("--format", "peft", "-o", "halved=2"), "-o halved=2: give true or false"),
    ],
)
def test_what_cannot_be_written_leaves_nothing(inside: Path, arguments, message: str) -> None:
    assert message in mistake("export", "lo", "--to", "no", *arguments)
    assert not list(Path().glob("no*"))


def test_a_cut_says_what_is_lost(inside: Path) -> None:
    said = call("export", "lo", "--format", "peft", "--all", "--to", "cut", "-o", "rank=1", "--source", "original")
    assert "export: energy lost " in said and "% in the mean, " in said
    assert json.loads(Path("cut/network-0003/adapter_config.json").read_text())["r"] == 1


PLAIN = """
import sys, timm, torch
from safetensors.torch import load_file
model, known = timm.create_model("test_vit", num_classes=5).eval(), load_file("expected.safetensors")
model.load_state_dict(load_file("plain.safetensors"), strict=True)
with torch.no_grad():
    apart = (model(known["x"]) - known["y"]).abs().max()
assert "pdiff" not in sys.modules and apart < 1e-5, apart
"""


def test_merged_weights_compute_the_same_where_pdiff_is_not(here: Path) -> None:
    import timm

    selector = Lora(rank=3, alpha=5, targets=("qkv", "fc*", "proj"), biases=True)
    model = extended(timm.create_model("test_vit", num_classes=5), selector, drawn=1).eval()
    x = torch.randn(2, 3, *model.patch_embed.img_size)
    with torch.no_grad():
        save_tensors(Path("expected.safetensors"), {"x": x, "y": model(x)})
    save_tensors(Path("plain.safetensors"), selector.plain(model.state_dict()))
    done = subprocess.run([sys.executable, "-c", PLAIN], capture_output=True, text=True, timeout=HANG_S)
    assert done.returncode == 0, done.stderr
