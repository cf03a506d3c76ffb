"""Packed files of a run's networks, and the loader beside them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pdiff.api import Run
from pdiff.errors import UserError
from pdiff.files import save_tensors, write_text
from pdiff.results.export import new_files
from pdiff_plugins.bits import load as template
from pdiff_plugins.bits.packing import Packed, pack

LOADER = "load.py"
TEXT = Path(template.__file__).read_text(encoding="utf-8")


@dataclass(frozen=True)
class Written:
    """Files of packed networks."""

    paths: list[Path]
    packed: list[Packed]
    named: str
    """Which network it is, or whose they are."""
    dense: int
    """Bytes of a network's selected parameters in floats."""

    def lines(self) -> Iterator[str]:
        """Yield what a person is told."""
        count, first = len(self.paths), self.packed[0]
        place = self.paths[0] if count == 1 else self.paths[0].parent
        size, bits = sum(one.bytes for one in self.packed) / count, sum(one.bits for one in self.packed) / count
        on_disk = sum(path.stat().st_size for path in self.paths) / count
        yield f"{place}: {self.named}"
        yield (
            f"{size:,.0f} bytes{' each' if count > 1 else ''} ({bits:.2f} bits per parameter; in floats "
            f"{self.dense:,}), {on_disk:,.0f} with the file's header{_more(first)}"
        )
        yield f"{place.parent if count == 1 else place}/{LOADER} reads it: load({str(self.paths[0].name)!r})"


def _more(packed: Packed) -> str:
    rest = sum(value.numel() * value.element_size() for value in packed.tensors.values()) - packed.bytes
    return f" and {rest:,} bytes that are not selected" if rest else ""


def write(run: Run, to: Path | None, *, which: str, source: str, every: bool, overwrite: bool) -> Written:
    """Write one network, or every one of a source, and the loader. Raises UserError before anything is written."""
    if run.recipe.selector.extends:
        raise UserError(
            f"pack: selector {run.recipe.selector.name} adds parts to a network, which files for others do not show; "
            "use pdiff export"
        )
    theta_MD, zoo, source = run.theta(source), run.zoo, source or run.pipeline.plan.method
    numbers = range(len(theta_MD)) if every else [run.number(which, source)]
    name = source.replace(" ", "-")
    if every:
        folder = to or run.folder / f"packed-{name}"
        paths = [folder / f"network-{number:04d}.safetensors" for number in numbers]
    else:
        paths = [to or run.folder / f"packed-{name}-{which}.safetensors"]
        if paths[0].suffix != ".safetensors":
            raise UserError(f"--to {to}: give a name that ends in .safetensors, or --all and a folder")
    packed = [
        pack(theta_MD[number], zoo.layout, zoo.state_dict(theta_MD[number]), f"network {number} of {source}")
        for number in numbers
    ]
    loader = paths[0].parent / LOADER
    ours = loader.is_file() and loader.read_text(encoding="utf-8") == TEXT
    new_files([*paths, *([] if ours else [loader])], overwrite)
    for path, one in zip(paths, packed, strict=True):
        save_tensors(path, one.tensors, one.metadata)
    write_text(loader, TEXT)
    best = f" (best on the {run.recipe.selection} split)" if which == "best" else ""
    named = f"{len(paths)} networks of {source}" if every else f"network {numbers[0]} of {source}{best}"
    sizes = (zoo.anchor[e.key].element_size() * (e.stop - e.start) // (1 + e.is_complex) for e in zoo.layout.entries)
    return Written(paths, packed, named, sum(sizes))
