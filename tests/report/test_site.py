"""The report: whole, escaped, without anything from outside, and usable in a real browser from disk."""

import base64
import io
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import nbformat
import pandas as pd
import pytest
from helpers.browser import open_page
from helpers.cells import write_health
from helpers.kills import KILLS, run_script
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from replication import files
from replication.__main__ import main
from replication.errors import UserError
from replication.experiments.ledger import COLUMNS
from replication.report import site as site_module
from replication.report.linked import linked_terms, read_cells
from replication.report.markdown import formula
from replication.report.site import build_site

EVIL = "<script>alert('x')</script>"
CLAIMS = [
    ("A-01", "supported", "Zebras have & keep <b>stripes</b>.", "paper-table1", "1"),
    ("A-02", "contradicted", "Horses have stripes.", "paper-table1", "0"),
    ("B-01", "not testable here", "People like zebras.", "paper-people", ""),
]


def picture(kind: str, colour: str) -> str:
    written = io.BytesIO()
    Image.new("RGB", (40, 24), colour).save(written, kind)
    return base64.b64encode(written.getvalue()).decode()


def write(path: Path, text: str) -> str:
    files.write_text(path, text)
    return files.sha256_file(path)


def make(place: Path) -> None:
    """A profile as `make` leaves it, in a small."""
    explorer = "<!doctype html><title>explorer</title>"
    write(place / "build/explorer/smoke/pair.html", explorer)
    frames = [
        f'<iframe srcdoc="{page.replace("<", "&lt;")}" width="1"></iframe>'
        for page in (explorer, "<title>another</title>", "<title>a third</title>")
    ]
    table = "<table><thead><tr><th></th><th>v</th></tr></thead><tbody><tr><th>r</th><td>1</td></tr></tbody></table>"
    one = [
        new_markdown_cell(
            f"# One & {EVIL} only\n\nA first sentence about **zebras**. A second.\n\n$$x^\\top y_i$$\n\nand $\\alpha$,"
            " see [two](two.ipynb#cell-2), [below](one.ipynb#Crossing)."
        ),
        new_code_cell(
            "secret_code = 1 < 2",
            outputs=[
                new_output("stream", name="stdout", text=f"a < b {EVIL}"),
                new_output("stream", name="stderr", text="0%\r100% done\n"),
                new_output("display_data", {"image/png": picture("PNG", "red"), "text/plain": "<Figure>"}),
                new_output("execute_result", {"text/html": table, "text/plain": "v"}, execution_count=1),
            ],
        ),
        new_markdown_cell(
            "## Crossing\n\n![stripes](attachment:a.png)", attachments={"a.png": {"image/png": picture("PNG", "blue")}}
        ),
        new_markdown_cell("## Crossing\n\nagain"),
        new_code_cell(
            'plots.save(figure, f"all-{kind}-trade-off.png", sizes);',
            id="here",
            outputs=[
                *(new_output("display_data", {"text/html": frame}) for frame in frames),
                new_output("display_data", {"image/webp": picture("WEBP", "green")}),
            ],
        ),
    ]
    facts = {
        "commit": "c" * 40,
        "hardware": {"cpu": "a processor", "gpu": None},
        "versions": {"torch": "2"},
        "profile": "smoke",
    }
    for name, cells in (
        ("one", one),
        ("two", [new_markdown_cell("# Two\n\nShort"), new_markdown_cell("## Part of Paper, table1")]),
        ("three", []),
    ):
        source = place / "notebooks" / f"{name}.ipynb"
        digest = write(source, nbformat.writes(new_notebook(cells=cells)))
        if name != "three":
            executed = new_notebook(cells=cells, metadata={"replication": {**facts, "notebook_sha256": digest}})
            write(place / f"build/notebooks/smoke/{name}.ipynb", nbformat.writes(executed))
    write(place / "build/notebooks/smoke/one.failed.ipynb", "half")

    results, figures = place / "results/smoke", place / "figures/smoke"
    lines = "row,metric,reported,measured,low,high,n,trainings,note\n"
    lines += (
        "<b>A</b>,ssim_grey,0.5,0.612345,0.6,0.7,4,1,\nB,ssim_grey,0.4,0.3,0.2,0.4,4,1,10 <"
        " 20\nC,ssim_grey,,0.45,,,4,1,\n"
    )
    tables = {"paper-table1": lines, "workbook-allmethods": lines}
    for name, text in tables.items():
        digest = write(results / f"{name}.csv", text)
        files.write_json(
            results / f"{name}.json",
            {**facts, "sha256": digest, "paper": "Paper", "table": name[-6:], "rows": [{"row": "A", "seed": [1, 2]}]},
        )
    write(results / "paper-table1.cells.csv", "row,ssim_grey\n<b>A</b>,0.6\n")
    same = {
        "source": "Table 1, text",
        "predicate": "x[A] > x[B]",
        "needs": "runs",
        "effect": 0.25,
        "low": 0.1,
        "high": 0.4,
        "of": "x[A] > x[B]",
    }
    same |= {"trainings": 1, "printed": "holds", "notebook": "one", "cell": "here", "note": "a note"}
    claims = [
        {
            **same,
            "id": name,
            "paper": f"Paper {name[0]}",
            "verdict": verdict,
            "statement": text,
            "table": table,
            "kind": "quality",
            "p": share,
        }
        for name, verdict, text, table, share in CLAIMS
    ]
    write(results / "claims.csv", pd.DataFrame(claims, columns=COLUMNS).to_csv(index=False))
    for name in ("all-methods-trade-off.png", "orphan.jpg"):
        files.write_atomic(figures / name, Image.new("RGB", (30, 20), "green").save)
    files.write_json(
        figures / "all-methods-trade-off.json",
        {
            **facts,
            "figure": "all-methods-trade-off.png",
            "sha256": files.sha256_file(figures / "all-methods-trade-off.png"),
        },
    )
    files.write_json(
        place / "build/notebooks/smoke/one.json",
        {"outputs": {f"/elsewhere/{name}": "" for name in ("paper-table1.csv", "all-methods-trade-off.png")}},
    )
    curve = [{"step": 1, "loss": 3.0}, {"step": 9, "loss": 1.5}]
    files.write_json(
        place / "checkpoints/model-a.json",
        {
            **facts,
            "method": "adain",
            "data": "list.csv",
            "settings": {"steps": 9},
            "loss_curve": curve,
            "sha256": "f" * 64,
        },
    )
    write(place / "checkpoints/list.csv", "file\na.jpg\n")


