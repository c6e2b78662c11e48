"""Figures are files with provenance, the same bytes for the same picture."""

import json
import re

import matplotlib as mpl
import pandas as pd
import pytest
import torch
from PIL import Image

from replication import files, plots, provenance
from replication.nn.attention import AttentionRecord
from replication.profiles import Profile
from replication.weights.shipped import model_card, pretrained, shipped_network


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp"])
def test_equal_figures_give_equal_bytes(name, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "FIGURES", tmp_path)
    image = torch.rand(3, 32, 40, generator=torch.Generator().manual_seed(0))
    written = []
    for _ in range(2):
        figure = plots.image_grid([[image, None]], ["one", "none"], ["row"])
        path = plots.save(figure, name, Profile.load("smoke"), content="x")
        plots.close(figure)
        written.append([one.read_bytes() for one in sorted(path.parent.glob("a.*")) if one.suffix != ".json"])
        assert path.with_suffix(".pdf").is_file() == (path.suffix == ".png"), "of drawings alone"
    facts = json.loads(path.with_suffix(".json").read_text())
    assert written[0] == written[1] and facts["content"] == "x" and facts["sha256"] == files.sha256_file(path)


def test_a_figure_names_the_networks_that_were_loaded_before_it(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "FIGURES", tmp_path)
    monkeypatch.setattr(provenance, "_networks", {})
    shipped_network.cache_clear()
    pretrained("adain", encoder="student")
    figure = plots.image_grid([[torch.rand(3, 8, 8)]], ["x"])
    facts = json.loads(plots.save(figure, "a.png", Profile.load("smoke")).with_suffix(".json").read_text())
    name = "adain-code-student-seed0"
    assert facts["networks"] == {name: {"checkpoint": model_card(name)["sha256"]}}
    plots.close(figure)


def test_a_page_of_photographs_is_no_larger_than_it_needs_to_be(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "FIGURES", tmp_path)
    figure = plots.image_grid([[torch.rand(3, 8, 8)] * 30], ["x"] * 30)
    assert max(figure.get_size_inches()) * 150 > plots.LONGEST
    with Image.open(plots.save(figure, "a.jpg", Profile.load("smoke"))) as image:
        assert plots.LONGEST - 2 <= max(image.size) <= plots.LONGEST
    plots.close(figure)


def test_a_pdf_has_letters_as_letters_and_small_photographs(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "FIGURES", tmp_path)
    with mpl.rc_context({"pdf.compression": 0}):
        figure = plots.image_grid([[torch.rand(3, 600, 600)]], ["heading"], side=2.0)
        pdf = plots.save(figure, "a.png", Profile.load("smoke")).with_suffix(".pdf").read_bytes()
    plots.close(figure)
    widths = [int(width) for width in re.findall(rb"/Width (\d+)", pdf)]
    assert len(widths) == 1 and widths[0] <= 2 * plots.PDF_DOTS
    assert b"/FontFile2" in pdf and b"/Type3" not in pdf


def test_equal_features_have_equal_colours():
    """The same map twice, and a third that differs: its colours do, too."""
    x = torch.randn(12, 6, 7, generator=torch.Generator().manual_seed(0))
    figure = plots.feature_colours({"a": x, "b": x.clone(), "c": x.flip(2)})
    first, second, third = (axis.images[0].get_array() for axis in figure.axes)
    plots.close(figure)
    assert (first == second).all() and not (first == third).all() and (first[:, ::-1] == third).all()


def test_slopes_stand_in_the_legend_where_they_mean_something():
    frame = pd.DataFrame(
        [{"row": "a", "size": size, "seconds": 1e-6 * size**3.0, "peak_mib": 100.0 + size} for size in (64, 128, 256)]
    )
    figure = plots.cost_curves(frame, {"seconds": "s", "peak_mib": "MiB"}, slopes=("seconds",))
    legends = [axis.get_legend().get_texts()[0].get_text() for axis in figure.axes]
    plots.close(figure)
    assert legends == ["a 1.50", "a"]


