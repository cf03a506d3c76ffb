"""Recipes by chance: what `pdiff check` does with each is valid, or refused in lines of at most 500 characters.

Of what is valid, the resolved recipe must be read again (`resolved`), and lead to the same keys (`same keys`).
"""

from __future__ import annotations

import datetime
import os
import random
import tempfile
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tomli_w

from pdiff.engine.preflight import planned
from pdiff.errors import UserError
from pdiff.plugins.discovery import registry
from pdiff.recipe.loading import load_recipe, parse_override
from tests.campaign import mutation
from tests.campaign.guard import raised_by
from tests.campaign.options import Options
from tests.campaign.tally import Tally
from tests.helpers import ROOT, TINY

COUNT = 40_000
DIRECTED = {
    "brackets": f"seed = {'[' * 500}{']' * 500}",
    "tables": f"seed = {'{a=' * 500}1{'}' * 500}",
    "dotted": f"{'.'.join('a' * 2000)} = 1",
    "header": f"[{'.'.join('a' * 2000)}]\nb = 1",
    "digits": f"seed = {'9' * 5000}",
    "hex": f"seed = 0x{'f' * 5000}",
    "64 bits": TINY.replace("count = 60", f"count = {10**30}"),
    "long name": TINY.replace('"mlp_mini"', f'"{"x" * 100_000}"'),
    "long key": TINY.replace("[train]", f"[train]\n{'k' * 100_000} = 1"),
    "long value": TINY.replace("epochs = 6", f'epochs = "{"x" * 100_000}"'),
    "NUL": TINY + '[run]\nout = "a\\u0000b"\n',
    "control": TINY.replace('"mlp_mini"', '"a\\nb\\u001b[31mc"'),
    "many faults": TINY + "\n[run]\n" + "".join(f"k{number} = 1\n" for number in range(3000)),
    "NUL byte": "seed = 1\x00",
    "empty": "",
    "home": TINY.replace('"digits"', '"image_folder"\nroot = "~nosuch/x"'),
}
"""Recipes that one thinks of."""
LONG = {
    "many baselines": TINY + '[[baseline]]\nname = "soup"\n' * 3000,
    "many scales": TINY.replace("[0.05]", repr([0.001 * number for number in range(20_000)])),
    "same scales": TINY.replace("[0.05]", repr([0.05] * 20_000)),
}
"""Those that take seconds each."""
SCALARS = (*mutation.SCALARS, datetime.date(2026, 1, 1), datetime.time(1))


def nasty(chance: random.Random) -> Any:
    """Return a value that TOML can hold and an option rarely wants."""
    return mutation.nasty(chance, scalars=SCALARS)


def of_values(chance: random.Random, text: str) -> bytes:
    """Return a recipe with some values replaced, taken out or put in."""
    tables = tomllib.loads(text)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        node, key = chance.choice(list(mutation.places(tables)) or [(tables, "seed")])
        if isinstance(node, dict) and chance.random() < 0.2:
            del node[key]
        elif isinstance(node, dict) and chance.random() < 0.1:
            node[chance.choice(("epoch", "nam", "x" * 600, "é", ""))] = nasty(chance)
        elif isinstance(node[key], int | float) and chance.random() < 0.5:
            node[key] = chance.choice(mutation.NUMBERS)
        else:
            node[key] = nasty(chance)
    return tomli_w.dumps(tables).encode()


def of_text(chance: random.Random, text: str) -> bytes:
    """Return a recipe with some of its bytes or lines changed."""
    raw = bytearray(text.encode())
    for _ in range(chance.choice((1, 1, 2, 5))):
        start = chance.randrange(len(raw) + 1)
        stop = min(len(raw), start + chance.choice((0, 1, 1, 4, 40, 400)))
        put = chance.choice(
            (b"", bytes([chance.randrange(256)]), raw[start:stop] * 2, b"[" * 40, b'"""', b"\n= ", b"'")
        )
        raw[start:stop] = put
    return bytes(raw)


def of_grammar(chance: random.Random, text: str) -> bytes:
    """Return a recipe of components drawn from all there are, with some options from their fields."""
    tables = tomllib.loads(text)
    kinds = {"dataset": "dataset", "task": "task", "architecture": "architecture", "selector": "selector"}
    kinds |= {"collector": "collect", "method": "method"}
    for kind, key in kinds.items():
        if chance.random() < 0.4:
            tables[key] = component(chance, kind)
    for kind, key in (("method", "baseline"), ("evaluator", "evaluate"), ("transform", "zoo"), ("report", "report")):
        tables[key] = [component(chance, kind) for _ in range(chance.choice((0, 1, 1, 2, 4)))]
    return tomli_w.dumps(tables).encode()