def move(place: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("REPLICATION_BUILD", str(place / "build"))
    for name in ("ROOT", "RESULTS", "FIGURES", "CHECKPOINTS"):
        patch.setattr(files, name, place / ("" if name == "ROOT" else name.lower()))


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("site")
    make(place)
    with pytest.MonkeyPatch.context() as patch:
        move(place, patch)
        return build_site("smoke").parent


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    make(tmp_path)
    move(tmp_path, monkeypatch)
    return tmp_path


class Page(HTMLParser):
    """What a page refers to and what it offers."""

    def __init__(self, path: Path):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.ids = [given["id"] for _, given in self.tags if "id" in given]
        self.links = [given["href"] for tag, given in self.tags if tag in ("a", "link") and "href" in given]
        self.sources = [given["src"] for _, given in self.tags if "src" in given]

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def first(self, tag: str) -> dict:
        return next(given for name, given in self.tags if name == tag)


def pages(site: Path) -> dict[str, Page]:
    return {path.name: Page(path) for path in sorted(site.glob("*.html"))}


def check_links(site: Path, found: dict[str, Page]) -> None:
    """Everything that a page refers to is there, and no id twice."""
    for name, page in found.items():
        assert len(page.ids) == len(set(page.ids)), name
        for link in [*page.links, *page.sources]:
            if link.startswith("https://"):  # a paper's address, which nobody needs to open the page
                continue
            target, _, anchor = unquote(link).partition("#")
            target = target.partition("?")[0]  # what the ledger is asked to show
            assert (site / (target or name)).is_file(), (name, link)
            assert not anchor or anchor in found[target or name].ids, (name, link)


@pytest.fixture
def given() -> Path:
    """A report of real notebooks, where one is named: `.ci/run` does."""
    if "REPLICATION_REPORT" not in os.environ:
        pytest.skip("no report of a whole profile is named (REPLICATION_REPORT)")
    return Path(os.environ["REPLICATION_REPORT"]).resolve()


def test_a_whole_report_has_no_broken_link(given):
    found = pages(given)
    check_links(given, found)
    assert {
        "index.html",
        "ledger.html",
        *(f"{path.stem}.html" for path in (files.ROOT / "notebooks").glob("*.ipynb")),
    } <= set(found)
    assert (given / "index.html").stat().st_size < 300_000


def test_a_whole_report_opens_without_error_or_missing_picture(browser, given):
    for name in pages(given):
        page, errors = open_page(browser, f"file://{given}/{name}")
        page.evaluate("document.querySelectorAll('img').forEach(image => image.loading = 'eager')")
        page.wait_for_function("[...document.images].every(image => image.complete)")
        assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)"), name
        assert not errors, (name, errors)
        page.context.close()


