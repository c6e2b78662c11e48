"""The report: everything that a profile has produced, as a static site.

    make report                       build/report/<profile>/index.html

Opens from disk, without server or network. Executed notebooks, tables, figures, the ledger of claims, cards of weights
and the provenance of every file become pages that link to each other. Nothing is computed here: what is missing is
named as missing.

report.html           every page but the cells of notebooks
report.notebook.html  the cells, on nbconvert's template
report.css, report.js

Formulas are MathML, which every browser sets by itself: JupyterLab carries MathJax only inside its own bundles.
"""

import ast
import base64
import hashlib
import html
import io
import json
import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import jinja2
import nbformat
from markupsafe import Markup
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import MarkdownWithMath
from PIL import Image

from .. import files
from ..errors import UserError
from ..evaluation import tables
from ..evaluation.health import LIMITS
from ..evaluation.health import NAME as HEALTH
from ..experiments.ledger import COLUMNS, VERDICTS
from ..papers.printed import WORKBOOK
from ..weights.shipped import card_files
from .answers import KINDS, beside_print, by_kind, methods_by_health
from .linked import linked_grid, linked_terms, read_cells, sheets
from .markdown import markdown_parser
from .readme import SHOWN, footnote, weak_methods
from .table_forms import damaged, read_csv, read_rows, title_of, write_forms

HERE = Path(__file__).parent

PICTURES = {"image/png": ".png", "image/jpeg": ".jpg", "image/webp": ".webp", "image/gif": ".gif"}
FRAME = re.compile(r'<iframe\b[^>]*?\bsrcdoc="([^"]*)"[^>]*>(?:\s*</iframe>)?')


def build_site(profile: str) -> Path:
    """Write build/report/<profile>/ anew and return its index.html.

    Raises UserError when the profile has no executed notebook or no results, for a damaged file, and when the disk is
    full. A report that was there stays until the new one is whole.
    """
    target = files.build_dir() / "report" / profile
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(target.parent, profile)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{profile}-{os.getpid()}-") as temporary:
            site = Path(temporary) / "new"
            site.mkdir()
            _write(_gather(profile, site), site)
            if target.exists():
                target.rename(Path(temporary) / "old")
            site.rename(target)
    except OSError as error:
        raise UserError(
            f"cannot write {target}: {error.strerror or error}. Free some disk space or choose another folder with"
            " REPLICATION_BUILD"
        ) from error
    return target / "index.html"


def _remove_leftovers(folder: Path, profile: str) -> None:
    """Remove what killed reports of this profile have left: folders whose process is gone."""
    for path in folder.glob(f".{profile}-*"):
        number = path.name.split("-")[1]
        if not number.isdigit() or not Path(f"/proc/{number}").exists():
            shutil.rmtree(path, ignore_errors=True)


def _gather(profile: str, site: Path) -> dict[str, Any]:
    """All that pages show; what they link to is copied to the site."""
    executed, results, drawn = (
        files.build_dir() / "notebooks" / profile,
        files.RESULTS / profile,
        files.FIGURES / profile,
    )
    paths = [path for path in _seen(executed, "*.ipynb") if "." not in path.stem]  # neither .failed nor .partial
    if not paths:
        raise UserError(f"{executed} holds no executed notebook; run `make` first (PROFILE={profile})")
    if not results.is_dir():
        raise UserError(f"{results} is missing; run `make` first (PROFILE={profile})")

    cards = [path for path in card_files() if not path.name.startswith(".")]
    lists = [path for folder in {card.parent for card in cards} for path in _seen(folder, "*.csv")]
    _copy([*_seen(results, "*"), *lists, *cards], site / "data")
    explorers = _copy(_seen(files.build_dir() / "explorer" / profile, "*.html"), site / "explorer")
    pictures = _copy((path for path in _seen(drawn, "*") if path.suffix in PICTURES.values()), site / "figures")
    writers = writers_of(executed)
    made = [
        _table(path, writers, site, [picture.name for picture in pictures])
        for path in _seen(results, "*.csv")
        if path.name != "claims.csv" and not path.name.endswith(".cells.csv")
    ]
    health = _health(results)
    pages = {files.sha256_file(path): f"explorer/{path.name}" for path in explorers}
    notebooks = [_notebook(path, site, pages) for path in paths]
    captions = {book["name"]: book["captions"] for book in notebooks}
    figures = [_figure(drawn / path.name, writers, captions) for path in pictures]
    for before, after in pairwise(notebooks):
        before["next"], after["previous"] = after, before
    for book in notebooks:
        book["figures"] = [figure for figure in figures if figure["notebook"] == book["name"]]
        book["tables"] = [table for table in made if table["notebook"] == book["name"]]
    return {
        "profile": profile,
        "notebooks": notebooks,
        "tables": made,
        "figures": figures,
        "galleries": _galleries(notebooks, figures),
        "claims": _claims(results / "claims.csv", made),
        "verdicts": VERDICTS,
        "kinds": KINDS,
        "by_kind": by_kind,
        "printed": [sum(table["printed"][place] for table in made) for place in (0, 1)],
        "measures": list(LIMITS),
        "claims_facts": read_json(results / "claims.json"),
        "headline": _headline(profile, results, made),
        "kept": _kept(results, figures),
        "missing": sorted(
            {path.stem for path in (files.ROOT / "notebooks").glob("*.ipynb")} - {path.stem for path in paths}
        ),
        "explorers": [
            {"name": path.stem, "url": f"explorer/{path.name}", "size": path.stat().st_size / 1e6} for path in explorers
        ],
        "cards": [_card(path, health.get(path.stem)) for path in cards],
        "made_with": _made_with([*notebooks, *made, *figures]),
        "cells": {book["name"]: book["cells"] for book in notebooks},
    }


