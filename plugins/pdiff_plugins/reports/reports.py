"""Reports: what a person reads of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pdiff.components import Figure, Page, Report
from pdiff.files import make_folder, write_bytes, write_text
from pdiff.results.shown import Showing

if TYPE_CHECKING:
    from pdiff.view import View


TAKEN = ("index", "summary", "figures", "details", "not_shown", "published_beside_ours", "what_the_numbers_say")
"""Names that no evaluator's page can have: of the first page, and of its sections."""


class Html(Report):
    """Self-contained pages: index.html and the evaluators' own; figures in figures/."""

    name = "html"

    def render(self, view: View, out: Path) -> list[Path]:
        from pdiff_plugins.reports.figures import every_figure

        showing = Showing(view.evaluators, view.warn)
        figures = every_figure(view, showing)
        pages = showing.pages(view, figures, taken=TAKEN)
        texts = {"index.html": _index(view, showing, figures, pages)} | {
            f"{p.name}.html": _beside(view, p) for p in pages
        }
        pictures = {f"figures/{figure.name}.{figure.kind}": figure.data for figure in figures}
        make_folder(out / "figures")
        for name, data in [*((name, text.encode()) for name, text in texts.items()), *pictures.items()]:
            write_bytes(out / name, data)
        return [out / name for name in [*texts, *pictures]]


def _beside(view: View, beside: Page) -> str:
    """Return the page of an evaluator."""
    from pdiff_plugins.drawing import page
    from pdiff_plugins.reports.findings import ran

    back = {"index.html": f"\u2190 {view.name}"}
    return page.page(f"{view.name}: {beside.name}", beside.title, f"{ran(view.scores)}.", beside.sections, back)


def _index(view: View, showing: Showing, figures: Sequence[Figure], pages: Sequence[Page]) -> str:
    from pdiff.results.summary import expected, notes, sources
    from pdiff_plugins.drawing import page
    from pdiff_plugins.drawing.style import looks
    from pdiff_plugins.reports.findings import findings, ran

    scores = view.scores
    headline, *more = findings(showing, scores)
    colours = {source: look.colour for source, look in looks(list(scores["networks"]), view.method).items()}
    return page.page(view.name, f"{headline}.", f"{ran(scores)}.", {
        "What the numbers say": page.listing(more),
        "Summary": page.table(*view.table(), view.method, colours) + page.notes(notes(scores)),
        **{beside.name.replace("_", " ").capitalize(): _link(beside) for beside in pages},
        "Published beside ours": _published(sources(scores), page.table(*expected(scores))),
        "Figures": "\n".join(map(page.figure, figures)),
        "Not shown": page.listing(showing.faults),
        "Details": _details(scores),
    }, {f"{beside.name}.html": f"{beside.name.replace('_', ' ').capitalize()} \u2192" for beside in pages})  # fmt: skip


def _link(beside: Page) -> str:
    from pdiff_plugins.drawing import page

    return f'<p class="go"><a href="{beside.name}.html">{page.text(beside.about)} &rarr;</a></p>'


def _published(source: str, body: str) -> str:
    from pdiff_plugins.drawing import page

    return f"{body}\n<p>{page.text(source)}</p>" if body and source else body


def _details(scores: dict[str, Any]) -> str:
    import tomli_w

    from pdiff_plugins.drawing import page
    from pdiff_plugins.reports.findings import gates, stages

    parts = [
        ("Codec gate: networks after decode(encode(w)), before any diffusion", page.table(*gates(scores))),
        ("Time", page.table(*stages(scores))),
    ]
    body = "\n".join(f"<h3>{title}</h3>\n{table}" for title, table in parts if table)
    return body + "\n" + page.folded("Resolved recipe", tomli_w.dumps(scores["recipe"]))


class Markdown(Report):
    """The numbers as text, report.md."""

    name = "markdown"

    def render(self, view: View, out: Path) -> list[Path]:
        from pdiff.results.summary import expected, notes, sources
        from pdiff_plugins.reports.findings import findings, gates, ran, stages

        scores = view.scores
        showing = Showing(view.evaluators, view.warn)
        headline, *more = findings(showing, scores)
        published = expected(scores)
        source = sources(scores)
        parts = [
            f"# {plain(view.name)}",
            f"{plain(ran(scores))}.",
            f"**{plain(headline)}.**",
            "\n".join(f"- {plain(line)}." for line in more),
            markdown_table(*view.table()),
            "## Notes\n\n" + "\n".join(f"- {plain(line)}" for line in notes(scores)),
            section("Published beside ours" + (f" ({plain(source)})" if source else ""), *published),
            section("Codec gate: networks after decode(encode(w)), before any diffusion", *gates(scores)),
            section("Time", *stages(scores)),
            "## Not shown\n\n" + "\n".join(f"- {plain(line)}" for line in showing.faults) if showing.faults else "",
        ]
        path = out / "report.md"
        make_folder(out)
        write_text(path, "\n\n".join(part for part in parts if part) + "\n")
        return [path]


def section(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a titled table in Markdown, or nothing where it has no rows."""
    return f"## {title}\n\n{markdown_table(head, rows)}" if rows else ""


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown, numbers to the right."""
    from pdiff_plugins.drawing.page import numeric

    lines = [head, ["--:" if right else "---" for right in numeric(rows)], *rows]
    return "\n".join(f"| {' | '.join(map(plain, line))} |" for line in lines)


def plain(value: str) -> str:
    """Return text that Markdown shows as it is; backticks stay, they mean code."""
    for character, instead in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "\\|"), ("*", "\\*"), ("\n", " ")):
        value = value.replace(character, instead)
    return value
