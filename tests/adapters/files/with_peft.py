"""What the library peft makes of files that were written without it: a process of its own, as its import takes long.

Prints what is compared as JSON: for each layer whether outputs are equal in every bit, and how far apart others are.
"""

from __future__ import annotations

import copy
import json
import sys
import warnings
from pathlib import Path

import peft
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from pdiff_plugins.adapters.files.config import adds_twice
from pdiff_plugins.adapters.files.reading import AdapterReader
from pdiff_plugins.adapters.selector import Lora
from tests.adapters.files.helpers import MIXED, extended, mixed, small

TWICE = adds_twice({"peft_version": peft.__version__})
TOKENS = torch.randint(0, 11, (16, 32), generator=torch.Generator().manual_seed(0))
INPUTS = {"emb": TOKENS, "along": (16, 8, 32), "grouped": (16, 4, 32, 8), "conv": (16, 8, 32, 8), "block.fc": (16, 6),
          "head": (16, 6), "attn": (3, 32, 8)}  # fmt: skip


def main(folder: Path) -> dict[str, object]:
    known: dict[str, object] = {"layers": layers(folder / "layers"), "attention": attention(folder / "attention")}
    known |= {"whole": whole(folder / "whole"), "merged": merged(folder / "merged"), "read": read(folder / "read")}
    return known | {"cut": cut(folder / "cut")}


def loaded(selector: Lora, model: nn.Module, base: nn.Module, folder: Path, **options: object) -> nn.Module:
    """Return PEFT's network with what was written of ours."""
    folder.mkdir(parents=True)
    selector.write("peft", model.state_dict(), model, folder, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of keys that are missing there is only a warning
        warnings.filterwarnings("ignore", ".*groups > 1.*")
        return peft.PeftModel.from_pretrained(copy.deepcopy(base), folder).eval()


def close(one: Tensor, other: Tensor) -> float:
    return ((one - other).abs().max() / other.abs().max()).item()


def layers(folder: Path) -> dict[str, float]:
    """Return how far outputs are apart, layer by layer; 0 where they are equal in every bit."""
    base, model = mixed(), extended(mixed(), MIXED, drawn=1)
    model.attn.out_proj.lora_B.weight.data.zero_()
    theirs = loaded(MIXED, model, base, folder).base_model.model
    known, generator = {}, torch.Generator().manual_seed(0)
    for name, shape in INPUTS.items():
        x = shape if isinstance(shape, Tensor) else torch.randn(shape, generator=generator)
        inputs = (x, x, x) if name == "attn" else (x,)
        out, other, plain = (net.get_submodule(name)(*inputs) for net in (model, theirs, base))
        out, other, plain = (value[0] if isinstance(value, tuple) else value for value in (out, other, plain))
        assert close(out, plain) > 0.1, "the adapter changes next to nothing"
        known[name] = 0.0 if out.equal(other) else close(out, other)
    return known


def attention(folder: Path) -> dict[str, float]:
    """Return how far attention is apart whose out_proj has an adapter too."""
    selector = Lora(rank=2, alpha=3, targets=("attn",))
    model = extended(mixed(), selector, drawn=2)
    theirs = loaded(selector, model, mixed(), folder, halved=TWICE)
    return {"attention": close(theirs(TOKENS), model(TOKENS)), "changed": close(model(TOKENS), mixed()(TOKENS))}


def whole(folder: Path) -> dict[str, bool]:
    """Compare a whole network with biases, and what the library itself writes of it."""
    selector = Lora(rank=3, alpha=5, biases=True)
    model = extended(small(), selector, drawn=3)
    theirs = loaded(selector, model, small(), folder)
    theirs.save_pretrained(folder / "again")
    ours, saved = (load_file(at / "adapter_model.safetensors") for at in (folder, folder / "again"))
    x = torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
    same = ours.keys() == saved.keys() and all(value.equal(saved[key]) for key, value in ours.items())
    return {"outputs": theirs(x).equal(model(x)), "file": same}


def merged(folder: Path) -> float:
    """Return how far the library's merged weights are from ours; it merges no groups."""
    selector = Lora(rank=4, alpha=3, targets=("*", "emb"), exclude=("grouped", "attn"), ranks={"head": 2})
    model = extended(mixed(), selector, drawn=4)
    theirs = loaded(selector, model, mixed(), folder).merge_and_unload().state_dict()
    ours = selector.plain(model.state_dict())
    assert theirs.keys() == ours.keys()
    return max(close(theirs[key], value) for key, value in ours.items())


def read(folder: Path) -> dict[str, float]:
    """Return how far a network with what the library wrote is from the library's."""
    patterns = {"rank_pattern": {"head": 1}, "alpha_pattern": {"fc": 7}}
    options = {"plain": {}, "rslora": {"use_rslora": True}, "patterns": patterns, "all biases": {"bias": "all"}}
    names, known = ["emb", "attn", "along", "conv", "fc", "head", "grouped"], {}
    for name, more in options.items():
        torch.manual_seed(1)
        config = peft.LoraConfig(r=2, lora_alpha=3, target_modules=names, init_lora_weights=False, **more)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = peft.get_peft_model(mixed(), config).eval()
        for layer in (theirs.base_model.model.grouped.lora_A.default.weight,):  # what no weight can hold is refused
            layer.data[:1, 2:] = layer.data[1:, :2] = 0
        theirs.save_pretrained(folder / name)
        selector = Lora(rank=4, targets=("*", "emb"))
        model = extended(mixed(), selector)
        reader = AdapterReader(model, {}, selector.select(model))
        model.load_state_dict(reader.read(folder / name), strict=False)
        known[name] = close(model(TOKENS), theirs(TOKENS))
    return known


def cut(folder: Path) -> dict[str, float]:
    """Return the share of energy that is lost at rank 1, and how far PEFT's change is from the best of that rank."""
    selector = Lora(rank=3, alpha=5, targets=("head",))
    model = extended(small(), selector, drawn=5)
    theirs = loaded(selector, model, small(), folder, rank=1).merge_and_unload().head.weight - small().head.weight
    change = selector.plain(model.state_dict())["head.weight"] - small().head.weight
    u, s, v = torch.linalg.svd(change.double())
    best = s[0] * u[:, :1] @ v[:1]
    (lost,) = selector.write("peft", model.state_dict(), model, folder, rank=1).values()
    return {"close": close(theirs.double(), best), "lost": lost, "right": 1 - (s[0].square() / s.square().sum()).item()}


with torch.no_grad():
    print(json.dumps(main(Path(sys.argv[1]))))
