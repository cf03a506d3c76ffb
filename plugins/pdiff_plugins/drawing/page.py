"""The HTML page of a report: one file, no script, nothing fetched."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from string import Template

from pdiff.components import Figure

STYLE = """
:root { color-scheme: light dark; --ink: #1d1d1f; --soft: #5c5f66; --line: #dfe1e5; --paper: #ffffff; --wash: #f5f6f8;
  --accent: #b34a00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8ea; --soft: #a2a5ad; --line: #3a3d44; --paper: #17181b;
  --wash: #202226; --accent: #ff9a57; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); line-height: 1.55; font-size: 16px;
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 96rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
a { color: var(--accent); }
.over { color: var(--soft); font-size: .9rem; margin: 0; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; line-height: 1.28; font-weight: 650; margin: .3rem 0 .6rem; max-width: 62rem;
  text-wrap: balance; }
.lead { font-size: 1.15rem; }
h2 { font-size: 1.2rem; margin: 2.8rem 0 .8rem; padding-bottom: .3rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 0 0 .6rem; }
p, ul { margin: 0 0 .8rem; max-width: 52rem; }
ul { padding-left: 1.2rem; } li { margin-bottom: .35rem; }
nav { font-size: .9rem; } nav a { margin-right: 1.1rem; text-decoration: none; }
nav a.page, .go a { font-weight: 600; }
nav a:hover { text-decoration: underline; }
.wide { overflow-x: auto; width: fit-content; max-width: 100%; background: linear-gradient(to right, var(--paper),
  var(--paper)) local left / 2rem 100% no-repeat, linear-gradient(to left, var(--paper), var(--paper)) local right /
  2rem 100% no-repeat, linear-gradient(to left, rgba(127, 127, 127, .5), transparent) right / .8rem 100% no-repeat; }
.wide th:first-child, .wide td:first-child { position: sticky; left: 0; background: var(--paper); }
.hint { display: none; color: var(--soft); font-size: .82rem; margin: 0 0 .2rem; }
table { border-collapse: separate; border-spacing: 0; font-size: .88rem; font-variant-numeric: tabular-nums;
  margin: 0 0 .8rem; }
th { text-align: left; font-weight: 600; color: var(--soft); border-bottom: 1.5px solid var(--line); }
th, td { padding: .32rem .9rem .32rem 0; white-space: nowrap; vertical-align: baseline; }
td { border-bottom: 1px solid var(--line); }
.number { text-align: right; padding: .32rem .5rem; }
tr.method td, .wide tr.method td:first-child { font-weight: 650; background: var(--wash); }
.dot { display: inline-block; width: .7em; height: .7em; border-radius: 50%; margin: 0 .55em 0 .15em;
  box-shadow: 0 0 0 1px rgba(127, 127, 127, .4); }
.notes { max-width: 62rem; background: var(--wash);
  border-left: 3px solid var(--accent); padding: .7rem 1rem; font-size: .93rem; }
.notes p { margin: 0 0 .3rem; } .notes p:last-child { margin: 0; }
figure { margin: 0 0 2.4rem; max-width: 62rem; }
figure img { display: block; width: 100%; height: auto; background: #fff; border: 1px solid var(--line);
  border-radius: 6px; padding: .5rem; }
figcaption { color: var(--soft); font-size: .9rem; margin-top: .5rem; max-width: 52rem; }
code, pre { font-family: ui-monospace, "SF Mono", Menlo, Consolas, monospace; font-size: .87em; }
pre { background: var(--wash); padding: 1rem; overflow-x: auto; border-radius: 6px; line-height: 1.45; }
summary { cursor: pointer; font-weight: 600; }
details { margin: 1rem 0; }
@media (max-width: 48rem) { .hint { display: block; } figure .wide { width: auto; }
  figure img { width: 44rem; max-width: none; } }
@media print { nav { display: none; } figure { break-inside: avoid; } }
"""

PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>$title</title>
<style>$style</style>
</head>
<body>
<main>
<p class="over">$title</p>
<h1>$headline</h1>
$lead<p>$ran</p>
<nav>$nav</nav>
$sections
</main>
</body>
</html>
""")


HINT = '<p class="hint">wider than the window: scroll to the right &rarr;</p>'
FITS = 4
"""Columns of a table that a telephone shows."""