@pytest.mark.parametrize("name", ["a $x^$ b.jpg", "from $5_ to $9.jpg", r"\$ \frac{", "$", "{}"])
def test_names_with_dollars_are_text(name, tmp_path):
    """matplotlib takes what stands between dollars for a formula, and dies of one that it cannot read."""
    image = torch.rand(3, 32, 40)
    figure = plots.image_grid([[image]], [name], [name])
    figure.savefig(tmp_path / "a.png")
    figure.canvas.draw()
    assert [text.get_text() for text in figure.axes[0].texts] == [name]
    assert not figure.axes[0].title.get_parse_math()
    plots.close(figure)


def test_logarithmic_axes_have_numbers_and_no_formulas():
    curve = [{"step": step, "loss": 10.0**-step} for step in range(4)]
    costs = pd.DataFrame({"row": "a", "size": [64, 128, 256], "seconds": [0.1, 0.4, 1.7]})
    for figure in (plots.loss_curves({"run": curve}), plots.cost_curves(costs, {"seconds": "s"}, ["seconds"])):
        figure.canvas.draw()
        axes = figure.axes[0]
        ticks = [tick.get_text() for axis in (axes.xaxis, axes.yaxis) for tick in axis.get_ticklabels(which="both")]
        assert any(ticks) and not any("$" in tick for tick in ticks), ticks
        plots.close(figure)


def test_pages_stay_as_wide_as_a_screen():
    """Many runs and many panels go below each other; a legend stands beside what it explains."""
    curves = {str(number): [{"step": step, "loss": 1.0 + step} for step in range(3)] for number in range(40)}
    figure = plots.loss_curves(curves)
    assert figure.get_size_inches()[0] < 16 and sum(axis.axison for axis in figure.axes) == 40
    plots.close(figure)
    figure, lines = plots._lines_of_panels(2, 10)
    assert figure.get_size_inches()[0] < 14 and [len(line) for line in lines] == [10, 10]
    plots.close(figure)
    table = pd.DataFrame(
        [{"row": row, "metric": "m", "reported": 1.0, "measured": 1.0, "low": 0.9, "high": 1.1} for row in "abc"]
    )
    figure = plots.reported_and_measured(table, {"m": ("m", "m")}, list("abc"), ())
    figure.canvas.draw()
    (legend,), (axis,) = figure.legends, figure.axes
    assert not legend.get_window_extent().overlaps(axis.get_window_extent())
    plots.close(figure)


def test_titles_grow_with_the_page_and_fit_their_panels():
    image = torch.rand(3, 8, 8)
    for names, least in ((["photograph"] * 15, 20), (["a"] * 3, 8)):
        figure = plots.image_grid([[image] * len(names)], names, side=2.2)
        figure.canvas.draw()
        titles = [axis.title for axis in figure.axes]
        assert titles[0].get_fontsize() >= least
        assert all(t.get_window_extent().width <= 1.05 * t.axes.get_window_extent().width for t in titles)
        plots.close(figure)


def test_a_mosaic_can_be_drawn_twice_and_its_title_stands_above_it(tmp_path):
    figure = plots.mosaic([[torch.rand(3, 16, 16), None]], "StyA2K")
    figure.savefig(tmp_path / "a.png")
    figure.savefig(tmp_path / "b.png")  # warnings are errors
    (title,), (axis,) = figure.texts, figure.axes
    assert title.get_window_extent().y0 >= axis.get_window_extent().y1
    plots.close(figure)


