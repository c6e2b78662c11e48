"""Markdown of notebooks as HTML for the report: formulas as MathML, anchors on headings, links between pages."""

import html
import re
from functools import cache
from typing import Any

from latex2mathml.converter import convert
from markupsafe import Markup
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath


def _anchor(heading: str) -> str:
    """Of a heading's text, or of the anchor that JupyterLab gives it, which keeps capitals."""
    return re.sub(r"\W+", "-", heading.lower()).strip("-") or "section"


class _Renderer(IPythonRenderer):
    """Markdown with formulas as MathML, anchors on headings, and links to the pages of notebooks.

    Tags in it are shown as text.
    """

    def __init__(self) -> None:
        super().__init__(escape=True)
        self.headings: list[tuple[int, str, str]] = []  # level, anchor, text

    def heading(self, text: str, level: int, **_: Any) -> str:
        plain = html.unescape(re.sub(r"<[^>]+>", "", text)).strip()
        anchor, taken = _anchor(plain), {heading[1] for heading in self.headings}
        anchor = next(
            name for name in (anchor, *(f"{anchor}-{number}" for number in range(2, 1000))) if name not in taken
        )
        self.headings.append((level, anchor, plain))
        return (
            f'<h{level} id="{anchor}">{text} <a class="anchor" href="#{anchor}" aria-label="Link to this'
            f' heading">#</a></h{level}>\n'
        )

    def link(self, text: str, url: str, title: str | None = None) -> str:
        if match := re.fullmatch(r"([\w.-]+)\.ipynb(?:#(.+))?", url):
            name, place = match.groups()
            url = f"{name}.html#{_anchor(place)}" if place else f"{name}.html"
        return super().link(text, url, title)

    def image(self, text: str, url: str, title: str | None = None) -> str:
        return super().image(text, url, title).replace("<img ", '<img loading="lazy" ', 1)

    def inline_math(self, body: str) -> str:
        return formula(body)

    def block_math(self, body: str) -> str:
        return f'<span class="display">{formula(body, True)}</span>'

    def latex_environment(self, name: str, body: str) -> str:
        return self.block_math(f"\\begin{{{name}}}{body}\\end{{{name}}}")


def markdown_parser() -> tuple[MarkdownWithMath, _Renderer]:
    renderer = _Renderer()
    return MarkdownWithMath(renderer), renderer


@cache
def formula(tex: str, display: bool = False) -> Markup:
    """A formula as MathML, which browsers set in the text's colour and size and read aloud.

    The source itself when it cannot be read: a command that is not known would stand in it as a name.
    """
    try:
        text = convert(tex, display="block" if display else "inline")
    except Exception:  # of its own exceptions no one class is the base, and some are Python's
        text = "\\"
    return Markup("<code>{}</code>").format(tex) if "\\" in text else Markup(text)
