"""Which layers have adapters, of which rank, and what a user is told."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pdiff.components import Architecture
from pdiff.errors import UserError
from pdiff.testing import tiny_run
from pdiff_plugins.adapters.layers import adapted, scale_of
from pdiff_plugins.adapters.selector import Lora


class Conv1D(nn.Module):
    """As transformers has it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(4, 4))


class Standardized(nn.Linear):
    """Computes with another weight than it has."""

    def forward(self, x):
        return nn.functional.linear(x, self.weight - self.weight.mean(), self.bias)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.proj, self.norm = nn.Linear(8, 24), nn.Linear(8, 8), nn.LayerNorm(8)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(Block(), Block())
        self.depth = nn.Conv2d(6, 6, 3, groups=6)
        self.attn, self.words, self.head = nn.MultiheadAttention(8, 2), nn.Embedding(9, 8), nn.Linear(8, 3)
        self.other, self.odd = Conv1D(), Standardized(4, 4)


def names(model: nn.Module | None = None, **options) -> list[str]:
    model = model or Net()
    Lora(**{"rank": 2, "exclude": ["depth"]} | options).extend(model)
    return adapted(model)


BLOCKS = [f"blocks.{number}.{layer}" for number in (0, 1) for layer in ("qkv", "proj")]


def test_globs_choose_layers_by_their_names_or_the_ends_of_them() -> None:
    assert names() == [*BLOCKS, "attn", "attn.out_proj", "head"], "embeddings are named, others' own ways left out"
    assert names(targets=["qkv"]) == names(targets=["blocks.*.qkv"]) == names(targets=["*.qkv"]) == BLOCKS[::2]
    assert names(targets=["1.qkv"]) == ["blocks.1.qkv"]
    assert names(targets=["*", "words"]) == [*BLOCKS, "attn", "attn.out_proj", "words", "head"]
    assert names(exclude=["blocks.*", "depth", "attn"]) == ["head"]


def test_ranks_and_alphas_of_layers_are_those_of_the_first_glob_that_matches() -> None:
    model = Net()
    lora = Lora(rank=2, alpha=8, exclude=["depth"], ranks={"head": 3, "blocks.1.*": 1}, alphas={"attn": 5, "proj": 2})
    lora.extend(model)
    ranks = {name: len(model.get_submodule(name).lora_A.weight) for name in adapted(model)}
    assert ranks == dict(zip([*BLOCKS, "attn", "attn.out_proj", "head"], [2, 2, 1, 1, 2, 2, 3], strict=True))
    scales = [scale_of(model.get_submodule(name)) for name in ("blocks.0.proj", "attn", "attn.out_proj", "head")]
    assert scales == [1, 2.5, 2.5, 8 / 3]


def test_biases_are_those_of_layers_with_adapters() -> None:
    model, lora = Net(), Lora(rank=2, targets=["head", "attn"], biases=True)
    lora.extend(model)
    factors = [f"{name}.lora_{one}.weight" for name in ("attn.out_proj", "attn", "head") for one in "AB"]
    assert sorted(lora.select(model)) == sorted([*factors, "attn.out_proj.bias", "head.bias"])
    assert lora.select(model) == [key for key in model.state_dict() if key in lora.select(model)]


@pytest.mark.parametrize("alpha", [0, 4])
def test_a_rank_is_as_high_as_a_layer_allows(alpha: float) -> None:
    model, wide, lora = Net(), Net(), Lora(rank=4, alpha=alpha, exclude=["depth"], ranks={"proj": 2})
    lora.extend(model)
    lora.widened(wide, 4).extend(wide)
    layers = [[net.get_submodule(name) for name in ("blocks.0.qkv", "blocks.0.proj", "head")] for net in (model, wide)]
    assert [len(layer.lora_A.weight) for layer in layers[0]] == [4, 2, 3]
    assert [len(layer.lora_A.weight) for layer in layers[1]] == [8, 8, 3]
    assert [scale_of(layer) for layer in layers[0]] == [scale_of(layer) for layer in layers[1]]
    net = Net()
    Lora(rank=2, targets=["head"]).widened(net, 4).extend(net)