def test_every_link_picture_and_anchor_is_there(site):
    found = pages(site)
    assert {
        "index.html",
        "one.html",
        "two.html",
        "table-paper-table1.html",
        "ledger.html",
        "figures.html",
        "models.html",
        "provenance.html",
    } <= set(found)
    assert not {"three.html", "one.failed.html", "table-claims.html", "table-paper-table1.cells.html"} & set(found)
    check_links(site, found)
    assert (
        "data/paper-table1.csv" in found["table-paper-table1.html"].links
        and "data/paper-table1.cells.csv" in found["table-paper-table1.html"].links
    )
    assert {"cell-1", "cell-5", "crossing", "crossing-2"} <= set(found["one.html"].ids)
    assert {"two.html#cell-2", "one.html#crossing"} <= set(found["one.html"].links)
    assert "one.html#cell-5" in found["ledger.html"].links and "table-paper-table1.html" in found["ledger.html"].links


def test_every_page_is_complete_and_asks_nobody(site):
    for name, page in pages(site).items():
        names = [tag for tag, _ in page.tags]
        assert (
            page.first("html")["lang"] == "en" and names.count("main") == names.count("title") == names.count("h1") == 1
        ), name
        assert not any(
            re.match(r"(https?:)?//", address)
            for address in [*page.sources, *(given["href"] for tag, given in page.tags if tag == "link")]
        ), name
        assert all(given.get("alt") and given.get("loading") == "lazy" for tag, given in page.tags if tag == "img"), (
            name
        )
        assert "base64" not in (site / name).read_text(encoding="utf-8"), name
    assert not re.search(
        r"url\(|@import|fetch\(|https?:", (site / "report.css").read_text() + (site / "report.js").read_text()
    )
    assert (site / "index.html").stat().st_size < 300_000


def test_text_is_text(site):
    for name in ("index.html", "one.html", "ledger.html", "table-paper-table1.html"):
        text = (site / name).read_text(encoding="utf-8")
        body = text[text.index("<main") :]
        assert "<b>stripes" not in body and "<b>A</b>" not in body, name
        assert EVIL not in text, name
    shown = (site / "one.html").read_text(encoding="utf-8")
    assert "a &lt; b &lt;script&gt;" in shown and "0%" not in shown.replace("100%", "") and "100% done" in shown
    assert (
        "&lt;b&gt;A&lt;/b&gt;" in (site / "table-paper-table1.html").read_text()
        and "10 &lt; 20" in (site / "table-paper-table1.html").read_text()
    )


