"""The model card: what a network is, what it scores beside its controls, how to load it, and how it came to be."""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import tomli_w

from pdiff.components import Dataset
from pdiff.results.scores import TaskScore, scored, unit_of
from pdiff.results.shown import Showing
from pdiff.results.summary import notes, table
from pdiff.view import ORIGINAL
from pdiff_plugins.handbook.describe import help_of
from pdiff_plugins.reports.findings import findings
from pdiff_plugins.reports.reports import markdown_table, plain

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff_plugins.sharing.folder import Choice

TASKS = {
    "classification": "image-classification", "detection": "object-detection", "segmentation": "image-segmentation",
    "generation": "unconditional-image-generation",
}  # fmt: skip
"""Task -> what the hub calls it, where inputs are images."""
PLAIN = ("base", "constant", "soup")
"""Baselines that a card's first table names beside the network, where the run has them."""
SPLITS = {"test": "values", "validation": "selection_values"}
"""Split -> the key of the networks' own scores on it."""
TIMM = """import timm

network = timm.create_model("{where}", pretrained=True).eval()
data = timm.data.resolve_model_data_config(network)
transform = timm.data.create_transform(**data, is_training=False)  # from a Pillow image to what the network takes
"""
PLUGIN = """from pdiff.cli.options import use_plugins

use_plugins(["{file}"])
"""
TORCH = """import json

from safetensors.torch import load_file

import pdiff
from pdiff.components import Architecture

config = json.load(open("config.json"))
architecture = Architecture.model_validate(config["architecture"])
network = architecture.build(input_shape={shape}, outputs=config["outputs"])
network.load_state_dict(load_file("model.safetensors"))
network.eval()
"""


def card(choice: Choice, about: Mapping[str, Any], state: Mapping[str, Tensor], name: str) -> str:
    """Return README.md: metadata as the hub reads it, then text."""
    from huggingface_hub import ModelCardData

    data = ModelCardData(**_metadata(choice, about, name))
    sections = {
        "": _summary(choice, about, state),
        "Scores": _scores(choice),
        "What the run says of its generator": _verdict(choice),
        "Load it": _loading(choice, about, name),
        "Every source of the run": _all(choice.scores),
        "Data": _data(choice),
        "How it was made": _made(choice),
        "Licence": _licence(choice),
    }
    body = "\n\n".join(f"## {title}\n\n{text}" if title else text for title, text in sections.items() if text)
    return f"---\n{data.to_yaml()}\n---\n\n# {plain(name)}\n\n{body}\n"


def _metadata(choice: Choice, about: Mapping[str, Any], name: str) -> dict[str, Any]:
    recipe, scores = choice.run.recipe, choice.scores
    images = len(_shape(about)) == 3
    task = TASKS.get(recipe.task.name, "") if images else ""
    timm = "library" not in about
    results = list(_results(choice, task or recipe.task.name))
    return {
        **choice.licence.metadata, "library_name": "timm" if timm else "pdiff", "pipeline_tag": task or None,
        "tags": [*filter(None, [task]), *(["timm"] if timm else ["pytorch"]), "pdiff", "weight-generation"],
        # A set of files of the user's own has no name that the hub knows.
        "datasets": [recipe.dataset.name] if type(recipe.dataset).content is Dataset.content else None,
        "metrics": [recipe.task.metric],
        "model_name": name.rpartition("/")[2] if results else None, "eval_results": results or None,
        "seed": recipe.seed, "pdiff_run": scores["run"], "pdiff_source": choice.source,
    }  # fmt: skip


def _shape(about: Mapping[str, Any]) -> Any:
    return about["input_shape"] if "library" in about else about["pretrained_cfg"]["input_size"]


def _identifier(name: str) -> str:
    return re.sub(r"[^\w.-]", "-", name)


