"""The report: everything that a profile has produced, as a static site.

    make report                       build/report/<profile>/index.html

Opens from disk, without server or network. Executed notebooks, tables, figures, the ledger of claims, cards of weights
and the provenance of every file become pages that link to each other. Nothing is computed here: what is missing is
named as missing.

report.html           every page but the cells of notebooks
report.notebook.html  the cells, on nbconvert's template
report.css, report.js

JupyterLab carries MathJax only inside its own bundles, so matplotlib draws the formulas, as SVG.
"""

import html
import re
from functools import cache
from typing import Any

from markupsafe import Markup
from matplotlib.font_manager import FontProperties
from matplotlib.path import Path as Outline
from matplotlib.textpath import TextPath, text_to_path
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

# What notebooks write as TeX and mathtext calls otherwise, or sets too tight or too wide.
ARGUMENT = r"(?:\{(?:\\.|[^{}])*\}|\w)"
DIALECT = [
    (r"\\[bB]igg?(?=\s*[(\[])", r"\\left"),
    (r"\\[bB]igg?(?=\s*[)\]])", r"\\right"),
    (r"\\[lr]Vert\b", r"\\Vert"),
    (r"\\sqrt\s+(\w)", r"\\sqrt{\1}"),
    (r"\\top\b", "⊤"),
    (r"(\w)'_", r"\1^{\\prime}_"),
    (rf"(\\sum(?:\s*[_^]{ARGUMENT})*)", r"\1\\,"),
]
LETTERS = {Outline.MOVETO: "M", Outline.LINETO: "L", Outline.CURVE3: "Q", Outline.CURVE4: "C"}


class _Renderer(IPythonRenderer):
    """Markdown with drawn formulas, anchors on headings, and links to the pages of notebooks.

    Tags in it are shown as text.
    """

    def __init__(self) -> None:
        super().__init__(escape=True)
        self.headings: list[tuple[int, str, str]] = []  # level, anchor, text

    def heading(self, text: str, level: int, **_: Any) -> str:
        plain = html.unescape(re.sub(r"<[^>]+>", "", text)).strip()
        anchor, taken = (
            re.sub(r"\W+", "-", plain.lower()).strip("-") or "section",
            {heading[1] for heading in self.headings},
        )
        anchor = next(
            name for name in (anchor, *(f"{anchor}-{number}" for number in range(2, 1000))) if name not in taken
        )
        self.headings.append((level, anchor, plain))
        return (
            f'<h{level} id="{anchor}">{text} <a class="anchor" href="#{anchor}" aria-label="Link to this'
            f' heading">#</a></h{level}>\n'
        )

    def link(self, text: str, url: str, title: str | None = None) -> str:
        return super().link(text, re.sub(r"^([\w.-]+)\.ipynb(?=#|$)", r"\1.html", url), title)

    def image(self, text: str, url: str, title: str | None = None) -> str:
        return super().image(text, url, title).replace("<img ", '<img loading="lazy" ', 1)

    def inline_math(self, body: str) -> str:
        return formula(body)

    def block_math(self, body: str) -> str:
        return f'<span class="display">{formula(body, True)}</span>'

    def latex_environment(self, name: str, body: str) -> str:
        return self.block_math(f"\\begin{{{name}}}{body}\\end{{{name}}}")


def _markdown() -> tuple[MarkdownWithMath, _Renderer]:
    renderer = _Renderer()
    return MarkdownWithMath(renderer), renderer


@cache
def formula(tex: str, display: bool = False) -> Markup:
    """A formula as SVG, in the text's colour and size, read aloud as its source.

    The source itself when matplotlib cannot set it.
    """
    text = " ".join(tex.split())
    for pattern, replacement in [*DIALECT, (r"\\[td]?frac\b", r"\\dfrac" if display else r"\\frac")]:
        text = re.sub(pattern, replacement, text)
    size = 20
    font = FontProperties(size=size, math_fontfamily="cm")
    try:
        width, height, depth = text_to_path.get_text_width_height_descent(f"${text}$", font, ismath=True)
        outline = TextPath((0, 0), f"${text}$", prop=font)
    except ValueError:
        return Markup("<code>{}</code>").format(tex)
    strokes = []
    for points, code in outline.iter_segments(simplify=False):
        numbers = " ".join(f"{-value if place % 2 else value:.1f}" for place, value in enumerate(points))
        strokes.append("Z" if code == Outline.CLOSEPOLY else f"{LETTERS[code]}{numbers}")
    return Markup(
        '<svg class="formula" role="img" aria-label="{}" viewBox="0 {:.1f} {:.1f} {:.1f}"'
        ' style="width:{:.3f}em;height:{:.3f}em;vertical-align:{:.3f}em"><path d="{}"/></svg>'
    ).format(tex, depth - height, width, height, width / size, height / size, -depth / size, "".join(strokes))