def test_pictures_and_framed_pages_are_files(site):
    kept = {path.suffix: path for path in (site / "images").iterdir()}
    assert len(list((site / "images").iterdir())) == 3 and set(kept) == {".png", ".webp"}
    assert kept[".webp"].read_bytes() == base64.b64decode(picture("WEBP", "green"))
    text = (site / "one.html").read_text()
    assert "srcdoc" not in text and "explorer/pair.html" in text  # the page that is there is not kept twice
    assert len(list((site / "explorer").iterdir())) == 3
    assert 'alt="Picture of cell 2: One' in text and 'alt="stripes"' in text


def test_numbers_carry_their_intervals_and_their_origin(site):
    table, index = (site / "table-paper-table1.html").read_text(), (site / "index.html").read_text()
    assert (
        "0.612 [0.6, 0.7]" in table
        and "0.612345" in table
        and "c" * 40 in table
        and '<a href="one.html">one</a>' in table
    )
    assert (
        "0.612 [0.6, 0.7]" in index
        and "A first sentence about <strong>zebras</strong>." in index
        and "A second" not in index
    )
    assert "Not executed for this profile: three." in index
    counts = re.search(r"<tfoot>.*?</tfoot>", index, re.DOTALL)[0]
    assert re.findall(r"<td>(\d)</td>", counts) == ["1", "1", "0", "0", "0", "1", "3"]
    ledger = (site / "ledger.html").read_text()
    assert (
        "+0.25 [+0.1, +0.4]" in ledger
        and "<dt>p, two-sided</dt><dd>1</dd>" in ledger
        and "people" not in Page(site / "ledger.html").links
    )
    models = (site / "models.html").read_text()
    assert "<polyline" in models and "3 → 1.5" in models and "f" * 64 in models and "data/list.csv" in models


def test_figures_have_what_their_notebook_says_of_them(site):
    """By notebook, with the heading and the sentence above the cell that saved them; those of no notebook come last."""
    text = (site / "figures.html").read_text()
    assert text.index('<a href="one.html">One') < text.index("Of earlier runs") < text.index('id="orphan.jpg"')
    shown = re.search(r'<h3 id="all-methods-trade-off.png">.*?</p>', text, re.DOTALL)[0]
    assert ">Crossing</h3>" in shown and "again" in shown and 'href="one.html#cell-5"' in shown


def test_the_first_page_says_how_much_the_networks_learned(place):
    assert "was not measured in this profile" in build_site("smoke").read_text()
    write_health(place / "results/smoke", {"model-a": "ignores the painting (luma slope 0.02)"})
    assert "1 of the 1 trained networks have not learned enough" in build_site("smoke").read_text()


def test_the_first_page_counts_claims_by_what_decides_them(site):
    """Of the claims in `make` all need runs, and none compares a time or a count."""
    index = (site / "index.html").read_text()
    line = re.search(r"<strong>quality</strong>.*?</tr>", index, re.DOTALL)[0]
    assert re.findall(r"<td>.*?(\d)(?:</a>)?</td>", line) == ["1", "1", "0", "0", "0", "1"]
    assert "ledger.html?kind=quality&amp;verdict=contradicted" in line and "<strong>time</strong>" not in index
    assert "2 numbers are printed, 2 of them" not in index and "4 numbers are printed, 4 of them" in index


def test_every_measured_number_leads_to_its_cells(site):
    table, cells = (Page(site / f"{name}-paper-table1.html") for name in ("table", "cells"))
    assert "cells-paper-table1.html#r1-ssim_grey" in table.links and "r1-ssim_grey" in cells.ids
    assert "table-paper-table1.html" in cells.links
    # Rows without cells have no link, and neither have the paper's numbers.
    assert sum(link.startswith("cells-paper-table1.html#") for link in table.links) == 1
    # A claim's comparison leads to the cells of each of its terms.
    anchors = {("A", "lpips_vgg_substitute"): "c.html#r1-x"}
    assert linked_terms("lpips[A] < lpips[<B>]", anchors) == '<a href="c.html#r1-x">lpips[A]</a> &lt; lpips[&lt;B&gt;]'