def component(chance: random.Random, kind: str) -> dict[str, Any]:
    """Return a table of one of a kind, with some of its options, mostly at their defaults."""
    _, name, cls, _ = chance.choice(list(registry().offers(kind)))
    table: dict[str, Any] = {"name": name}
    for option, field in cls.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if field.is_required():
            table[option] = chance.choice(("some", 2, [1, 2], nasty(chance)))
        elif chance.random() < 0.06:
            plain = isinstance(default, int | float | str)
            table[option] = default if plain and chance.random() < 0.5 else nasty(chance)
    return table


def of_overrides(chance: random.Random, text: str) -> list[str]:
    """Return `--set` options of a recipe that is right."""
    heads = ("method", "method.codec", "sample", "run", "evaluate.0", "baseline.9", "x", "", "a." * 50, "seed")
    tails = (".count", ".steps", ".name", ".latent", "", ".", ".x" * 100, ".0", ".-1", ".é")
    values = ("1", "[", "[" * 2000, "9" * 5000, '"', "{a = 1}", "true", "x" * 3000, "1e999", "[1, 'a']", "a\x00b", "")
    return [
        f"{chance.choice(heads)}{chance.choice(tails)}{chance.choice(('=', '=', '=', ''))}{chance.choice(values)}"
        for _ in range(chance.choice((1, 1, 2)))
    ]


MAKERS: dict[str, Callable[[random.Random, str], bytes]] = {
    "values": of_values, "text": of_text, "grammar": of_grammar,
}  # fmt: skip


def keys_of(path: Path, overrides: dict[str, Any]) -> tuple[str, list[tuple[str, str]]]:
    """Return the resolved recipe and the keys of all its stages, as `pdiff check` finds them."""
    recipe = load_recipe(path, overrides)
    resolved = tomli_w.dumps(recipe.table())
    return resolved, [(what, stage.key) for what, stage in planned(recipe, path)[0]]


def judge(tally: Tally, kind: str, path: Path, texts: list[str], told: str) -> None:
    """Try one recipe, and count what comes of it."""
    held: list[tuple[str, list[tuple[str, str]]]] = []

    def do() -> None:
        held.append(keys_of(path, dict(parse_override(text) for text in texts)))

    tally.add(kind, raised_by(do, told))
    if not held:
        return
    resolved, keys = held[0]
    again = path.with_name("resolved.toml")
    again.write_text(resolved, encoding="utf-8")
    kept: list[list[tuple[str, str]]] = []

    def reload() -> None:
        try:
            kept.append(keys_of(again, {})[1])
        except UserError as error:
            raise AssertionError(f"resolved recipe refused: {error}") from None

    tally.add("resolved is read again", raised_by(reload, told))
    if kept:
        changed = [what for (what, before), (_, after) in zip(keys, kept[0], strict=True) if before != after]
        tally.add("resolved has the same keys", f"{told}: {changed[:3]}" if changed else None)


def run(options: Options) -> Tally:
    """Try recipes, each made from one that comes with pdiff."""
    tally, count = Tally("recipes"), options.count or COUNT
    texts = [TINY, *(path.read_text(encoding="utf-8") for path in sorted((ROOT / "recipes").rglob("*.toml")))]
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.work or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        path, before = folder / "recipe.toml", Path.cwd()
        os.chdir(folder)
        try:
            for name, text in (DIRECTED if count < 1000 else DIRECTED | LONG).items():
                if options.only in f"directed {name}":
                    path.write_text(text, encoding="utf-8")
                    judge(tally, "directed", path, [], name)
            kinds = [kind for kind in (*MAKERS, "overrides") if options.only in kind]
            for number in range(count if kinds else 0):
                chance = random.Random(f"{options.seed} {number}")
                kind, text, sets = chance.choice(kinds), chance.choice(texts), []
                if kind == "overrides":
                    sets = of_overrides(chance, text)
                    path.write_text(text, encoding="utf-8")
                else:
                    path.write_bytes(MAKERS[kind](chance, text))
                judge(tally, kind, path, sets, f"number {number}")
        finally:
            os.chdir(before)
    return tally
