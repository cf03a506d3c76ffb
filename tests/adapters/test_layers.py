"""Adapters of every kind of layer: what they add, and what is merged."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.utils import parametrizations

from pdiff.zoo import Layout
from pdiff_plugins.adapters.factors import pairs
from pdiff_plugins.adapters.layers import adapted, merged, merged_weights, product, scale_of
from pdiff_plugins.adapters.selector import Lora
from pdiff_plugins.populations.parting import Parted


class Words(nn.Module):
    """An embedding, attention and a block of a transformer, over whole numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(8, 8, padding_idx=0)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True, bias=False)
        self.block = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, index: Tensor) -> Tensor:
        x = self.words(index)
        x = x + self.attention(x, x, x)[0]
        return self.head(self.block(x).mean(1))


def weight_normed() -> nn.Module:
    normed = parametrizations.weight_norm
    layers = [normed(nn.Conv1d(6, 4, 3)), normed(nn.Conv1d(4, 4, 3), dim=1), nn.Flatten()]
    return nn.Sequential(*layers, normed(nn.Linear(8, 16)), normed(nn.Linear(16, 8), dim=None))


X = torch.randn(5, 6, 6, generator=torch.Generator().manual_seed(0))
# Not of depth 1: in bfloat16 oneDNN gives NaN for such convolutions on CPUs with AMX (torch 2.14.1).
NETWORKS = {
    "linear": (lambda: nn.Sequential(nn.Linear(6, 7), nn.Tanh(), nn.Linear(7, 5, bias=False)), X, 2),
    "conv1d": (lambda: nn.Sequential(nn.Conv1d(6, 4, 3, 2, 1), nn.ReLU(), nn.Conv1d(4, 5, 3, padding="same")), X, 2),
    "conv2d": (
        lambda: nn.Sequential(
            nn.Conv2d(5, 4, 3, padding=2, dilation=2, padding_mode="circular"),
            nn.BatchNorm2d(4), nn.Conv2d(4, 6, (1, 3), bias=False), nn.Conv2d(6, 6, 1),
        ), X[None], 2,
    ),
    "conv3d": (lambda: nn.Conv3d(1, 4, 3, padding=1), X[:, None, None].repeat(1, 1, 2, 1, 1), 3),
    "groups": (lambda: nn.Sequential(nn.Conv1d(6, 6, 3, groups=2), nn.Conv1d(6, 4, 1, groups=2)), X, 2),
    "depthwise": (lambda: nn.Conv2d(6, 12, 3, groups=6, padding=1), X.permute(1, 0, 2)[None], 6),
    "weight norm": (weight_normed, X, 2),
    "words": (Words, torch.arange(20).reshape(4, 5) % 8, 2),
}  # fmt: skip
EVERY = pytest.mark.parametrize("kind", list(NETWORKS))


def network(kind: str, **options) -> tuple[Lora, nn.Module, nn.Module, Tensor]:
    """Return a selector, a plain network, the same with adapters whose factors are random, and inputs."""
    build, x, rank = NETWORKS[kind]
    torch.manual_seed(1)
    plain, lora = build().eval(), Lora(rank=rank, **({"targets": ("*", "words")} if kind == "words" else {}), **options)
    model = copy.deepcopy(plain)
    lora.extend(model)
    return lora, plain, model, x


def drawn(model: nn.Module) -> nn.Module:
    for key, value in model.state_dict().items():
        if "lora_" in key:
            value.copy_(torch.randn_like(value) / 2)
    return model


@EVERY
def test_a_new_adapter_changes_no_output_and_a_drawn_one_does(kind: str) -> None:
    _, plain, model, x = network(kind)
    torch.testing.assert_close(model(x), plain(x), rtol=1e-6, atol=1e-6)
    assert (drawn(model)(x) - plain(x)).abs().max() > 0.05
    model.train()
    model(x).square().sum().backward()
    missed = [key for key, p in model.named_parameters() if ".lora_" in key and (p.grad is None or not p.grad.any())]
    assert not missed, "a factor that does nothing has no gradient"


@EVERY
def test_merged_weights_are_the_side_path(kind: str) -> None:
    lora, plain, model, x = network(kind, alpha=3.0)
    state = drawn(model).state_dict()
    merged_state = lora.plain(state)
    plain.load_state_dict(merged_state, strict=True)
    assert list(merged_state) == list(plain.state_dict())
    with torch.no_grad():
        expected = model(x)
        torch.testing.assert_close(plain(x), expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())