def test_cells_have_names_and_no_blank_columns(tmp_path):
    write(tmp_path / "t.cells.csv", "row,seed,content,style,a,b\nR,0,x,p,1,\nR,0,x,q,2,\nS,0,x,p,,3\n")
    page = read_cells(tmp_path / "t.cells.csv", "cells-t.html", {"S": "figures.html#s"})
    assert page.rows == {"R": ("r1", ["a"], [["p", "1"], ["q", "2"]]), "S": ("r2", ["b"], [["", "3"]])}
    assert page.anchors == {("R", "a"): "cells-t.html#r1-a", ("S", "b"): "cells-t.html#r2-b"}
    assert page.pictures == {"S": "figures.html#s"} and read_cells(tmp_path / "none.csv", "", {}) is None


def test_a_network_that_is_not_good_enough_is_marked(place):
    """Its row of the first page has a dagger and a line below, its card its measures and the reason."""
    path, fault = place / "results/smoke/workbook-allmethods.csv", "ignores the painting (luma slope 0.02)"
    path.write_text(path.read_text().replace("B,ssim", "MCCNet,ssim").replace("C,ssim", "SANet,ssim"))
    write_health(place / "results/smoke", {"mccnet-code-student-seed0": fault, "model-a": fault})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(site_module, "weak_methods", lambda profile, folder: {"MCCNet": fault})
        page = build_site("smoke")
    index, models = page.read_text(), (page.parent / "models.html").read_text()
    assert '<th scope="row">MCCNet †</th>' in index and '<th scope="row">SANet</th>' in index
    assert "† weights not good enough" in index and f"MCCNet {fault}" in index
    assert "<strong>not good enough</strong>" in models and fault in models


def test_what_was_changed_since_is_said(place):
    with open(place / "results/smoke/paper-table1.csv", "a") as file:
        file.write("D,ssim_grey,,1,,,1,1,\n")
    (place / "notebooks/two.ipynb").write_text("other")
    page = build_site("smoke")
    rows = {
        row: "changed since" in row
        for row in (page.parent / "provenance.html").read_text().split("<tr>")
        if "data/" in row
    }
    assert [re.search(r"data/([\w.-]+)", row)[1] for row, changed in rows.items() if changed] == ["paper-table1.csv"]
    assert page.read_text().count("source has changed since") == 1


def test_the_search_knows_titles_headings_text_and_claims(site):
    entries = json.loads((site / "search.js").read_text().removeprefix("const SEARCH = ").removesuffix(";\n"))

    def places(word: str) -> set[str]:
        return {f"{url}#{anchor}" if anchor else url for url, _, anchor, *rest in entries if word in " ".join(rest)}

    assert places("zebras") >= {"one.html#one-script-alert-x-script-only", "ledger.html#B-01"} and places(
        "Crossing"
    ) == {
        "one.html#crossing",
        "one.html#crossing-2",
        "figures.html#all-methods-trade-off.png",
    }
    assert places("Horses") == {"ledger.html#A-02"} and "table-paper-table1.html" in {url for url, *_ in entries}
    assert places("model-a") >= {"models.html#model-a"} and places("orphan.jpg") >= {"figures.html#orphan.jpg"}
    assert not places("secret_code") and not places("0.612345")