def _write(shown: dict[str, Any], site: Path) -> None:
    """Every page, and the index that the search reads."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template, index = environment.get_template("report.html"), []

    def page(url: str, kind: str, title: str, **subject: Any) -> None:
        text = template.render(url=url, kind=kind, title=title, site=shown, **subject)
        files.write_text(site / url, text)
        index.extend([url, title, *entry] for entry in Sections(text).entries)

    page("index.html", "overview", "Replication workbook")
    # Of places that fit a search equally well the first is shown first: the table before the notebook that made it.
    for table in shown["tables"]:
        page(table["url"], "table", table["title"], table=table)
        if table["cells"]:
            page(table["cells"].url, "cells", f"Cells of {table['title']}", table=table)
    for book in shown["notebooks"]:
        page(book["url"], "notebook", book["title"], book=book)
    if shown["claims"]:
        page("ledger.html", "ledger", "Ledger of claims")
    page("figures.html", "gallery", "Figures")
    page("models.html", "models", "Models")
    page("provenance.html", "provenance", "Provenance")
    _copy([HERE / "report.css", HERE / "report.js"], site)
    files.write_text(site / "search.js", f"const SEARCH = {json.dumps(index, ensure_ascii=False)};\n")


def _seen(folder: Path, pattern: str) -> list[Path]:
    """Files of a folder in order of name, without the hidden temporaries of killed commands."""
    return [path for path in sorted(folder.glob(pattern)) if not path.name.startswith(".")]


def _copy(paths: Iterable[Path], folder: Path) -> list[Path]:
    """Copies of files in a folder, in order of name."""
    folder.mkdir(exist_ok=True)
    return [Path(shutil.copy2(path, folder)) for path in sorted(paths) if path.is_file()]


def read_json(path: Path) -> dict[str, Any]:
    """Facts of a file; none when it is missing. Raises UserError naming the file when it is damaged."""
    if not path.exists():
        return {}
    return files.read_object(path, "remove it or restore it with git, then run `make` again")


def writers_of(executed: Path) -> dict[str, str]:
    """The notebook that wrote each result and figure, by the file's name."""
    stamps = {path.stem: read_json(path) for path in _seen(executed, "*.json")}
    return {Path(output).name: name for name, stamp in stamps.items() for output in stamp.get("outputs", {})}


def _figure(path: Path, writers: dict[str, str], captions: dict[str, list["Caption"]]) -> dict[str, Any]:
    """A picture's size and facts, the notebook that wrote it, and what that says above the cell that saved it.

    captions  by notebook
    """
    facts = read_json(path.with_suffix(".json"))
    try:
        with Image.open(path) as image:
            width, height = image.size
    except OSError as error:
        raise damaged(path, error) from error
    # A .png and a .jpg of one name share one file of facts, which is the later one's.
    facts = facts if facts.get("figure") == path.name else {}
    notebook = writers.get(path.name)
    fitting = [caption for caption in captions.get(notebook, []) if re.fullmatch(caption.pattern, path.name)]
    return {
        "name": path.name,
        "width": width,
        "height": height,
        "facts": facts,
        "notebook": notebook,
        "caption": fitting[0] if fitting else None,
    }