TABLE = pd.DataFrame(
    [
        {"row": row, "metric": metric, "reported": 1.0, "measured": 1.0 + n, "low": 0.9 + n, "high": 1.1 + n, "x": n}
        for n, row in enumerate("abc")
        for metric in ("style_loss", "m")
    ]
)
ROWS = list("abc")
MARKED = {
    "trade_off": lambda weak: plots.trade_off(TABLE, (), ROWS, {"m": "m"}, weak),
    "reported_and_measured": lambda weak: plots.reported_and_measured(TABLE, {"m": ("m", "m")}, ROWS, weak),
    "differences": lambda weak: plots.differences(TABLE, {"m": "m"}, weak),
    "pareto": lambda weak: plots.pareto(TABLE, ROWS, "m", "style_loss", ("m", "s"), weak),
    "sweep": lambda weak: plots.sweep(TABLE, ROWS, {"m": ["m", "style_loss"]}, ["1", "2"], "n", weak),
    "heat_maps": lambda weak: plots.heat_maps(
        TABLE, ROWS, [(0.0, 0.0), (0.0, 1.0), (1.0, 1.0)], {"m": "m"}, ("x", "y"), weak
    ),
    "curves": lambda weak: plots.curves(TABLE, "x", {"m": "m"}, "x", weak),
}


@pytest.mark.parametrize("kind", MARKED)
def test_a_row_that_is_not_good_enough_is_marked_in_every_figure(kind):
    """By a dagger on its name (its value, in a heat map), which a line below explains; and no other row is."""

    def texts(figure):
        figure.canvas.draw()
        found = [text.get_text() for text in figure.findobj(mpl.text.Text) if text.get_text()]
        plots.close(figure)
        return found

    found = texts(MARKED[kind](["b"]))
    name = "2 †" if kind == "heat_maps" else "b †"
    assert name in found and [text for text in found if text.endswith("†") and text != name] == []
    assert any(text.startswith("† ") for text in found)
    assert not any("†" in text for text in texts(MARKED[kind]([])))


def test_every_record_has_a_curve_of_its_own():
    image = torch.rand(4, 3, generator=torch.Generator().manual_seed(0))
    record = AttentionRecord("relu4_1", image, image, (2, 2), (2, 2))
    figure = plots.sharpness({f"method {number}": record for number in range(11)})
    lines = {(line.get_color(), line.get_linestyle()) for line in figure.axes[0].lines[:-1]}
    assert len(lines) == 11 and len(figure.axes[0].get_legend().get_texts()) == 11
    plots.close(figure)


def test_names_of_near_trainings_do_not_lie_on_each_other():
    frame = pd.DataFrame(
        [(f"training-{n}", 100 + n % 3, 1 + 0.02 * n, "a" if n % 2 else "b") for n in range(6)],
        columns=["name", "seconds", "loss", "method"],
    )
    frame.loc[6] = ["far", 400, 3.0, "b"]
    figure = plots.runs(frame, ("seconds", "s"), {"loss": "loss"}, "method")
    axis = figure.axes[0]
    names = {text.get_text(): text.get_window_extent() for text in axis.texts}
    assert names.keys() == set(frame.name)
    boxes = list(names.values())
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert all(box.x0 > axis.bbox.x0 for box in boxes)
    plots.close(figure)


def test_intervals_of_many_rows_stand_side_by_side():
    def drawn(rows: int):
        lines = [(f"row {row}", "m", x, 1.0, 0.5, 2.0) for row in range(rows) for x in (1, 2, 8)]
        frame = pd.DataFrame(lines, columns=["row", "metric", "x", "measured", "low", "high"])
        axis = plots.curves(frame, "x", {"m": "m"}, "x", set()).axes[0]
        places = {line.get_label(): list(line.get_xdata()) for line in axis.lines}
        return [type(part).__name__ for part in axis.collections], places

    kinds, places = drawn(plots.MOST_BANDS)
    assert set(kinds) == {"FillBetweenPolyCollection"} and all(each == [1, 2, 8] for each in places.values())
    kinds, places = drawn(plots.MOST_BANDS + 1)
    assert set(kinds) == {"LineCollection"}
    assert len({each[0] for each in places.values()}) == plots.MOST_BANDS + 1
    assert all(abs(each[at] - x) < 0.5 for each in places.values() for at, x in enumerate((1, 2, 8)))