def test_every_formula_of_the_notebooks_is_mathml():
    found = []
    for path in sorted((files.ROOT / "notebooks").glob("*.ipynb")):
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == "markdown":
                found += re.findall(r"\$\$(.+?)\$\$|\$(.+?)\$", cell.source, re.DOTALL)
    assert len(found) > 50
    for display, inline in found:
        text = formula(display or inline, bool(display))
        ElementTree.fromstring(text)  # well-formed
        assert text.startswith("<math") and "\\" not in text, display or inline
    # In a line of its own when it is displayed, and the source itself when it cannot be read.
    assert [re.search('display="([a-z]+)"', formula("a < b", display))[1] for display in (False, True)] == [
        "inline", "block"
    ]  # fmt: skip
    assert formula(r"\frac{a}{") == r"<code>\frac{a}{</code>"
    assert formula(r"\nonsense < b") == r"<code>\nonsense &lt; b</code>"


DAMAGE = {
    ".ipynb": [b'{"cells": [{', b"[]", b"\xff"],
    ".json": [b"{", b"[]", b"\xff"],
    ".csv": [b"", b'"', b"\xff", b"row,metric\n1\n"],
    ".jpg": [b"", b"no picture"],
}


def test_damaged_files_are_named_and_the_last_report_stays(place):
    before = build_site("smoke").read_bytes()
    for name in (
        "build/notebooks/smoke/one.ipynb",
        "build/notebooks/smoke/one.json",
        "results/smoke/paper-table1.csv",
        "results/smoke/paper-table1.json",
        "results/smoke/claims.csv",
        "figures/smoke/orphan.jpg",
        "checkpoints/model-a.json",
    ):
        path = place / name
        whole = path.read_bytes()
        for content in DAMAGE[path.suffix]:
            path.write_bytes(content)
            with pytest.raises(UserError, match=re.escape(f"{path} is damaged")):
                build_site("smoke")
        path.write_bytes(whole)
    assert (place / "build/report/smoke/index.html").read_bytes() == before
    assert [path.name for path in (place / "build/report").iterdir()] == ["smoke"]


def test_what_is_not_there_is_explained(place, capsys):
    (place / "build/report/smoke").mkdir(parents=True)
    (place / "build/report/smoke/old.html").write_text("old")
    assert (
        main(["report", "--profile", "smoke"]) == 0
        and str(place / "build/report/smoke/index.html") in capsys.readouterr().out
    )
    assert not (place / "build/report/smoke/old.html").exists()
    (place / "results/smoke/claims.csv").unlink()
    (place / "results/smoke/workbook-allmethods.csv").unlink()
    index = build_site("smoke").read_text()
    assert "has no ledger" in index and "no table of all methods" in index and "ledger.html" not in index
    write(place / "results/smoke/claims.csv", "id,paper\nA,B\n")
    with pytest.raises(UserError, match="claims.csv lacks the columns statement"):
        build_site("smoke")
    (place / "results").rename(place / "gone")
    with pytest.raises(UserError, match="results/smoke is missing; run `make` first"):
        build_site("smoke")
    assert (
        main(["report", "--profile", "cpu"]) == 2
        and "no executed notebook; run `make` first" in capsys.readouterr().err
    )


def test_every_page_opens_from_disk_at_any_width(browser, site):
    opened, errors = open_page(browser, (site / "index.html").as_uri())
    for name in pages(site):
        opened.goto((site / name).as_uri())
        for image in opened.locator("img").all():
            image.scroll_into_view_if_needed()
            opened.wait_for_function(
                "image => image.complete && image.naturalWidth > 0", arg=image.element_handle(), timeout=5000
            )
        for width in (1300, 360):
            opened.set_viewport_size({"width": width, "height": 800})
            assert opened.evaluate("document.documentElement.scrollWidth") <= width, (name, width)
    assert errors == []


