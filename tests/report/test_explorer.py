"""The attention explorer: its numbers, its size, and the page in a real browser."""

import base64
import json
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.browser import open_page
from helpers.records import kinds, record
from scipy.stats import spearmanr

from replication import files
from replication.data.images import contents, styles
from replication.errors import UserError
from replication.methods.base import Method
from replication.nn.attention import AttentionRecord
from replication.nn.encoder import Encoder
from replication.report import explorer
from replication.report.explorer import LIMIT, Quantised, explore_files, packing_error, page, seen_by_the_page, widget
from replication.weights.shipped import pretrained


def single(r: AttentionRecord) -> AttentionRecord:
    return replace(r, queries=r.queries.float(), keys=r.keys.float())


@pytest.mark.parametrize("kind", [np.int16, np.int8])
def test_quantised_tokens_are_close_and_use_the_range(kind):
    tokens = torch.randn(50, 12) * torch.logspace(-3, 3, 50)[:, None]
    packed = Quantised.of(tokens, kind)
    assert packed.numbers.dtype == kind and (np.abs(packed.numbers.astype(int)).max(axis=1) == np.iinfo(kind).max).all()
    assert ((packed.tokens() - tokens).abs() <= 0.501 * torch.from_numpy(packed.factors)[:, None]).all()
    assert (Quantised.of(torch.zeros(2, 3), kind).tokens() == 0).all()


def test_the_error_is_what_it_says():
    r = single(record())
    exact, rough = r.weights(), seen_by_the_page(r, np.int8).weights()
    found = packing_error(r, np.int8, points=1000)
    assert found["distance"] == pytest.approx(0.5 * (exact - rough).abs().sum(dim=1).max().item(), rel=1e-4)
    assert packing_error(r, np.int16)["distance"] < found["distance"] / 20 and found["correlation"] < 1


class Recorded(Method):
    """A method that attends as given and paints the photograph."""

    def __init__(self, *records: AttentionRecord):
        torch.nn.Module.__init__(self)
        self.records, self.encoder = list(records), Encoder(name="none")

    def encode_content(self, image):
        return image

    encode_style = encode_content

    def attention(self, content, style):
        return self.records

    def transfer(self, content, style):
        return content

    def decode(self, stylised):
        return stylised


def data_of(text: str) -> dict:
    return json.loads(re.search(r"const DATA = (.*);\n", text)[1])


def test_a_page_is_one_file_and_holds_what_it_shows():
    image = torch.rand(3, 40, 56)
    text = page(image, image, {"A <b>": Recorded(single(record()))}, "x </script> y")
    assert "http://" not in text and "https://" not in text and "<b>" not in re.sub(r"const DATA.*", "", text)
    data = data_of(text)
    shown = data["methods"][0]["records"][0]
    r = seen_by_the_page(single(record()), np.int16)
    assert np.frombuffer(base64.b64decode(shown["sums"]), "<f4") == pytest.approx(
        r.scores().logsumexp(dim=1).numpy(), rel=1e-5
    )
    assert (
        (data["wide"], data["all"]) == (1, 1)
        and data["correlation"] > 0.999
        and shown["content"] == [5, 7]
        and shown["style"] == [4, 6]
    )


def test_what_one_byte_distorts_most_has_two_while_there_is_room(monkeypatch):
    image, r = torch.rand(3, 32, 32), single(record())
    sharp, flat = replace(r, queries=30 * r.queries), replace(r, queries=r.queries / 30)
    models = {"A": Recorded(sharp), "B": Recorded(flat)}
    whole = page(image, image, models)
    monkeypatch.setattr(explorer, "LIMIT", len(whole.encode()) - 1)
    text = page(image, image, models)
    data = data_of(text)
    assert data["wide"] == 1 and len(text.encode()) <= LIMIT
    assert [method["records"][0]["bytes"] for method in data["methods"]] == [2, 1]
    worst = max(packing_error(flat, np.int8)["distance"], packing_error(sharp, np.int16)["distance"])
    assert data["distance"] == worst and data_of(whole)["wide"] == 2
    monkeypatch.setattr(explorer, "LIMIT", 1000)
    with pytest.raises(UserError, match="fewer --methods"):
        page(image, image, models)
    with pytest.raises(UserError, match="no attention over positions"):
        page(image, image, {"A": Recorded()})


def test_mistakes_are_explained_before_anything_is_computed(tmp_path):
    for out, size, match in ((tmp_path / "x.png", 256, "ending .html"), (tmp_path / "x.html", 8, "at least 64 px")):
        with pytest.raises(UserError, match=match):
            explore_files(tmp_path / "a.jpg", tmp_path / "b.jpg", ["sanet"], out, size)


def test_a_page_that_would_be_too_large_is_refused_before_packing(monkeypatch):
    def late(*_):
        pytest.fail("packed before the size was checked")

    monkeypatch.setattr(explorer, "LIMIT", 10_000)
    monkeypatch.setattr(explorer, "packing_error", late)
    monkeypatch.setattr(Method, "decode", late)
    image = torch.rand(1, 3, 64, 64)[0]
    with pytest.raises(UserError, match="smaller --size or fewer --methods"):
        page(image, image, {"SANet": pretrained("sanet", encoder="student")})


def test_the_widget_is_the_page_in_a_frame():
    shown = widget("<!doctype html><p title=\"x\">'hello'</p>").data
    assert "srcdoc=" in shown and "&lt;p title=&quot;x&quot;&gt;" in shown


def visit(browser, text: str, folder, scheme: str = "light", fragment: str = ""):
    """The page opened from disk without a network, and the list of its errors."""
    path = files.write_text(folder / "page.html", text)
    return open_page(
        browser, f"{path.as_uri()}{fragment}", color_scheme=scheme, viewport={"width": 1400, "height": 800}
    )


