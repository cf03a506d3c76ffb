"""Reports: what a person reads of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pdiff.components import Report

if TYPE_CHECKING:
    from pdiff.view import View


class Html(Report):
    """Self-contained pages, index.html and audit.html; figures also in figures/."""

    name = "html"

    def render(self, view: View, out: Path) -> list[Path]:
        from pdiff_plugins.reports.figures import pictures

        (out / "figures").mkdir(parents=True, exist_ok=True)
        shown, paths = list(pictures(view)), []
        for picture in shown:
            paths.append(out / "figures" / f"{picture.name}.{picture.kind}")
            paths[-1].write_bytes(picture.data)
        index = out / "index.html"
        index.write_text(_page(view, shown), encoding="utf-8", newline="\n")
        return [index, *_audit(view, shown, out), *paths]


def _audit(view: View, shown: Sequence[Any], out: Path) -> list[Path]:
    """Write the page of the audit, where it was run."""
    from pdiff_plugins.audit.page import audit_page

    if "audit" not in view.scores:
        return []
    path = out / "audit.html"
    path.write_text(audit_page(view, shown), encoding="utf-8", newline="\n")
    return [path]


def _page(view: View, shown: Sequence[Any]) -> str:
    from pdiff.results.summary import expected, notes, sources
    from pdiff_plugins.drawing import page
    from pdiff_plugins.drawing.style import looks
    from pdiff_plugins.reports.findings import findings, ran

    scores = view.scores
    headline, *more = findings(scores)
    colours = {source: look.colour for source, look in looks(list(scores["networks"]), view.method).items()}
    return page.page(view.name, f"{headline}.", f"{ran(scores)}.", {
        "What the numbers say": page.listing(more),
        "Summary": page.table(*view.table(), view.method, colours) + page.notes(notes(scores)),
        "Audit": '<p><a href="audit.html">Every source in one table, ensembles, and the verdict</a></p>'
        if "audit" in scores else "",
        "Published beside ours": _published(sources(scores), page.table(*expected(scores))),
        "Figures": "\n".join(page.figure(picture) for picture in shown),
        "Details": _details(scores),
    })  # fmt: skip


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
        headline, *more = findings(scores)
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
        ]
        path = out / "report.md"
        out.mkdir(parents=True, exist_ok=True)
        path.write_text("\n\n".join(part for part in parts if part) + "\n", encoding="utf-8", newline="\n")
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