def test_searching(browser, site):
    opened, errors = open_page(browser, (site / "two.html").as_uri())
    opened.keyboard.press("/")
    assert opened.evaluate("document.activeElement.id") == "search"
    opened.keyboard.type("stripes keep")
    opened.wait_for_selector("#results a")
    assert opened.locator("#results a").count() == 1 and "1 place" in opened.inner_text("#hits")
    assert set(opened.locator("#results mark").all_inner_texts()) == {"stripes", "keep"}
    opened.keyboard.press("ArrowDown")
    opened.keyboard.press("Enter")
    opened.wait_for_url("**/ledger.html#A-01")
    opened.fill("#search", "Paper: table1")  # of places with these words the one called so
    opened.wait_for_function("document.querySelector('#results a')?.href.endsWith('table-paper-table1.html')")
    opened.fill("#search", "nothing of the kind")
    opened.wait_for_function("document.getElementById('hits').textContent === '0 places'")
    opened.keyboard.press("Escape")
    assert not opened.locator("#found").is_visible() and errors == []


def test_filtering_the_ledger(browser, site):
    opened, errors = open_page(browser, (site / "ledger.html").as_uri())

    def shown() -> list[str]:
        return [text.split()[0] for text in opened.locator(".claim:visible h3").all_inner_texts()]

    assert shown() == ["A-01", "A-02", "B-01"]
    opened.get_by_role("button", name="contradicted").click()
    assert (
        shown() == ["A-02"]
        and opened.inner_text("#count") == "1 of 3 claims"
        and opened.locator("h2:visible").count() == 1
    )
    opened.get_by_role("button", name="Paper B").click()
    assert shown() == []
    opened.evaluate("location.hash = '#B-01'")
    opened.wait_for_function("document.getElementById('B-01').checkVisibility()")
    opened.get_by_role("button", name="Paper B").click()
    assert (
        shown() == ["B-01"]
        and opened.get_attribute("[data-value='Paper B']", "aria-pressed") == "true"
        and errors == []
    )


def test_an_address_chooses_what_the_ledger_shows(browser, site):
    opened, errors = open_page(browser, (site / "ledger.html").as_uri() + "?kind=quality&verdict=contradicted")
    assert opened.inner_text("#count") == "1 of 3 claims"
    opened.goto((site / "ledger.html").as_uri() + "?kind=time")
    assert opened.inner_text("#count") == "0 of 3 claims" and errors == []


def test_sorting_a_table_and_unfolding_code(browser, site):
    opened, errors = open_page(browser, (site / "table-paper-table1.html").as_uri())
    rows = "[...document.querySelectorAll('table')].at(-1).tBodies[0].rows"
    orders = []
    for _ in range(3):
        opened.locator("table").last.get_by_role("button", name="reported").click()
        orders.append(opened.evaluate(f"[...{rows}].map((row) => row.cells[0].textContent)"))
    assert orders == [["B", "<b>A</b>", "C"], ["<b>A</b>", "B", "C"], ["<b>A</b>", "B", "C"]]
    opened.goto((site / "one.html").as_uri())
    assert not opened.get_by_text("secret_code").is_visible()
    opened.locator("summary").first.click()
    assert opened.get_by_text("secret_code").is_visible()
    opened.get_by_role("button", name="Show all code").click()
    assert opened.locator("details.source[open]").count() == 2 and errors == []


CONTRAST = """() => {
  const box = document.createElement("canvas").getContext("2d"), style = getComputedStyle(document.documentElement);
  const probe = document.body.appendChild(document.createElement("p"));
  const light = (name) => {
    probe.style.color = `var(--${name})`;
    box.fillStyle = getComputedStyle(probe).color;
    box.fillRect(0, 0, 1, 1);
    const [r, g, b] = [...box.getImageData(0, 0, 1, 1).data].map((v) => v / 255)
      .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = {};
  for (const ground of ["back", "raised"]) for (const ink of ["text", "quiet", "mark", "good", "bad", "open"]) {
    const [a, b] = [light(ground), light(ink)].sort((x, y) => y - x);
    found[`${ink} on ${ground}`] = (a + 0.05) / (b + 0.05);
  }
  probe.remove();
  return found;
}"""


