"""The book of recipes: written from the authors' cells, whole, and run by `pdiff reproduce`."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest
import torch
from torchvision.datasets import CIFAR10

import pdiff
from pdiff.engine import keys
from pdiff.recipe.loading import load_recipe
from pdiff.recipe.tables import Recipe
from pdiff.zoo import Layout
from pdiff_plugins.book import cells, variants, write
from pdiff_plugins.book.listing import chosen
from pdiff_plugins.book.tables import cells as all_cells
from pdiff_plugins.book.tables import tables
from tests.helpers import ROOT, call, mistake
from tests.images.helpers import write_cifar

FOLDER = ROOT / "recipes" / "paper"
COUNTS = {
    "table1": 42, "table2": 10, "table3a": 3, "table3b": 4, "table3c": 2, "table3d": 6, "table3e": 3, "table3f": 2,
    "table4": 2, "fig3": 2, "fig4": 2, "fig5": 0, "table7": 4, "table8": 1, "table9": 3, "table10": 2, "table11": 1,
    "table12": 1, "table13": 4,
}  # fmt: skip
SHAPES = {"cifar100": 100, "cifar10": 10, "flowers": 102, "food101": 101, "in1k": 1000, "pets": 37, "stl10": 10}


def recipe(name: str) -> Recipe:
    return Recipe.model_validate(all_cells()[name].recipe)


def test_the_recipes_are_what_the_generator_writes() -> None:
    assert write.main(["--check", str(FOLDER)]) == 0
    assert Counter(path.parent.name for path in FOLDER.glob("*/*.toml")) == Counter(COUNTS)
    assert len(cells.rows()) == 81 and sum(COUNTS.values()) == 94


def test_the_generator_mends_and_deletes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "table1").mkdir()
    (tmp_path / "table1" / "old.toml").write_text("seed = 1\n")
    assert write.main(["--check", str(tmp_path)]) == 1
    assert write.main([str(tmp_path)]) == 0 and not (tmp_path / "table1" / "old.toml").exists()
    assert write.main(["--check", str(tmp_path)]) == 0
    assert "old.toml: deleted" in capsys.readouterr().out


def test_every_cell_belongs_to_one_table_and_stands_in_its_folder() -> None:
    own = Counter(name for table in tables().values() for name in table.own_cells)
    assert set(own) == set(all_cells()) and set(own.values()) == {1}
    for table in tables().values():
        assert set(table.cells) <= set(own)
    for name, found in ((path.stem, load_recipe(path)) for path in FOLDER.glob("table9/*.toml")):
        assert found == recipe(name)


@pytest.mark.parametrize("row", [row for row in cells.rows() if row["tag"].split("_")[0] in ("cifar10", "layers")])
def test_selected_entries_and_their_number_are_the_authors(row: dict[str, str]) -> None:
    own = recipe(row["tag"])
    outputs = 100 if row["cat"] == "ablation" else SHAPES[row["tag"].split("_")[0]]
    side = int(row["img_size"])
    with torch.device("meta"):
        model = own.architecture.model_copy(update={"weights": ""}).build(input_shape=(3, side, side), outputs=outputs)
    layout = Layout.of(model, own.selector.select(model))
    assert layout.dim == int(row["P"])
    if row["keys"].startswith("["):
        assert layout.keys == [key.removeprefix("model.") for key in ast.literal_eval(row["keys"])]


def test_detectors_and_segmentation_generate_5120_numbers() -> None:
    for name, outputs in (("coco_fasterrcnn", 91), ("coco_fcos", 91), ("coco_fcn", 21)):
        own = recipe(name)
        with torch.device("meta"):
            model = own.architecture.model_copy(update={"weights": ""}).build(input_shape=(3, 64, 64), outputs=outputs)
        assert Layout.of(model, own.selector.select(model)).dim == 5120


def test_settings_of_a_cell_against_the_authors_table_read_by_eye() -> None:
    own = recipe("food101_resnet50")
    assert own.collect.lr == 0.03 and own.collect.batch_size == 64 and own.collect.batch_norm == "train"
    assert own.collect.skip_first_batch and own.train.epochs == 10 and own.train.lr == 1e-4
    assert own.method.steps == 2000 and own.method.codec.steps == 500 and own.method.codec.latent == 128
    imagenet = recipe("in1k_resnet50")
    assert imagenet.collect.every == 33 and imagenet.collect.skip_steps == 10_010 and imagenet.train.epochs == 0
    assert recipe("in1k_vitbase").dataset.mean == (0.5, 0.5, 0.5)
    assert recipe("noise_x10").method.codec.latent_noise == 1.0
    assert recipe("diffusionstep_2000").method.timesteps == 2000
    assert recipe("mnist_cnnmedium").collect.lr_end == 0.007 and recipe("mnist_cnnmedium").method.weight_decay == 1e-5
    assert recipe("sgd_optimizer").collect.optimizer == recipe("sgd_optimizer").train.optimizer == "sgd"
    log = recipe("noise_x10").expect[0].model_dump()
    assert log["pdiff"]["mean"] == pytest.approx(77.31, abs=5e-3) and log["similarity"]["gg"] == 0.9165


def test_ablations_of_the_method_train_and_collect_nothing_of_their_own() -> None:
    main = recipe(cells.MAIN)
    base = keys.train_stage(main)
    collected = keys.collect_stage(main, base)
    for row in (row for row in cells.rows() if row["cat"] == "ablation"):
        own = recipe(row["tag"])
        if not row["tr_lr"]:
            assert keys.train_stage(own) == base
        if row["loop"] == "reuse":
            assert keys.collect_stage(own, base) == collected
    assert recipe("numberckpt_300").method == main.method and not recipe("numberckpt_300").zoo
    few = recipe("numberckpt_010")
    assert [step.count for step in few.zoo] == [10] and few.method.batch_size == 10


@pytest.mark.parametrize("name", list(all_cells()))
def test_every_variant_of_every_cell_is_valid(name: str) -> None:
    whole = all_cells()[name].recipe
    quick = Recipe.model_validate(variants.efficient(whole))
    assert quick.train == Recipe.model_validate(whole).train
    for own in (whole, variants.efficient(whole)):
        small = Recipe.model_validate(variants.smoke(own))
        assert small.dataset.test == 8 and small.sample.count == 3


def test_one_page_sets_ours_beside_the_published_and_names_what_was_skipped(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cifar(here / "data", CIFAR10, "labels", monkeypatch)
    options = ["table2", "--efficient", "--smoke", "--only", "cifar10_mlp", "--only", "stl10_mlp"]
    said = call("reproduce", *options)
    assert "cifar10_mlp: mean original" in said and "stl10_mlp: skipped: dataset stl10: " in said
    (page,) = (here / "runs/reproduce").glob("table2-efficient-smoke-*.md")  # some cells have a page of their own
    text = page.read_text()
    assert "whose numbers mean nothing" in text
    assert "| cifar10_mlp | 40.94" in text and "skipped: dataset stl10" in text
    assert "ours - log" in text and "| pdiff | mean | 41.67 |" in text
    html = page.with_suffix(".html").read_text()
    assert "Five small networks, whole" in html and "stl10_mlp" in html
    assert "diffusion" not in call("reproduce", *options)  # goes on where it stopped: there is nothing left to do


def test_a_zoo_of_the_first_checkpoints_shares_the_collection(tiny: Path) -> None:
    out = str(tiny.parent / "runs")
    whole = pdiff.run(tiny, set={"run.out": out}, quiet=True)
    part = pdiff.run(
        tiny, set={"run.out": out, "zoo": [{"name": "first", "count": 9}], "method.batch_size": 9}, quiet=True
    )
    assert part.pipeline.plan.collect == whole.pipeline.plan.collect
    assert torch.equal(part.theta("original"), whole.theta("original")[:9])
    own, all_of = (run.pipeline.predictions("original", "test") for run in (part, whole))
    assert torch.equal(own, all_of[:9])
    again = pdiff.open_run(part.folder, out=out)
    assert len(again.theta("original")) == 9
    twice = pdiff.run(
        tiny, set={"run.out": out, "zoo": [{"name": "first", "count": 1}], "method.batch_size": 2}, quiet=True
    )
    assert torch.equal(*twice.theta("original"))
    more = pdiff.run(tiny, set={"run.out": out, "zoo": [{"name": "first", "count": 61}]}, quiet=True)
    assert len(more.theta("original")) == 60, "all there are"


def test_mistakes() -> None:
    assert mistake("reproduce", "tabel1").startswith("reproduce: no table 'tabel1'; did you mean 'table1'?")
    assert "has no such cell" in mistake("reproduce", "table8", "--only", "vae")
    assert list(chosen("table8", ["vae_*"])) == ["vae_sample"]
    assert "81" not in call("reproduce") and "table13" in call("reproduce", "--list")
    assert "77.24" in call("reproduce", "fig5", "--list")


@pytest.mark.slow
def test_memory_is_measured_in_processes_of_their_own(tiny: Path) -> None:
    codec = {"name": "autoencoder", "latent": 8, "hidden": 3000, "batch_size": 20, "steps": 2}
    own = {"run.out": str(tiny.parent / "runs"), "method.codec": codec, "evaluate": [{"name": "memory", "steps": 2}]}
    run = pdiff.run(tiny, set=own, quiet=True)
    parameters = sum(p.numel() for p in run.pipeline.generator("pdiff").codec.parameters())
    # AdamW holds each parameter four times: value, gradient, two moments.
    assert run.scores["memory"]["codec"] > 4 * 4 * parameters / 2**20 > run.scores["memory"]["denoiser"]