def _results(choice: Choice, task: str) -> Iterator[Any]:
    """Yield the scores of this network, as the metadata's `model-index` has them."""
    from huggingface_hub import EvalResult

    recipe, score = choice.run.recipe, scored(choice.scores).get(choice.source)
    for split, key in SPLITS.items():
        value = _value(score, key, choice.number)
        if value is not None and (split == "test" or recipe.selection != "test"):
            yield EvalResult(
                task_type=task, dataset_type=_identifier(recipe.dataset.name), dataset_name=recipe.dataset.name,
                dataset_split=split, metric_type=recipe.task.metric, metric_value=value,
                metric_name=f"{recipe.task.metric} ({split})",
            )  # fmt: skip


def _value(score: TaskScore | None, key: str, number: int) -> float | None:
    """Return a network's own score, where it is there and is a number."""
    values: Any = score.get(key, ()) if score else ()
    return float(values[number]) if number < len(values) and math.isfinite(values[number]) else None


def _summary(choice: Choice, about: Mapping[str, Any], state: Mapping[str, Tensor]) -> str:
    run, architecture = choice.run, about["architecture"]
    called = f"`{architecture['name']}`" if isinstance(architecture, Mapping) else f"timm's `{architecture}`"
    recipe, scores, total = run.recipe, choice.scores, sum(value.numel() for value in state.values())
    count, selected = scores["networks"][choice.source]["count"], scores["parameters"]
    what = f"A network for {recipe.task.name} on `{recipe.dataset.name}`: {called}"
    if choice.source == ORIGINAL:
        came = f"It is one of {count} checkpoints that were trained (collector {recipe.collect.name}), not generated"
    else:
        how = help_of(type(run.pipeline.plan.methods[choice.source])).splitlines()[0].rstrip(".")
        came = (
            f"{_share(selected, total)} (selector {recipe.selector.name}) come from `{choice.source}` ({how}), which "
            f"was given {scores['networks'][ORIGINAL]['count']} checkpoints"
        )
        came += "; the others are those of the trained base network" if selected < total else ""
    best = f", the best on the {recipe.selection} split" if choice.best else ""
    made = "[pdiff](https://pypi.org/project/neural-pdiff/), which generates the parameters of neural networks"
    told = f" It is for `{json.dumps(choice.about)}`." if choice.about else ""
    return f"{what}. {came}. It is number {choice.number} of {count}{best}.{told} Made with {made}."


def _share(selected: int, total: int) -> str:
    return f"All its {total:,} numbers" if selected >= total else f"{selected:,} of its {total:,} numbers"


def _scores(choice: Choice) -> str:
    """Return the network's own score beside its controls."""
    scores, recipe = choice.scores, choice.run.recipe
    known, unit, metric = scored(scores), unit_of(scores), recipe.task.metric
    if choice.source not in known:
        return f"No evaluator of the {metric} ran: nothing is claimed."

    def row(name: str, *pair: float | None) -> list[str]:
        return [name, *("" if value is None else unit.text(value) for value in pair)]

    rows = [row("**this network**", *(_value(known[choice.source], key, choice.number) for key in SPLITS.values()))]
    for source, what in _controls(choice, known):
        score = known[source]
        take = _mean if what == "mean" else functools.partial(_value, number=score["best_index"])
        rows.append(row(plain(f"{source}: {what}"), *(take(score, key) for key in SPLITS.values())))
    if recipe.selection == "test":
        rows = [row[:2] for row in rows]
    head = ["", f"{metric} (test)", f"{metric} (validation)"][: len(rows[0])]
    lines = ["| " + " | ".join(row) + " |" for row in (head, ["---", *["--:"] * (len(head) - 1)], *rows)]
    where = "the test split itself, so its score there is too good" if recipe.selection == "test" else "validation"
    return "\n".join(lines) + f"\n\nThe best of each source is selected on {where}."


def _controls(choice: Choice, known: Mapping[str, TaskScore]) -> Iterator[tuple[str, str]]:
    """Yield (source, what of it) to set beside the network: originals, its own source, the plainest baselines."""
    for source in dict.fromkeys((ORIGINAL, choice.source)):
        if source in known:
            yield from ((source, "the best"), (source, "mean"))
    for source in known:
        if source in PLAIN and source != choice.source:
            yield source, "one network"