def test_a_network_that_is_one_layer_has_an_adapter() -> None:
    model, lora = nn.Linear(3, 4), Lora(rank=2)
    lora.extend(model)
    assert lora.select(model) == ["lora_A.weight", "lora_B.weight"]
    assert list(lora.plain(model.state_dict())) == ["weight", "bias"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"targets": ["qvk"]},
            "targets: 'qvk' matches none of the 8 layers that can have adapters; did you mean 'qkv'",
        ),
        ({"targets": ["blocks.0.norm"]}, "'blocks.0.norm' (LayerNorm) has no weight that is a matrix"),
        ({"targets": ["other"]}, "'other' (Conv1D) of transformers has its weight transposed"),
        ({"targets": ["odd"]}, "'odd' (Standardized) computes in a way of its own"),
        ({"targets": ["blocks.0"]}, "'blocks.0' (Block) is no layer; it holds 'blocks.0.qkv', 'blocks.0.proj'"),
        (
            {"targets": ["attn.out_proj"]},
            "'attn.out_proj' (NonDynamicallyQuantizableLinear) is a part of the attention 'attn'",
        ),
        ({"exclude": ["*"]}, "exclude leaves none"),
        ({"exclude": ["haed"]}, "exclude: 'haed' matches none of the 8 layers; did you mean 'head'"),
        ({"ranks": {"haed": 3}}, "ranks: 'haed' matches none"),
        ({"rank": 9}, "rank = 9: no weight of its layers has a higher rank than 8 ('blocks.0.qkv'); lower it"),
        ({"ranks": {"head": 4}}, "rank = 4: no weight of its layers has a higher rank than 3 ('head'); lower it"),
        ({"exclude": []}, "rank = 2: 'depth' (Conv2d) has 6 groups, of which its rank must be a multiple"),
    ],
)
def test_what_cannot_be_is_said_in_one_line_before_anything_is_added(options: dict, said: str) -> None:
    model = Net()
    with pytest.raises(UserError, match=r"^selector\.") as error:
        names(model, **options)
    assert said in str(error.value) and "\n" not in str(error.value)
    assert not adapted(model)


def test_a_layer_whose_weight_is_anothers_too_is_named() -> None:
    model = Net()
    model.decoder = nn.Linear(8, 9)
    model.decoder.weight = model.words.weight
    with pytest.raises(UserError, match=r"'decoder' shares its weight \(words.weight = decoder.weight\).*'decoder'\]"):
        names(model)
    assert "decoder" not in names(model, exclude=["decoder", "depth"])


class Reads(nn.Module):
    """Calls its first layer by keyword, reads the weight of one, and leaves another for times that do not come."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.read, self.spare = nn.Linear(4, 6), nn.Linear(6, 3), nn.Linear(6, 3)
        self.norm, self.attn = nn.LayerNorm(6), nn.MultiheadAttention(6, 2, batch_first=True)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        h = self.norm(self.first(input=x))
        h = self.attn(h[:, None], h[:, None], h[:, None])[0][:, 0]
        return {"y": nn.functional.linear(h, self.read.weight, self.read.bias)}


def test_a_layer_that_is_called_by_keyword_has_its_adapter() -> None:
    selector, model, x = Lora(rank=2), Reads(), torch.randn(5, 4)
    selector.extend(model)
    nn.init.normal_(model.first.lora_B.weight)  # type: ignore[union-attr, arg-type]
    plain = Reads()
    plain.load_state_dict(selector.plain(model.state_dict()))
    torch.testing.assert_close(plain(x)["y"], model(x)["y"])


def test_a_layer_whose_weight_is_read_and_that_is_never_called_is_refused() -> None:
    model, x = Reads(), torch.randn(5, 4)
    Lora(rank=2).extend(model)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with torch.no_grad(), pytest.raises(UserError, match=r"'read' \(Linear\) is never called: .* = \['read'\]"):
        Lora(rank=2).check(model, lambda: model(x))
    assert all(value.equal(before[key]) for key, value in model.state_dict().items())
    allowed, other = Lora(rank=2, exclude=("read",)), Reads()
    allowed.extend(other)
    hooks = sum(len(module._forward_hooks) for module in other.modules())
    with torch.no_grad():
        allowed.check(other, lambda: other(x))
    assert hooks == sum(len(module._forward_hooks) for module in other.modules())


def test_a_run_is_told_so_before_anything_is_trained(tmp_path) -> None:
    class Odd(Architecture):
        """A network that reads a weight."""

        name = "odd"

        def build(self, *, input_shape, outputs):
            model = Reads()
            return nn.Sequential(nn.Flatten(), nn.Linear(64, 4), model, Answer())

    pipeline = tiny_run(
        tmp_path, architecture=Odd(), selector=Lora(rank=2), dataset={"name": "digits", "image_size": 8},
        task={"name": "classification"},
    )  # fmt: skip
    with pytest.raises(UserError, match=r"'2\.read' \(Linear\) is never called"):
        pipeline.train()


class Answer(nn.Module):
    def forward(self, answers: dict[str, torch.Tensor]) -> torch.Tensor:
        return answers["y"].repeat(1, 4)[:, :10]