def _galleries(notebooks: Sequence[dict[str, Any]], figures: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Figures by the notebook that wrote them, in the notebooks' order; those of none come last."""
    there = {book["name"] for book in notebooks}
    groups = [(book["title"], book["url"], [book["name"]]) for book in notebooks]
    groups.append(("Of earlier runs", "", {figure["notebook"] for figure in figures} - there))
    found = [
        {"title": title, "url": url, "figures": [figure for figure in figures if figure["notebook"] in names]}
        for title, url, names in groups
    ]
    return [group for group in found if group["figures"]]


@dataclass(frozen=True)
class Caption:
    """What a notebook says of a figure: a pattern of the file's name, the heading above the cell that saves it, that
    cell's number, and the first sentence above it.
    """

    pattern: str
    heading: str
    cell: int
    sentence: Markup


def _saved_names(source: str) -> list[str]:
    """Patterns of the names under which a cell saves figures: what is filled in while it runs may be anything."""
    try:
        calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    except SyntaxError:  # IPython's own syntax
        return []
    names = [call.args[1] for call in calls if ast.unparse(call.func) == "plots.save" and len(call.args) > 1]
    parts = [name.values if isinstance(name, ast.JoinedStr) else [name] for name in names]
    return [
        "".join(re.escape(part.value) if isinstance(part, ast.Constant) else ".*" for part in name) for name in parts
    ]


def _health(results: Path) -> dict[str, dict[str, str]]:
    """Measures of every network of the profile, by its name; none when they were not measured."""
    path = results / f"{HEALTH}.csv"
    if not path.is_file():
        return {}
    header, lines = read_csv(path)
    return {line[0]: dict(zip(header, line, strict=True)) for line in lines}


def _card(path: Path, health: dict[str, str] | None) -> dict[str, Any]:
    facts = read_json(path)
    return {"name": path.stem, "curve": facts.pop("loss_curve", []), "facts": facts, "health": health}


def _table(path: Path, writers: dict[str, str], site: Path, figures: Sequence[str]) -> dict[str, Any]:
    """A table as it is written and, when it has rows and metrics, as people read it; with its forms as files.

    figures  names of the pictures that the site has
    """
    facts = read_json(path.with_suffix(".json"))
    frame, header_and_lines = read_rows(path), read_csv(path)
    cells_path = tables.cells_file(path.parent, path.stem)
    cells = read_cells(cells_path, f"cells-{path.stem}.html", sheets(facts, figures))
    downloads = [other.name for other in (path, path.with_suffix(".json"), cells_path) if other.is_file()]
    weak = {} if frame is None else tables.weakness_of(frame)
    return {
        "name": path.stem,
        "url": f"table-{path.stem}.html",
        "title": title_of(path),
        "facts": facts,
        "notebook": writers.get(path.name),
        "frame": frame,
        "wide": None
        if frame is None
        else linked_grid(frame, list(dict.fromkeys(frame.metric)), weak, cells.anchors if cells else {}),
        "note": "" if frame is None else footnote(frame, weak),
        "printed": (0, 0) if frame is None else beside_print(frame),
        "long": header_and_lines,
        "cells": cells,
        "downloads": [*downloads, *(form.name for form in write_forms(path, site / "data", ".shown"))],
    }


def _anchors(made: Sequence[dict[str, Any]], name: str) -> dict[tuple[str, str], str]:
    """Addresses of a table's cells by row and metric; none where it has none."""
    return next((table["cells"].anchors for table in made if table["name"] == name and table["cells"]), {})


def _headline(profile: str, results: Path, made: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The README's table for this profile, what the daggers in it mean, and which methods have none."""
    name = tables.slug(WORKBOOK, "All methods")
    frame = next((table["frame"] for table in made if table["name"] == name), None)
    if frame is None:
        return None
    weak = weak_methods(profile, results)
    shown = [metric for metric in SHOWN if metric in set(frame.metric)]
    header, lines = linked_grid(frame, shown, weak, _anchors(made, name))
    good, wanting = methods_by_health(frame, weak)
    return {
        "header": [column.removesuffix(", ours") for column in header],
        "lines": lines,
        "note": footnote(frame, weak),
        "good": good,
        "wanting": wanting,
    }


def _claims(path: Path, made: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Claims by paper; none when the profile has no ledger.

    Beside the ledger's columns: `kind`, what decides it; `margin`, as text; `terms`, the comparison nearest to failing
    with links to the cells that it compares.

    Raises UserError for a file without the ledger's columns.
    """
    papers: dict[str, list[dict[str, Any]]] = {}
    if not path.is_file():
        return papers
    header, lines = read_csv(path)
    absent = [name for name in COLUMNS if name not in header]
    if absent:
        raise UserError(f"{path} lacks the columns {', '.join(absent)}; remove it and run `make` again")
    for line in lines:
        claim: dict[str, Any] = dict(zip(header, line, strict=True))
        effect, low, high = (float(claim[name] or "nan") for name in ("effect", "low", "high"))
        claim["margin"] = tables.with_interval(effect, low, high, "+")
        claim["terms"] = linked_terms(claim["of"], _anchors(made, claim["table"]))
        papers.setdefault(claim["paper"], []).append(claim)
    return papers


def _made_with(parts: Sequence[dict[str, Any]]) -> dict[str, list[tuple[Any, int]]]:
    """Commits, hardware and versions that the parts were made with, and how many with each."""
    found = {}
    for key in ("commit", "hardware", "versions"):
        counts = Counter(json.dumps(part["facts"][key], sort_keys=True) for part in parts if key in part["facts"])
        found[key] = [(json.loads(text), count) for text, count in counts.most_common()]
    return found


def _kept(results: Path, figures: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every result file and figure with its hash, and whether that is the one its facts record."""
    kept = []

    def add(path: Path, url: str, facts: dict[str, Any], recorded: str | None) -> None:
        digest = files.sha256_file(path)
        agrees = (
            "nothing recorded"
            if recorded is None
            else "yes"
            if recorded == digest
            else "no, the file was changed since"
        )
        kept.append(
            {
                "name": path.name,
                "url": url,
                "bytes": path.stat().st_size,
                "sha256": digest,
                "agrees": agrees,
                "facts": facts,
            }
        )

    for path in _seen(results, "*.csv"):
        table, cells, _ = path.name.partition(".cells.csv")
        facts = read_json(results / f"{table}.json" if cells else path.with_suffix(".json"))
        add(path, f"data/{path.name}", {} if cells else facts, facts.get("cells_sha256" if cells else "sha256"))
    for figure in figures:
        add(
            files.FIGURES / results.name / figure["name"],
            f"figures/{figure['name']}",
            figure["facts"],
            figure["facts"].get("sha256"),
        )
    return kept


def _notebook(path: Path, site: Path, pages: dict[str, str]) -> dict[str, Any]:
    """A page's content from an executed notebook. Raises UserError naming the file when it is damaged.

    pages  addresses of explorer pages by sha256: a cell that shows one links to it
    """
    try:
        book = nbformat.read(path, as_version=4)
        nbformat.validate(book)
    except (ValueError, KeyError, AttributeError, TypeError, nbformat.ValidationError) as error:
        raise damaged(path, str(error).partition("\n")[0]) from error
    markdown, renderer = markdown_parser()
    opening = next((cell.source for cell in book.cells if cell.cell_type == "markdown"), "")
    captions, above = [], opening
    for number, cell in enumerate(book.cells, 1):
        cell.metadata["number"] = number
        if cell.cell_type == "markdown":
            for name, bundle in cell.get("attachments", {}).items():
                for kind in PICTURES.keys() & bundle:
                    cell.source = cell.source.replace(f"attachment:{name}", _store(site, kind, bundle[kind], path)[0])
            cell.metadata["html"], above = markdown(cell.source), cell.source
        heading = renderer.headings[-1][2] if renderer.headings else path.stem
        if cell.cell_type == "code":
            captions += [Caption(name, heading, number, _summary(above)) for name in _saved_names(cell.source)]
        for output in cell.get("outputs", []):
            _lighten(output.get("data", {}), f"Picture of cell {number}: {heading}", site, pages, path)
    body, _ = _exporter(markdown).from_notebook_node(book)
    facts, source = book.metadata.get("replication", {}), files.ROOT / "notebooks" / path.name
    return {
        "name": path.stem,
        "url": f"{path.stem}.html",
        "title": renderer.headings[0][2] if renderer.headings else path.stem,
        "summary": _summary(opening),
        "headings": [heading for heading in renderer.headings if heading[0] == 2],
        "captions": captions,
        "body": Markup(body),
        "facts": facts,
        "cells": {cell.get("id"): cell.metadata["number"] for cell in book.cells},
        "changed": source.is_file()
        and "notebook_sha256" in facts
        and files.sha256_file(source) != facts["notebook_sha256"],
        "previous": None,
        "next": None,
    }


def _lighten(data: dict[str, str], alt: str, site: Path, pages: dict[str, str], source: Path) -> None:
    """Move pictures and framed pages of an output of the notebook `source` into files, in place.

    Of a live widget, which needs a kernel, its picture stays.
    """
    data.pop("application/vnd.jupyter.widget-view+json", None)
    for kind in PICTURES.keys() & data:
        url, (width, height) = _store(site, kind, data.pop(kind), source)
        data["text/html"] = (
            f'<img src="{url}" alt="{html.escape(alt)}" width="{width}" height="{height}" loading="lazy">'
        )
    if "text/html" in data:
        data["text/html"] = FRAME.sub(partial(_link, site, pages), data["text/html"])


def _link(site: Path, pages: dict[str, str], frame: re.Match[str]) -> str:
    """What stands for a framed page, which has megabytes: a link to a file."""
    text = html.unescape(frame[1])
    digest = files.sha256_text(text)
    if digest not in pages:
        pages[digest] = f"explorer/{digest[:16]}.html"
        files.write_text(site / pages[digest], text)
    return (
        f'<p><a href="{pages[digest]}">Open the page that this cell shows</a> ({len(text.encode()) / 1e6:.1f} MB)</p>'
    )


def _store(site: Path, kind: str, data: str, source: Path) -> tuple[str, tuple[int, int]]:
    """Write a picture of the notebook `source`, named by its hash; its address and size."""
    try:
        content = base64.b64decode(data)
        with Image.open(io.BytesIO(content)) as image:
            size = image.size
    except (ValueError, OSError) as error:
        raise damaged(source, error) from error
    url = f"images/{hashlib.sha256(content).hexdigest()[:16]}{PICTURES[kind]}"
    (site / "images").mkdir(exist_ok=True)
    (site / url).write_bytes(content)
    return url, size


def _exporter(markdown: MarkdownWithMath) -> HTMLExporter:
    exporter = HTMLExporter(
        template_name="basic",
        template_file="report.notebook.html",
        extra_loaders=[jinja2.FileSystemLoader(HERE)],
        preprocessors=["nbconvert.preprocessors.CoalesceStreamsPreprocessor"],
    )
    exporter.register_filter("markdown2html", markdown)
    return exporter


def _summary(opening: str) -> Markup:
    """First sentence below the first heading."""
    text = next((part for part in re.split(r"\n\s*\n", opening) if not part.startswith("#")), "")
    sentence = re.match(r"(.+?[.?!][*_)\"']*)(?=\s|$)", " ".join(text.split()))
    markdown, _ = markdown_parser()
    return Markup(re.sub(r"</?p>", "", markdown(sentence[1] if sentence else text)))


class Sections(HTMLParser):
    """Text of a page by section, for the search.

    [anchor, heading, text]. Code, drawings and what repeats numbers are left out.
    """

    SKIPPED = frozenset({"script", "style", "svg", "nav", "footer"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.entries: list[list[str]] = []
        self._skipped, self._depth, self._heading = "", 0, False
        self.feed(text)
        for entry in self.entries:
            entry[1:] = [" ".join(part.split()) for part in entry[1:]]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if self._depth:
            self._depth += tag == self._skipped
        elif tag in self.SKIPPED or "data-skip" in given or given.get("class") == "anchor":
            self._skipped, self._depth = tag, 1
        elif tag == "main":
            self.entries.append(["", "", ""])
        elif re.fullmatch("h[1-6]", tag) and self.entries:
            self._heading = True
            self.entries.append([given.get("id") or "", "", ""])

    def handle_endtag(self, tag: str) -> None:
        if self._depth:
            self._depth -= tag == self._skipped
        elif re.fullmatch("h[1-6]", tag):
            self._heading = False

    def handle_data(self, data: str) -> None:
        if self.entries and not self._depth:
            self.entries[-1][1 if self._heading else 2] += f"{data} "