@EVERY
@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_an_adapted_network_can_be_copied_stacked_and_traced(kind: str) -> None:
    lora, _, model, x = network(kind)
    keys = lora.select(model)
    twin = copy.deepcopy(model)
    states = [{key: torch.randn_like(model.state_dict()[key]) for key in keys} for _ in range(3)]
    stacked = {key: torch.stack([state[key] for state in states]) for key in keys}

    def one(state: dict[str, Tensor]) -> Tensor:
        return functional_call(model, state, (x,))

    with torch.no_grad():
        alone = []
        for state in states:
            twin.load_state_dict(state, strict=False)
            alone.append(twin(x))
        expected, close = torch.stack(alone), {"rtol": 1e-4, "atol": 1e-4}
        model.train(False)
        torch.testing.assert_close(vmap(one)(stacked), expected, **close)
        graph = make_fx(vmap(one))(stacked)
        torch.testing.assert_close(graph(stacked), expected, **close)
        with torch.autocast("cpu", torch.bfloat16):
            rough = twin(x)
        assert (rough.float() - expected[-1]).abs().max() < 0.1 * expected[-1].abs().max()
    assert all("lora" not in key for module in model.modules() for key in vars(module)), "nothing is left behind"


@EVERY
def test_factors_in_vectors_are_those_of_the_weights(kind: str) -> None:
    lora, plain, model, _ = network(kind, alphas={"*": 5.0})
    state = drawn(model).state_dict()
    layout = Layout.of(model, lora.select(model))
    theta_MD = torch.stack([layout.vector(state)] * 2)
    scales, found = lora.scales(layout), pairs(layout)
    assert [pair.module for pair in found] == sorted(adapted(model), key=[pair.module for pair in found].index)
    changed = lora.plain(state)
    for pair in found:
        a_MRI, b_MOR = pair.split(theta_MD)
        change_OI = scales[pair.module] * (b_MOR @ a_MRI)[1]
        first, second = (state[entry.key] for entry in (pair.a, pair.b))
        assert scales[pair.module] == scale_of(model.get_submodule(pair.module)) == 5 / pair.rank
        weight = next((changed[key] for key in (f"{pair.module}.weight", "weight") if key in changed), None)
        if pair.groups == 1 and weight is not None:
            before = plain.get_submodule(pair.module).weight
            torch.testing.assert_close((weight - before).flatten(1), change_OI, rtol=1e-4, atol=1e-5)
        elif pair.groups > 1:
            shape = torch.Size((len(second), first.shape[1], *first.shape[2:]))
            apart = product(first, second, shape).flatten(1).unflatten(0, (pair.groups, -1))
            torch.testing.assert_close(torch.block_diag(*apart) * scales[pair.module], change_OI, rtol=1e-4, atol=1e-5)
        again = torch.zeros_like(theta_MD)
        pair.write(again, a_MRI, b_MOR)
        for entry in (pair.a, pair.b):
            assert torch.equal(again[:, entry.columns], theta_MD[:, entry.columns])


@pytest.mark.filterwarnings("ignore:.*deprecated in favor of")
def test_the_older_weight_norm_of_torch_is_merged_too() -> None:
    torch.manual_seed(0)
    model, plain = (nn.Sequential(nn.utils.weight_norm(nn.Linear(6, 4))) for _ in range(2))
    lora = Lora(rank=2)
    lora.extend(model)
    plain.load_state_dict(lora.plain(drawn(model).state_dict()), strict=True)
    torch.testing.assert_close(plain(X), model(X))


@EVERY
def test_a_network_parts_where_its_adapters_begin(kind: str) -> None:
    lora, _, model, x = network(kind)
    drawn(model)
    parted = Parted(model, lora.select(model), (x,))
    with torch.no_grad():
        expected = model(x)
        entries = {key: model.state_dict()[key] for key in lora.select(model)}
        torch.testing.assert_close(parted.suffix(entries, parted.prefix(x)), expected, rtol=1e-4, atol=1e-5)
        with merged_weights(nn.Module):
            torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-4)


def test_attention_has_its_weights_again_where_it_fails() -> None:
    _, _, model, _ = network("words")
    with pytest.raises(AssertionError):
        model.attention(torch.ones(1, 2, 7), torch.ones(1, 2, 8), torch.ones(1, 2, 8))
    assert "in_proj_weight" not in vars(model.attention) and "weight" not in vars(model.attention.out_proj)


@pytest.mark.filterwarnings("ignore:.*nested tensors")
def test_what_a_transformers_quick_path_would_leave_out_is_computed() -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)
    lora, model = Lora(rank=2), nn.TransformerEncoder(layer, 2).eval()
    plain = copy.deepcopy(model)
    lora.extend(model)
    plain.load_state_dict(lora.plain(drawn(model).state_dict()))
    x, hidden = torch.randn(3, 5, 8), torch.arange(5) >= torch.tensor([[4], [2], [3]])
    with torch.inference_mode():
        ours, theirs = (one(x, src_key_padding_mask=hidden) for one in (model, plain))
    torch.testing.assert_close(ours[~hidden], theirs[~hidden], rtol=1e-4, atol=1e-4)


def test_a_state_dict_without_adapters_is_left_as_it_is() -> None:
    state = nn.Linear(2, 2).state_dict()
    assert merged(state, lambda layer: 1.0) == state