def page(
    title: str, headline: str, ran: str, sections: Mapping[str, str], pages: Mapping[str, str] | None = None
) -> str:
    """Return the page; sections are HTML by heading, empty ones are left out.

    What the headline says in brackets, and after a semicolon, follows it in a smaller size. `pages`: file -> what the
    link to it says.
    """
    kept = {heading: body for heading, body in sections.items() if body}
    first, *more = _parts(headline)
    said = "".join(f"{part[:1].upper()}{part[1:]}. " for part in more).rstrip()
    links = [f'<a class="page" href="{file}">{html.escape(link)}</a>' for file, link in (pages or {}).items()]
    for heading in kept:
        if f"{_anchor(heading)}.html" not in (pages or {}):
            links.append(f'<a href="#{_anchor(heading)}">{html.escape(heading)}</a>')
    return PAGE.substitute(
        title=html.escape(title), headline=text(f"{first}."), ran=text(ran), style=STYLE, nav="".join(links),
        lead=f'<p class="lead">{text(said)}</p>\n' if said else "",
        sections="\n".join(
            f'<section id="{_anchor(heading)}">\n<h2>{html.escape(heading)}</h2>\n{body}\n</section>'
            for heading, body in kept.items()
        ),
    )  # fmt: skip


def _parts(headline: str) -> list[str]:
    """Return what is said first, what is said of it in brackets, and what is said next; no full stops."""
    first, _, more = headline.rstrip(".").partition("; ")
    short = re.fullmatch(r"([^()]+) \(([^()]+)\)", first)
    return [*(short.groups() if short else [first]), *filter(None, [more])]


def _anchor(heading: str) -> str:
    return re.sub(r"\W+", "-", heading.lower())


def text(line: str) -> str:
    """Return a line as HTML; `x` in backticks is code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(line))


def listing(lines: Sequence[str]) -> str:
    items = "\n".join(f"<li>{text(line)}.</li>" for line in lines)
    return f"<ul>\n{items}\n</ul>" if lines else ""


def notes(lines: Sequence[str]) -> str:
    said = "\n".join(f"<p>{text(line[:1].upper() + line[1:])}</p>" for line in lines)
    return f'<div class="notes">\n{said}\n</div>' if lines else ""


def table(
    head: Sequence[str], rows: Sequence[Sequence[str]], method: str = "", colours: Mapping[str, str] | None = None
) -> str:
    """Return a table, numbers to the right; `method` is the row set off, `colours` gives first cells their dot."""
    if not rows:
        return ""
    kinds = [' class="number"' if right else "" for right in numeric(rows)]
    titles = "".join(f"<th{kind}>{html.escape(name)}</th>" for kind, name in zip(kinds, head, strict=True))
    lines = [f"<tr>{titles}</tr>"]
    for row in rows:
        cells = [f"<td{kind}>{html.escape(cell)}</td>" for kind, cell in zip(kinds, row, strict=True)]
        if colours and row[0] in colours:
            dot = f'<span class="dot" style="background:{colours[row[0]]}"></span>'
            cells[0] = f"<td>{dot}{html.escape(row[0])}</td>"
        marked = ' class="method"' if row[0] == method else ""
        lines.append(f"<tr{marked}>{''.join(cells)}</tr>")
    return f"{HINT if len(head) > FITS else ''}{wide('<table>' + chr(10) + chr(10).join(lines) + chr(10) + '</table>')}"


def wide(body: str) -> str:
    """Return what may be wider than the window, in a box that scrolls, also by keys."""
    return f'<div class="wide" tabindex="0">{body}</div>'


def numeric(rows: Sequence[Sequence[str]]) -> list[bool]:
    """Return which columns hold numbers alone."""
    return [all(map(_number, column)) for column in zip(*rows, strict=True)]


def _number(cell: str) -> bool:
    return not cell or (cell[0] in "+-0123456789" and cell.rstrip("%")[-1:].isdigit())


def figure(shown: Figure) -> str:
    title = html.escape(shown.title)
    return (
        f'<figure id="{shown.name}">\n<h3>{title}</h3>\n{HINT}' + wide(f'<img alt="{title}" src="{shown.uri}">') + "\n"
        f"<figcaption>{text(shown.caption)}</figcaption>\n</figure>"
    )


def folded(title: str, body: str) -> str:
    return f"<details>\n<summary>{html.escape(title)}</summary>\n<pre>{html.escape(body)}</pre>\n</details>"
