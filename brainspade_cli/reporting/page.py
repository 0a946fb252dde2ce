"""One HTML page that needs nothing but itself: no script, no font, no picture from elsewhere."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Sequence

from PIL import Image

QUALITY = 85
# Longer words, such as hashes, may be broken anywhere.
LONG_WORD = 30
# What a browser may load for the page: its own style and the pictures in it.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
STYLE = """
:root { color-scheme: light dark; --ink: #1c2126; --soft: #5b6670; --paper: #fff; --line: #d8dde2; --fill: #2f6fb3;
  --mark: #c2410c; --card: #f5f7f9; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ec; --soft: #9aa5b0; --paper: #15181b; --line: #343b42;
  --fill: #6aa5e0; --mark: #fb923c; --card: #1d2226; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem; max-width: 76rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", Helvetica, Arial, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .2rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2rem 0 .6rem; padding-top: .8rem; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.2rem 0 .4rem; }
p { margin: .4rem 0; max-width: 60rem; }
.soft, figcaption { color: var(--soft); font-size: .85rem; }
.good { color: #15803d; } .bad { color: #dc2626; } .verdict { font-weight: 600; font-size: 1.1rem; }
@media (prefers-color-scheme: dark) { .good { color: #4ade80; } .bad { color: #f87171; } }
.grid { display: grid; gap: .8rem; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); align-items: start; }
.cases { grid-template-columns: repeat(auto-fill, minmax(var(--case, 15rem), 1fr)); }
figure { margin: 0; padding: .5rem; background: var(--card); border: 1px solid var(--line); border-radius: 4px; }
figure img { display: block; width: 100%; height: auto; background: #000; }
.strip { display: flex; gap: 2px; } .strip > div { flex: 1 1 0; min-width: 0; }
.strip span { display: block; color: var(--soft); font-size: .75rem; white-space: nowrap; overflow: hidden;
  text-overflow: ellipsis; }
figcaption { margin-top: .3rem; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; }
th, td { text-align: left; vertical-align: top; padding: .25rem .9rem .25rem 0; border-bottom: 1px solid var(--line); }
td.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
td { overflow-wrap: break-word; } td.long { overflow-wrap: anywhere; }
code, pre { font: .85rem/1.4 ui-monospace, Consolas, monospace; overflow-wrap: anywhere; white-space: pre-wrap; }
pre { background: var(--card); border: 1px solid var(--line); padding: .6rem; margin: .4rem 0; }
svg.chart { width: 100%; height: auto; background: var(--card); border: 1px solid var(--line); border-radius: 4px; }
svg.chart text { fill: var(--soft); font: 10px system-ui, Helvetica, Arial, sans-serif; }
svg.chart .name { fill: var(--ink); font-size: 11px; font-weight: 600; }
svg.chart rect { fill: var(--fill); stroke: var(--soft);
  stroke-width: .4; }
svg.chart .axis { stroke: var(--line); } svg.chart .median { stroke: var(--mark); stroke-dasharray: 3 2; }
.key { display: inline-block; width: .8em; height: .8em; border: 1px solid var(--line); vertical-align: -.05em; }
.legend span { margin-right: 1rem; white-space: nowrap; }
@media print { :root { --ink: #000; --soft: #444; --paper: #fff; --line: #bbb; --fill: #2f6fb3; --mark: #c2410c;
  --card: #fff; } body { max-width: none; padding: 0; font-size: 11px; } figure, svg.chart, tr { break-inside: avoid; }
  h2, h3 { break-after: avoid; } .grid { grid-template-columns: repeat(4, 1fr); }
  .cases { grid-template-columns: repeat(2, 1fr); }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""


def page(title: str, sections: Iterable[str]) -> str:
    """The whole document; `title` is any text, `sections` are HTML."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(sections)
        + "\n</body>\n</html>\n"
    )


def text(value: object) -> str:
    """Anything as text that HTML takes for nothing else, in an element or in an attribute."""
    return html.escape(str(value).encode("utf-8", "replace").decode(), quote=True)


def section(title: str, *parts: str) -> str:
    """A section with its heading; `parts` are HTML."""
    return f"<section>\n<h2>{text(title)}</h2>\n" + "\n".join(part for part in parts if part) + "\n</section>"


def paragraph(words: object, kind: str = "") -> str:
    """A paragraph of text; `kind` is a class of the page's style."""
    return f'<p class="{text(kind)}">{text(words)}</p>' if kind else f"<p>{text(words)}</p>"


def table(rows: Iterable[Sequence[object]], head: Sequence[str] = ()) -> str:
    """A table of texts; numbers stand at the right."""
    top = f"<thead><tr>{''.join(f'<th>{text(name)}</th>' for name in head)}</tr></thead>" if head else ""
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f'<div class="scroll"><table>{top}<tbody>{body}</tbody></table></div>'


def picture(image: Image.Image, alt: str) -> str:
    """An image in the page itself, as JPEG."""
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "jpeg", quality=QUALITY, subsampling=0, optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img src="data:image/jpeg;base64,{data}" alt="{text(alt)}" width="{image.width}" height="{image.height}">'


def strip_figure(pictures: Iterable[tuple[str, Image.Image]], caption: str) -> str:
    """Pictures beside each other, each under its name, with a caption below."""
    parts = "".join(f"<div><span>{text(name)}</span>{picture(image, name)}</div>" for name, image in pictures)
    return f'<figure><div class="strip">{parts}</div><figcaption>{text(caption)}</figcaption></figure>'


def _cell(value: object) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f'<td class="number">{text(f"{value:.4g}" if isinstance(value, float) else value)}</td>'
    long = any(len(word) > LONG_WORD for word in str(value).split())
    return f'<td class="long">{text(value)}</td>' if long else f"<td>{text(value)}</td>"
