"""Bars as SVG: a bar a server, its name before it, its figure behind it. Nothing but text is computed."""

from html import escape

BAR, GAP, TOP = 18, 8, 62
NAME, LENGTH, FIGURE = 190, 420, 110
WIDTH = NAME + LENGTH + FIGURE
# Readable on a white page and on a dark one; the font is the reader's own.
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600; font-size: 15px } .words { fill: #57606a }
.ours { fill: #b7410e } .peer { fill: #9aa4af } .yardstick { fill: #d5dae0 }
.page { fill: #ffffff }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .words { fill: #9198a1 }
  .ours { fill: #f0743e } .peer { fill: #6e7781 } .yardstick { fill: #3d444d } .page { fill: #0d1117 }
}
"""


def bars(title, words, rows):
    """`rows` are (name, value, figure as text, kind), kind one of ours, peer, yardstick; the longest bar is the largest
    value. The order is the caller's."""
    height = TOP + len(rows) * (BAR + GAP) + GAP
    most = max(value for _, value, _, _ in rows)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img" aria-label="{escape(title)}">',
        f"<title>{escape(title)}</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="page" width="{WIDTH}" height="{height}"/>',
        f'<text class="title" x="12" y="24">{escape(title)}</text>',
        f'<text class="words" x="12" y="44">{escape(words)}</text>',
    ]
    for number, (name, value, figure, kind) in enumerate(rows):
        top = TOP + number * (BAR + GAP)
        length = max(1, round(value / most * LENGTH))
        lines += [
            f'<text x="{NAME - 8}" y="{top + 14}" text-anchor="end">{escape(name)}</text>',
            f'<rect class="{kind}" x="{NAME}" y="{top}" width="{length}" height="{BAR}" rx="2"/>',
            f'<text x="{NAME + length + 6}" y="{top + 14}">{escape(figure)}</text>',
        ]
    return "\n".join([*lines, "</svg>", ""])