def click(opened, panel: str, y: float, x: float) -> None:
    box = opened.locator(f"[id='panel-{panel}'] .view").bounding_box()
    opened.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])


def map_of(opened, number: int) -> np.ndarray:
    values = opened.evaluate(f"Array.from(mapOf(DATA.methods[{number}]), (v) => Number.isFinite(v) ? v : null)")
    return np.array([-np.inf if v is None else v for v in values])


@pytest.mark.parametrize("kind", kinds())
def test_every_kind_of_record_reads_the_same_in_the_browser(kind, browser, tmp_path):
    r = single(kinds()[kind])
    image = torch.rand(3, 48, 48)
    opened, errors = visit(browser, page(image, image, {"A": Recorded(r)}), tmp_path)
    for (y, x), view in (((2, 3), "after"), ((4, 6), "after"), ((2, 3), "before")):
        opened.check(f"input[name=view][value={view}]")
        click(opened, "photograph", (y + 0.5) / 5, (x + 0.5) / 7)
        expected = (r.row(y, x) if view == "after" else r.logits(y, x)).flatten().numpy()
        assert map_of(opened, 0) == pytest.approx(expected, abs=2e-3), (kind, view)
    opened.check("input[name=view][value=after]")
    for y, x in ((1, 2), (3, 5)):
        click(opened, "A", (y + 0.5) / 4, (x + 0.5) / 6)
        assert map_of(opened, 0) == pytest.approx(r.column(y, x).flatten().numpy(), abs=2e-3), kind
    assert errors == []


@pytest.fixture(scope="module")
def shipped():
    models = {
        "SANet": pretrained("sanet", encoder="student"),
        "AdaAttN": pretrained("adaattn", encoder="student"),
        "StyA2K": pretrained("stya2k", encoder="student"),
    }
    pair = contents(1)[0].tensor(128), styles(20)[1].tensor(128)
    return pair, models, page(*pair, models)


@torch.inference_mode()
def test_a_click_shows_pytorchs_row(browser, shipped, tmp_path):
    (content, style), models, text = shipped
    opened, errors = visit(browser, text, tmp_path)
    y, x = 0.3, 0.45
    click(opened, "photograph", y, x)
    for number, model in enumerate(models.values()):
        first = model.attention(model.encode_content(content[None]), model.encode_style(style[None]))
        first = [r for r in first if (r.layer, r.step) == (first[0].layer, first[0].step)]
        rows = (
            torch.stack([r.row(int(y * r.content[0]), int(x * r.content[1])) for r in first])
            .mean(dim=0)
            .flatten()
            .numpy()
        )
        assert spearmanr(map_of(opened, number), rows).statistic >= 0.99
    assert "AdaAttN on the encoder student, StyA2K on" in opened.inner_text("#about")
    assert errors == []


def test_keys_the_address_and_what_is_read_aloud(browser, shipped, tmp_path):
    *_, text = shipped
    opened, errors = visit(browser, text, tmp_path)
    click(opened, "photograph", 0.5, 0.5)
    assert "One key stands for each of 4 × 4 blocks" in opened.inner_text("#panel-StyA2K .facts")
    assert "stands for" not in opened.inner_text("#panel-SANet .facts")
    before = map_of(opened, 0)
    opened.keyboard.press("ArrowDown")
    opened.keyboard.press("ArrowRight")
    assert not np.array_equal(map_of(opened, 0), before) and "across the photograph" in opened.inner_text("#spoken")
    opened.locator("#panel-StyA2K select").first.select_option(index=1)
    opened.check("input[name=view][value=before]")
    opened.wait_for_timeout(400)
    shown = [map_of(opened, number) for number in range(3)]
    other, more = visit(browser, text, tmp_path, fragment=opened.evaluate("location.hash"))
    assert all(np.array_equal(map_of(other, number), values) for number, values in enumerate(shown))
    opened.keyboard.press("Tab")
    assert opened.evaluate("document.activeElement !== document.body")
    assert errors == more == []


def test_touch_and_both_colour_schemes(browser, shipped, tmp_path):
    *_, text = shipped
    backgrounds = set()
    pictures = Path(os.environ.get("REPLICATION_SCREENSHOTS", tmp_path))
    for scheme in ("light", "dark"):
        opened, errors = visit(browser, text, tmp_path, scheme)
        click(opened, "photograph", 0.33, 0.42)
        shot = opened.screenshot(path=pictures / f"explorer-{scheme}.png", full_page=True)
        assert len(shot) > 50_000
        opened.dispatch_event(
            "#panel-AdaAttN .view", "pointerdown", {"clientX": 700, "clientY": 300, "pointerType": "touch"}
        )
        assert opened.evaluate("state.from") == "AdaAttN"
        backgrounds.add(opened.evaluate("getComputedStyle(document.body).backgroundColor"))
        assert errors == []
    assert len(backgrounds) == 2


@pytest.mark.parametrize(
    "name",
    [
        "<!-- <script>",
        "<!-- <script x",
        "</script><script>window.ran = 1</script>",
        "<img src=x onerror='window.ran = 1'>",
        "--> ]]> &lt;b&gt; \u2028 \\ \" '",
        "a $x^$ b",
        "Mu\udcf1oz",
    ],
)
def test_names_with_markup_are_text_and_run_nothing(name, browser, tmp_path):
    name = files.printable(name)
    image = torch.rand(3, 48, 48)
    opened, errors = visit(browser, page(image, image, {name: Recorded(single(record()))}, name), tmp_path)
    assert opened.title() == name.strip() and opened.inner_text("h1") == name
    assert opened.evaluate("DATA.methods[0].name") == name and opened.evaluate("window.ran") is None
    assert opened.locator(".view").count() == 2 and errors == []
