"""Recipes: all faults at once, each with its key, its value and what was expected."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pdiff.engine.keys import collect_stage, fit_stage, train_stage, zoo_stage
from pdiff.errors import Faults, UserError
from pdiff.recipe.loading import load_recipe, parse_override
from tests.helpers import ROOT

RECIPES = sorted((ROOT / "recipes").glob("**/*.toml"))


def faults_of(path: Path, text: str) -> list[str]:
    path.write_text(text)
    with pytest.raises(Faults) as caught:
        load_recipe(path)
    return caught.value.lines


def test_every_fault_is_reported_at_once_with_key_value_and_expectation(tiny: Path) -> None:
    text = tiny.read_text()
    for old, new in {
        'name = "mlp_mini"': 'name = "mlp_mimi"',
        "steps = 60": "steps = -3\nlatnet = 2\ncodec.name = 'pca'\ncodec.latent = 'wide'",
        "epochs = 6": "epochs = 6\nepoch = 7",
        "count = 60": 'count = "many"',
        "[sample]": "[smaple]",
    }.items():
        assert old in text
        text = text.replace(old, new, 1)
    lines = faults_of(tiny, text)
    joined = "\n".join(lines)
    assert all(line.startswith(f"{tiny}: ") for line in lines)
    assert "architecture" in joined and "no architecture 'mlp_mimi'; did you mean 'mlp_mini'?" in joined
    assert "method.steps = -3: input should be greater than 0" in joined
    assert "method.latnet: unknown key; known: name, codec" in joined
    assert "method.codec.latent = 'wide': input should be a valid integer" in joined
    assert "train.epoch: unknown key; did you mean 'epochs'?" in joined
    assert "collect.count = 'many'" in joined
    assert "smaple: unknown key; did you mean 'sample'?" in joined
    assert len(lines) == 7


def test_a_missing_table_names_what_it_could_be(tiny: Path) -> None:
    lines = faults_of(tiny, tiny.read_text().replace('[selector]\nname = "entire"', ""))
    assert lines == [f"{tiny}: selector: missing; add it with name = one of: entire, last_norms, layers, lora, names"]
    lines = faults_of(tiny, tiny.read_text() + "\n[selector]\nn = 2\n")
    assert "selector: needs name = one of: entire" in lines[0]


def test_faults_inside_lists_say_which(tiny: Path) -> None:
    text = tiny.read_text().replace("scales = [0.05]", 'scales = [0.05]\ncolour = "red"')
    assert "baseline[2].colour: unknown key" in faults_of(tiny, text)[0]
    twice = tiny.read_text() + '\n[[evaluate]]\nname = "accuracy"\n'
    tiny.write_text(text)
    assert any("names 'accuracy' twice" in line for line in faults_of(tiny, twice.replace('colour = "red"', "")))


def test_text_that_is_not_toml_is_one_line(tiny: Path) -> None:
    tiny.write_text("seed = = 3")
    with pytest.raises(UserError, match=r"tiny.toml: not valid TOML: .*line 1") as caught:
        load_recipe(tiny)
    assert "\n" not in str(caught.value)


def test_steps_can_stand_in_one_table_in_their_order(tiny: Path) -> None:
    """As recipes once had them, and as `[zoo]` for `[[zoo]]` is soon written."""

    def steps(zoo: object) -> list[dict[str, object]]:
        return load_recipe(tiny, {"zoo": zoo}).table()["zoo"]

    assert steps({"first": 5, "permuted": {"copies": 2}, "align": True, "holdout": 0}) == steps(
        [{"name": "first", "count": 5}, {"name": "permuted", "copies": 2}, {"name": "align"}]
    )
    assert steps({"name": "align"}) == steps([{"name": "align"}])
    for table, fault in (
        ({"alin": True}, "zoo[0]: no transform 'alin'; did you mean 'align'?"),
        ({"align": {"scal": True}}, "zoo[0].scal: unknown key; did you mean 'scale'?; known: name, scale"),
        ({"first": "x"}, "zoo[0].count = 'x': input should be a valid integer, unable to parse string as an integer"),
    ):
        with pytest.raises(Faults, match=re.escape(fault)):
            steps(table)


def test_overrides_reach_tables_and_lists(tiny: Path) -> None:
    recipe = load_recipe(
        tiny, dict(map(parse_override, ["sample.count=5", "baseline.2.scales=[0.1, 0.2]", "run.out=a b"]))
    )
    assert recipe.sample.count == 5 and recipe.baseline[2].scales == (0.1, 0.2) and recipe.run.out == "a b"
    with pytest.raises(UserError, match="write it as key=value"):
        parse_override("sample.count")
    with pytest.raises(UserError, match="no such place"):
        load_recipe(tiny, {"baseline.9.scales": 1})


def test_a_preset_is_a_component_with_values_that_a_recipe_can_change(tiny: Path) -> None:
    plain = load_recipe(tiny).method
    paper = load_recipe(tiny, {"method.name": "pdiff_paper", "method.codec": {"latent": 16}}).method
    assert type(plain) is type(paper)
    assert paper.faithful and paper.codec.name == "conv1d" and paper.codec.latent == 16 and paper.steps == 60
    other = load_recipe(tiny, {"method.name": "pdiff_paper", "method.codec": {"name": "pca"}}).method
    assert other.codec.name == "pca" and other.denoiser.name == "conv1d"


def test_options_of_a_default_component_can_be_set_without_naming_it(tiny: Path) -> None:
    method = load_recipe(tiny, {"method.codec.latent": 7}).method
    assert method.codec.name == "pca" and method.codec.latent == 7
    with pytest.raises(Faults, match=r"method.codec.latnt: unknown key; did you mean 'latent'"):
        load_recipe(tiny, {"method.codec.latnt": 7})
    with pytest.raises(Faults, match=r"method.codec.latnt: unknown key; did you mean 'latent'.*channels"):
        load_recipe(tiny, {"method.name": "pdiff_paper", "method.codec.latnt": 7})


@pytest.mark.parametrize(
    ("key", "value", "changed"),
    [
        ("run.threads", 2, "train collect fit"), ("run.precision", "bfloat16", "train collect fit"),
        ("run.device", "cpu", ""), ("run.batch_size", 3, ""), ("run.out", "elsewhere", ""),
        ("expect", [{"source": "x"}], ""),
        ("sample.count", 3, ""), ("zoo", [{"name": "first", "count": 8}], "fit"),
        ("method.sampler", "ddim", ""), ("method.steps", 61, "fit"),
        ("collect.lr", 0.1, "collect fit"), ("selector.buffers", False, "collect fit"),
        ("train.lr", 0.1, "train collect fit"), ("seed", 4, "train collect fit"),
        ("dataset.validation", 0.3, "train collect fit"),
    ],
)  # fmt: skip
def test_a_key_hashes_exactly_what_its_stage_reads(tiny: Path, key: str, value: object, changed: str) -> None:
    def keys(recipe):
        base = train_stage(recipe)
        zoo = collect_stage(recipe, base)
        return {
            "train": base.key,
            "collect": zoo.key,
            "fit": fit_stage(recipe, zoo_stage(recipe, zoo), recipe.method).key,
        }

    before, after = keys(load_recipe(tiny)), keys(load_recipe(tiny, {key: value}))
    assert " ".join(stage for stage in before if before[stage] != after[stage]) == changed


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_shipped_recipe_is_valid(path: Path) -> None:
    recipe = load_recipe(path)
    assert load_recipe(path).table() == recipe.table()