def _mean(score: TaskScore, key: str) -> float | None:
    values: Any = score.get(key, ())
    return sum(values) / len(values) if values else None


def _verdict(choice: Choice) -> str:
    recipe, warn = choice.run.recipe, choice.run.pipeline.warn
    first, *more = findings(Showing({e.name: e for e in recipe.evaluate}, warn), choice.scores)
    return "\n".join([f"**{plain(first)}.**\n", *(f"- {plain(line)}." for line in more)]).strip()


def _loading(choice: Choice, about: Mapping[str, Any], name: str) -> str:
    if "library" not in about:
        where = f"hf-hub:{name}" if "/" in name else f"local-dir:{name}"
        return f"```python\n{TIMM.format(where=where)}```"
    shape = about["input_shape"]
    given = 'config["input_shape"]'
    code = PLUGIN.format(file=file) if (file := about["needs"].partition("plugin file ")[2]) else ""
    code += TORCH.format(shape=f"tuple({given})" if isinstance(shape, list | tuple) else given)
    seen = json.dumps(about["preprocessing"]) if about["preprocessing"] else "see the recipe's [dataset]"
    return (
        f"`model.safetensors` is an ordinary state dict, which the network's own class loads with `strict=True`. With "
        f"{_needs(about['needs'])}:\n\n```python\n{code}```\n\n"
        f"Inputs are {_inputs(shape)}, prepared as the data set prepares them: {seen}."
    )


def _inputs(shape: Any) -> str:
    """Return the shapes of inputs; of several with their names."""
    if isinstance(shape, Mapping):
        return ", ".join(f"`{name}` {_inputs(of_one)}" for name, of_one in shape.items())
    if any(isinstance(side, list | tuple) for side in shape):
        return ", ".join(map(_inputs, shape))
    return f"`[{', '.join(['batch', *map(str, shape)])}]`"


def _needs(needs: str) -> str:
    """Return what has to be at hand for the architecture to be known; a file of the user's own is not pushed."""
    kind, code, name = needs.rpartition("file ")
    absent = " and is not in this folder: ask who pushed it, and put it here" if code else ""
    theirs = f", and {f'the {kind}{code}' if code else ''}`{name}`, which has its architecture{absent}"
    return "`pip install neural-pdiff`" + (theirs if needs else "")


def _all(scores: Mapping[str, Any]) -> str:
    text = "Each row is a population of networks: `original` those that were trained, the others what was made of them."
    listed = "\n".join(f"- {plain(line)}" for line in notes(dict(scores)))
    return "\n\n".join([text, markdown_table(*table(dict(scores))), listed])


def _data(choice: Choice) -> str:
    dataset, run = choice.run.recipe.dataset, choice.run
    text = f"Trained, selected and tested on `{dataset.name}`"
    text += f" ({dataset.source})." if dataset.source else "."
    if "weights" in run.scores["elsewhere"]:
        text += " The network started from weights that were trained elsewhere, on data that this run cannot know."
    if "checkpoints" in run.scores["elsewhere"]:
        text += " The checkpoints were made elsewhere, from data that this run cannot know."
    return f"{text} The data set's own licence and limits hold for what is learnt from it."


def _made(choice: Choice) -> str:
    import timm
    import torch

    import pdiff

    scores, recipe = choice.scores, choice.run.recipe
    cut = "" if choice.recipe == choice.whole_recipe else ", and paths in it are cut to their last name"
    versions = f"pdiff {pdiff.__version__}, torch {torch.__version__}, timm {timm.__version__}"
    return (
        f"Seed {recipe.seed}, protocol {recipe.protocol}, device {scores['device']}; written with {versions}. "
        f"The recipe, also in recipe.toml for `pdiff run`; folders of the machine that it ran on are left out{cut}:\n\n"
        f"```toml\n{tomli_w.dumps(choice.recipe)}```"
    )


def _licence(choice: Choice) -> str:
    architecture, text = choice.run.recipe.architecture, choice.licence.sentence
    if architecture.weights:
        text += f" The network started from other weights ({architecture.name}), whose licence may bind these too."
    return text