def test_both_colour_schemes_and_the_choice_is_remembered(browser, site, tmp_path):
    pictures, grounds = Path(os.environ.get("REPLICATION_SCREENSHOTS", tmp_path)), set()
    for scheme, other in (("light", "dark"), ("dark", "light")):
        opened, errors = open_page(
            browser, (site / "index.html").as_uri(), color_scheme=scheme, viewport={"width": 1200, "height": 900}
        )
        ground = "getComputedStyle(document.body).backgroundColor"
        given = opened.evaluate(ground)
        grounds.add(given)
        assert min(opened.evaluate(CONTRAST).values()) >= 4.5, opened.evaluate(CONTRAST)
        opened.screenshot(path=pictures / f"report-{scheme}.png")
        opened.get_by_role("button", name=f"Switch to {other}").click()
        chosen = opened.evaluate(ground)
        assert chosen != given and opened.evaluate("document.documentElement.dataset.theme") == other
        grounds.add(chosen)
        opened.goto((site / "models.html").as_uri())
        assert opened.evaluate(ground) == chosen and errors == []
    assert len(grounds) == 2


def test_the_keyboard_reaches_everything(browser, site):
    opened, errors = open_page(browser, (site / "index.html").as_uri())
    opened.keyboard.press("Tab")
    assert opened.evaluate("document.activeElement.className") == "skip"
    outline = opened.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    opened.keyboard.press("Enter")
    assert outline != "none" and opened.evaluate("document.activeElement.id") == "main" and errors == []


def test_what_a_killed_report_left_is_removed_by_the_next(place):
    folder = place / "build/report"
    gone, others = folder / ".smoke-999999999-abc" / "new", folder / f".smoke-{os.getpid()}-abc"
    old, paper = folder / ".smoke-x7y", folder / ".paper-999999999-abc"
    for path in (gone, others, old, paper):
        path.mkdir(parents=True)
    build_site("smoke")
    # A report that runs at the same time keeps its folder; another profile's is not ours.
    assert not gone.parent.exists() and not old.exists() and others.exists() and paper.exists()


KILLED = """
import sys
from pathlib import Path

from helpers.kills import survive_kills

from replication import files
from replication.report.site import build_site

for name in ("ROOT", "RESULTS", "FIGURES", "CHECKPOINTS"):
    setattr(files, name, Path("" if name == "ROOT" else name.lower()).absolute())
report, seen = files.build_dir() / "report", []

def content():
    return {str(path.relative_to(report)): path.read_bytes() for path in report.rglob("*") if path.is_file()}

def finished(kills):
    seen.append(content())
    assert seen[-1] == seen[0] and [path.name for path in report.iterdir()] == ["smoke"]

def left():
    "What stands under the report's own name is a whole one, the old or the new."
    found = {name: text for name, text in content().items() if name.startswith("smoke/")}
    assert found in ({}, seen[0])

survive_kills(lambda: build_site("smoke"), finished, lambda: None, int(sys.argv[1]), left)
print("survived")
"""


@KILLS
def test_a_killed_report_leaves_the_old_one_and_the_next_is_whole(kills, tmp_path):
    make(tmp_path)
    assert run_script(tmp_path, KILLED, kills).endswith("survived\n")


def test_temporaries_of_killed_commands_are_not_reported(place):
    for name in ("results/smoke/.t-k3j2.csv", "checkpoints/.card-k3j2.json", "build/notebooks/smoke/.one-k3j2.json"):
        write(place / name, "{")
    site = build_site("smoke").parent
    assert not [path for path in site.rglob(".*")]


@pytest.mark.parametrize("text", ["[" * 100_000, "[1]", "9" * 5000])
def test_facts_broken_in_other_ways_are_named(text, place):
    write(place / "results/smoke/paper-table1.json", text)
    with pytest.raises(UserError, match="paper-table1.json"):
        build_site("smoke")
