"""Small networks of many kinds: how they are built, what they read, and the permutations that they have."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, spectral_norm, weight_norm

IDS = torch.randint(9, (2, 5), generator=torch.Generator().manual_seed(0))
ROWS, LINES = torch.randn(2, 6, generator=torch.Generator().manual_seed(1)), torch.randn(2, 3, 8)
IMAGES, CUBES = torch.randn(2, 3, 8, 8), torch.randn(2, 2, 6, 6, 6)
MASK = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]).bool()


class Net(nn.Module):
    """Layers by name, and a function of them and the inputs."""

    def __init__(self, function: Callable[..., Any], **layers: Any):
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, *inputs: Any, **named: Any) -> Any:
        return self.function(self, *inputs, **named)


def quiet(function: Callable[..., nn.Module], *arguments: Any, **named: Any) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*arguments, **named)


@dataclass
class Object:
    """An output that is no tensor, tuple or mapping."""

    logits: Tensor
    hidden: list[Tensor] | None = None


def text(middle: Callable[[Net, Tensor], Tensor], width: int = 8, out: int | None = None, **layers: Any) -> Net:
    return Net(
        lambda s, x: s.out(middle(s, s.emb(x))), emb=nn.Embedding(9, width), out=nn.Linear(out or width, 3), **layers
    )


def rows(middle: Callable[[Net, Tensor], Tensor], first: nn.Module | None = None, read: int = 8, **layers: Any) -> Net:
    return Net(lambda s, x: s.out(middle(s, s.fc(x))), fc=first or nn.Linear(6, 8), out=nn.Linear(read, 3), **layers)


def images(
    middle: Callable[[Net, Tensor], Tensor], first: nn.Module | None = None, read: int = 8, **layers: Any
) -> Net:
    def run(s: Net, x: Tensor) -> Tensor:
        return s.out(middle(s, s.conv(x)).flatten(2).mean(dim=2))

    return Net(run, conv=first or nn.Conv2d(3, 8, 3, padding=1), out=nn.Linear(read, 3), **layers)


def recurrent(cell: str, layers: int = 1, last: str = "places", **options: Any) -> Net:
    def run(s: Net, x: Tensor) -> Tensor:
        y, state = s.rnn(s.emb(x))
        hidden = state[0] if isinstance(state, tuple) else state
        if last == "both":
            return s.out(torch.cat((hidden[-2], hidden[-1]), dim=1))
        return s.out(y[:, -1] if last == "places" else hidden[-1])

    read = (2 if last == "both" or (options.get("bidirectional") and last == "places") else 1) * (
        options.get("proj_size") or 8
    )
    return Net(
        run, emb=nn.Embedding(9, 6), out=nn.Linear(read, 3),
        rnn=getattr(nn, cell)(6, 8, layers, batch_first=True, **options),
    )  # fmt: skip


def steps(cell: nn.Module) -> Net:
    """A cell that is called step by step."""

    def run(s: Net, x: Tensor) -> Tensor:
        state: Any = None
        for place in range(3):
            state = s.cell(s.emb(x)[:, place], state)
        return s.out(state[0] if isinstance(state, tuple) else state)

    return Net(run, emb=nn.Embedding(9, 6), cell=cell, out=nn.Linear(8, 3))


def encoder(**options: Any) -> nn.Module:
    layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True, **options)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


def attended(s: Net, x: Tensor, **options: Any) -> Tensor:
    return (x + s.att(x, x, x, **options)[0]).mean(dim=1)


def heads(x: Tensor, count: int) -> Tensor:
    return x.unflatten(-1, (count, 4)).transpose(1, 2)


def grouped(s: Net, x: Tensor) -> Tensor:
    """Four heads of queries, two of keys and values."""
    q, k, v = heads(s.q(x), 4), heads(s.k(x), 2), heads(s.v(x), 2)
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    return s.proj(y.transpose(1, 2).flatten(2)).mean(dim=1)


def decoder(s: Net, x: Tensor) -> Tensor:
    """A GPT: learned positions, causal attention by hand, tied head."""
    h = s.emb(x) + s.pos(torch.arange(x.shape[1]))
    q, k, v = (heads(part, 2) for part in s.qkv(s.norm(h)).split(8, dim=-1))
    scores = (q @ k.transpose(-2, -1)) * 4**-0.5
    scores = scores.masked_fill(torch.ones(5, 5).tril() == 0, float("-inf"))
    h = h + s.proj((scores.softmax(dim=-1) @ v).transpose(1, 2).contiguous().view(2, 5, 8))
    return s.head(h + s.down(F.gelu(s.up(h))))


def gpt() -> Net:
    net = Net(
        decoder, emb=nn.Embedding(9, 8), pos=nn.Embedding(5, 8), norm=nn.LayerNorm(8), qkv=nn.Linear(8, 24),
        proj=nn.Linear(8, 8), up=nn.Linear(8, 12), down=nn.Linear(12, 8), head=nn.Linear(8, 9, bias=False),
    )  # fmt: skip
    net.head.weight = net.emb.weight
    return net


def tied() -> Net:
    net = Net(
        lambda s, x: s.head(F.relu(s.mid(s.emb(x).mean(dim=1)))),
        emb=nn.Embedding(9, 8), mid=nn.Linear(8, 8), head=nn.Linear(8, 9, bias=False),
    )  # fmt: skip
    net.head.weight = net.emb.weight
    return net


def masked_mean(s: Net, input_ids: Tensor, attention_mask: Tensor) -> Object:
    h = s.emb(input_ids).masked_fill(~attention_mask[..., None], 0.0)
    h = h.sum(dim=1) / attention_mask.sum(dim=1, keepdim=True).clamp_min(1)
    return Object(s.out(F.relu(s.fc(h))))


def shared() -> Net:
    block = nn.Linear(8, 8)
    return rows(lambda s, h: F.relu(s.three(F.relu(s.two(F.relu(h))))), two=block, three=block)


def whole(first: nn.Module, last: nn.Module, told: bool = False) -> Net:
    return Net(lambda s, x: (s.last(h := s.first(x)), h if told else []), first=first, last=last)


def last_token(s: Net, h: Tensor) -> Tensor:
    lengths = torch.tensor([2, 4])
    picked = h[torch.arange(2), lengths] + h.gather(1, lengths.view(2, 1, 1).expand(-1, -1, 8))[:, 0]
    return picked + h.index_select(1, torch.tensor([0]))[:, 0]


CASES: dict[str, tuple[Callable[[], nn.Module], Any, list[int]]] = {
    "bag of words": (lambda: text(lambda s, h: h.mean(dim=1)), IDS, [8]),
    "embedding bag": (lambda: whole(nn.EmbeddingBag(9, 8), nn.Linear(8, 3)), IDS, [8]),
    "tied": (tied, IDS, [8]),
    "gpt": (gpt, IDS, [2, 4, 8, 12]),
    "lstm": (lambda: recurrent("LSTM"), IDS, [6, 8]),
    "gru": (lambda: recurrent("GRU", 2), IDS, [6, 8, 8]),
    "rnn": (lambda: recurrent("RNN", nonlinearity="relu", bias=False), IDS, [6, 8]),
    "lstm, last state": (lambda: recurrent("LSTM", 2, "state"), IDS, [6, 8, 8]),
    "lstm, both directions": (lambda: recurrent("LSTM", 2, bidirectional=True), IDS, [6, 8, 8]),
    "gru, both last states": (lambda: recurrent("GRU", 1, "both", bidirectional=True), IDS, [6, 8]),
    "lstm, projected": (lambda: recurrent("LSTM", proj_size=4), IDS, [4, 6, 8]),
    "lstm cell": (lambda: steps(nn.LSTMCell(6, 8)), IDS, [6, 8]),
    "gru cell": (lambda: steps(nn.GRUCell(6, 8)), IDS, [6, 8]),
    "rnn cell": (lambda: steps(nn.RNNCell(6, 8)), IDS, [6, 8]),
    "encoder": (lambda: text(lambda s, h: s.enc(h).mean(dim=1), enc=encoder()), IDS, 2 * [2, 4, 12] + [8]),
    "encoder, norm first": (
        lambda: text(lambda s, h: s.enc(h, src_key_padding_mask=~MASK)[:, 0], enc=encoder(norm_first=True)),
        IDS, 2 * [2, 4, 12] + [8],
    ),
    "attention": (lambda: text(attended, att=nn.MultiheadAttention(8, 2, batch_first=True)), IDS, [2, 4, 8]),
    "attention, masked": (
        lambda: text(
            lambda s, h: attended(s, h, key_padding_mask=~MASK, need_weights=False),
            att=nn.MultiheadAttention(8, 2, batch_first=True),
        ),
        IDS, [2, 4, 8],
    ),
    "grouped queries": (
        lambda: text(grouped, q=nn.Linear(8, 16), k=nn.Linear(8, 8), v=nn.Linear(8, 8), proj=nn.Linear(16, 8)),
        IDS, [2, 2, 4, 4, 8, 8],
    ),
    "weight norm": (lambda: rows(lambda s, h: h.relu(), parametrizations.weight_norm(nn.Linear(6, 8))), ROWS, [8]),
    "weight norm, old": (lambda: rows(lambda s, h: h.relu(), quiet(weight_norm, nn.Linear(6, 8))), ROWS, [8]),
    "weight norm, whole": (
        lambda: rows(lambda s, h: h.relu(), parametrizations.weight_norm(nn.Linear(6, 8), dim=None)), ROWS, [8],
    ),
    "weight norm, convolution": (
        lambda: images(
            lambda s, h: s.two(h.relu()), parametrizations.weight_norm(nn.Conv2d(3, 8, 3)),
            two=parametrizations.weight_norm(nn.ConvTranspose2d(8, 8, 3), dim=1),
        ),
        IMAGES, [8, 8],
    ),
    "spectral norm": (lambda: rows(lambda s, h: h.relu(), parametrizations.spectral_norm(nn.Linear(6, 8))), ROWS, [8]),
    "spectral norm, old": (lambda: rows(lambda s, h: h.relu(), quiet(spectral_norm, nn.Linear(6, 8))), ROWS, [8]),
    "spectral norm, convolution": (
        lambda: images(lambda s, h: s.two(h.relu()), two=parametrizations.spectral_norm(nn.Conv2d(8, 8, 3))),
        IMAGES, [8, 8],
    ),
    "group norm": (lambda: images(lambda s, h: s.norm(h).relu(), norm=nn.GroupNorm(2, 8)), IMAGES, [2, 4]),
    "instance norm": (
        lambda: images(
            lambda s, h: s.two(s.norm(h).relu()), two=nn.InstanceNorm2d(8),
            norm=nn.InstanceNorm2d(8, affine=True, track_running_stats=True),
        ),
        IMAGES, [8],
    ),
    "rms norm": (lambda: rows(lambda s, h: s.norm(h), norm=nn.RMSNorm(8)), ROWS, [8]),
    "norm by hand": (
        lambda: rows(lambda s, h: s.scale * h / h.square().mean(dim=-1, keepdim=True).add(1e-6).sqrt()
                     + h * h.norm(dim=-1, keepdim=True), scale=nn.Parameter(torch.randn(8))),
        ROWS, [8],
    ),
    "prelu": (lambda: images(lambda s, h: s.act(h), act=nn.PReLU(8)), IMAGES, [8]),
    "glu": (lambda: rows(lambda s, h: F.glu(h), nn.Linear(6, 16)), ROWS, [8]),
    "swiglu": (lambda: rows(lambda s, h: F.silu(h) * s.gate(h), gate=nn.Linear(8, 8)), ROWS, [8]),
    "lines": (
        lambda: Net(
            lambda s, x: s.out(s.pool(s.up(F.max_pool1d(s.two(F.relu(s.one(x))), 2))).flatten(1)),
            one=nn.Conv1d(3, 8, 3, padding="same"), two=nn.Conv1d(8, 8, 3, padding=1, groups=2),
            up=nn.ConvTranspose1d(8, 6, 2, stride=2), pool=nn.AdaptiveAvgPool1d(2), out=nn.Linear(12, 3),
        ),
        LINES, [2, 4, 4, 6],
    ),
    "cubes": (
        lambda: Net(
            lambda s, x: s.out(F.interpolate(F.max_pool3d(s.norm(s.one(x)), 2), scale_factor=2).amax(dim=(2, 3, 4))),
            one=nn.Conv3d(2, 8, 3), norm=nn.BatchNorm3d(8), out=nn.Linear(8, 3),
        ),
        CUBES, [8],
    ),
    "up and down": (
        lambda: images(
            lambda s, h: F.pad(F.interpolate(F.avg_pool2d(h, 2), scale_factor=2, mode="bilinear"), (1, 0)) + s.up(h),
            up=nn.ConvTranspose2d(8, 8, (1, 2), groups=2),
        ),
        IMAGES, [2, 4],
    ),
    "depthwise": (
        lambda: images(lambda s, h: s.two(h), two=nn.Conv2d(8, 16, 3, groups=8), read=16), IMAGES, [2, 8],
    ),
    "last token": (lambda: text(last_token), IDS, [8]),
    "over time": (lambda: text(lambda s, h: h.max(dim=1).values + h.std(dim=1) + h.logsumexp(dim=1)), IDS, [8]),
    "along time": (lambda: text(lambda s, h: h.cumsum(dim=1).flip(1).roll(1, 1).sort(dim=1)[0][:, 0]), IDS, [8]),
    "stacked": (lambda: rows(lambda s, h: torch.stack([h, h.tanh()]).mean(dim=0)), ROWS, [8]),
    "side by side": (lambda: rows(lambda s, h: torch.cat([h, s.two(h)], 1), two=nn.Linear(8, 8), read=16), ROWS, [8]),
    "bilinear": (lambda: rows(lambda s, h: s.two(h, h.tanh()), two=nn.Bilinear(8, 8, 6), read=6), ROWS, [6, 8]),
    "repeated": (lambda: rows(lambda s, h: h.repeat(1, 2), read=16), ROWS, [2, 8]),
    "einsum": (
        lambda: rows(lambda s, h: torch.einsum("bi,oi->bo", h, s.w) + torch.where(h > 0, h, 0.1 * h),
                     w=nn.Parameter(torch.randn(8, 8))),
        ROWS, [8],
    ),
    "attention by einsum": (
        lambda: text(lambda s, h: torch.einsum("bqk,bkd->bqd", torch.einsum("bqd,bkd->bqk", s.q(h), s.k(h)).softmax(-1),
                                               h).mean(1), q=nn.Linear(8, 6), k=nn.Linear(8, 6)),
        IDS, [6, 8],
    ),
    "pixel shuffle": (lambda: images(lambda s, h: F.pixel_shuffle(h, 2), read=2), IMAGES, [2, 2, 2]),
    "one block thrice": (shared, ROWS, [8]),
    "mask and tokens": (
        lambda: Net(masked_mean, emb=nn.Embedding(9, 8), fc=nn.Linear(8, 6), out=nn.Linear(6, 3)),
        {"input_ids": IDS, "attention_mask": MASK}, [6, 8],
    ),
    "two inputs": (
        lambda: Net(lambda s, x, y: (s.out(F.relu(s.a(x) + s.b(y))), {"more": x}), a=nn.Embedding(9, 8),
                    b=nn.Linear(6, 8), out=nn.Linear(8, 3)),
        (IDS[:, 0], ROWS), [8],
    ),
    "features told": (lambda: whole(nn.Linear(6, 8), nn.Linear(8, 3), told=True), ROWS, []),
    "dead units": (lambda: rows(lambda s, h: h.relu() * s.alive, alive=nn.Buffer(torch.rand(8) > 0.3)), ROWS, [8]),
    "encoder and decoder": (
        lambda: Net(
            lambda s, x: s.out(s.own(s.emb(x), s.emb(x)).mean(dim=1)), emb=nn.Embedding(9, 8), out=nn.Linear(8, 3),
            own=nn.Transformer(8, 2, 1, 1, 12, batch_first=True),
        ),
        IDS, [2, 2, 2, 4, 4, 4, 8, 12, 12],
    ),
}  # fmt: skip
"""Of an encoder's each block heads, channels within them and the perceptron's units; and the stream."""
