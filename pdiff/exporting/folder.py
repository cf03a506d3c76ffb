"""An ensemble as one folder that loads with plain torch: no pdiff, no pickle, no TorchScript.

The network's graph becomes Python source that can be read and kept under version control; the numbers are safetensors,
read in a dozen lines. `torch.export.save` would be simpler, but its .pt2 holds a pickle (`sample_inputs/model.pt`), is
tied to the version of torch that wrote it, and would hold the network once for each member or leave no way to tell what
members share. State dicts alone, as `pdiff export --all` writes them, need the architecture's own code.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pdiff.data import Inputs, arguments, each, leaves
from pdiff.errors import UserError
from pdiff.exporting import ensemble as template
from pdiff.exporting.graph import source, traced
from pdiff.files import save_tensors, write_json, write_text
from pdiff.results.export import check_new, new_folder

Said = Callable[[nn.Module, Inputs], tuple[str, Tensor]]
"""(network, inputs) -> how members' answers are averaged (see `pdiff.exporting.ensemble`), and what this one says."""
CLOSE = 1e-5
"""How far the folder's answers may be from the ensemble's own, in units of the largest."""
README = """# {members} networks as one{whence}

`ensemble.py` and `network.py` need Python 3.10 and torch (made with {torch}), nothing else; `members.safetensors` holds
the numbers, `ensemble.json` says what they are for.

    import sys

    sys.path.insert(0, "{folder}")
    from ensemble import Ensemble

    ensemble = Ensemble()                       # .to("cuda")
    answer = ensemble.uncertainty({inputs})     # {answer}
    {raw}
    ensemble({inputs})                          # {average}

{inputs}: {shape}.{classes}{temperature}
"""
ANSWERS = {
    "classes": ("probabilities [B, K], entropy [B], mutual_information [B], in nats", "log of the mean probabilities"),
    "labels": ("probabilities, entropy, mutual_information, each [B, K]", "logits of the mean probabilities"),
    "outputs": ("mean and deviation over members", "the mean"),
}


def write(
    members: Sequence[nn.Module], said: Said, example: Inputs, preprocess: nn.Module | None, about: Mapping[str, Any],
    folder: Path, overwrite: bool,
) -> Path:  # fmt: skip
    """Write the folder, whole or not at all, and return it.

    Raises UserError where something is there already, and where the network cannot be written so that it answers the
    same.
    """
    check_new([folder], overwrite)

    def answer(network: nn.Module, inputs: Inputs) -> Tensor:
        return said(network, inputs)[1]

    device = next(iter(members[0].state_dict().values())).device
    example = each(lambda value: value.to(device), example)
    with torch.no_grad():
        kind, _ = said(members[0], example)
    of = traced(members[0], answer, example)
    states = [member.state_dict() for member in members]
    differing = {key for key, value in states[0].items() if any(not torch.equal(value, s[key]) for s in states[1:])}
    text, names = source(of, differing, members[0])
    tensors = {
        f"members.{name}" if name in differing else f"shared.{name}":
        torch.stack([state[name] for state in states]) if name in differing else {**states[0], **of.constants}[name]
        for name in names
    }  # fmt: skip
    plain: tuple[str, dict[str, Any]] | None = preprocess.plain() if hasattr(preprocess, "plain") else None  # type: ignore[union-attr,operator]
    told = {
        "kind": kind, "members": len(members), "inputs": list(example) if isinstance(example, dict) else None,
        "takes": [template.described(value) for value in leaves(example)],
        "input_shape": each(lambda value: list(value.shape[1:]), example), "classes": None, "temperature": None,
        **about, "preprocess": plain[1] if plain else None, "torch": torch.__version__,
    }  # fmt: skip
    with new_folder(folder) as part:
        save_tensors(part / "members.safetensors", tensors)
        write_text(part / "network.py", text)
        write_text(part / "ensemble.py", Path(template.__file__).read_text(encoding="utf-8"))
        write_json(part / "ensemble.json", told)
        if plain:
            write_text(part / "preprocess.py", plain[0])
        write_text(part / "README.md", _readme(told, folder))
        _check(part, members, kind, answer, example)
    return folder


def _check(
    part: Path, members: Sequence[nn.Module], kind: str, answer: Callable[[nn.Module, Inputs], Tensor], example: Inputs
) -> None:  # fmt: skip
    """Raise UserError where the folder answers otherwise than the members, of one example or of several."""
    written = template.Ensemble(part).to(leaves(example)[0].device)
    for count in (1, 2, 3):
        inputs = each(lambda value, count=count: torch.cat([value, value])[:count], example)
        positional, named = arguments(inputs)
        with torch.no_grad():
            wanted = template.average(kind, torch.stack([answer(member, inputs) for member in members]))
            got = written(*positional, **named)
        if got.shape != wanted.shape or not torch.allclose(got, wanted, rtol=CLOSE, atol=CLOSE):
            name = type(members[0]).__name__
            raise UserError(
                f"export: {name} as plain torch gives other answers for {count} examples; nothing is written"
            )


def _readme(told: Mapping[str, Any], folder: Path) -> str:
    answer, average = ANSWERS[told["kind"]]
    names = told["inputs"] or ["x"]
    inputs = ", ".join(f"{name}={name}" for name in names) if told["inputs"] else "x"
    whence = f", of `{told['source']}` in the run `{told['run']}`" if "run" in told else ""
    raw = "ensemble.uncertainty(images, raw=True)      # images as bytes [B, C, H, W], or floats of 0..1"
    temperature = told["temperature"]
    return README.format(
        members=told["members"], whence=whence, torch=told["torch"], folder=folder.as_posix(), inputs=inputs,
        answer=answer, average=average,
        raw=raw if told["preprocess"] is not None else "# how inputs are made of raw examples is not known here",
        shape=f"[B, ...] with the shape {json.dumps(told['input_shape'])} of one, as the dataset's splits have them",
        classes=f" Classes, in order: {', '.join(map(str, told['classes']))}." if told["classes"] else "",
        temperature=f" Probabilities are calibrated by the temperature {temperature:.4g}." if temperature else "",
    )  # fmt: skip
