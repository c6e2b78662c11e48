"""The live panel, driven as a hand would: what is set on its controls, and what it shows then."""

import io
from datetime import UTC, datetime

import numpy as np
import pytest
from helpers.cells import write_health
from PIL import Image

from replication import files
from replication.data.images import read_image, to_uint8
from replication.errors import UserError
from replication.profiles import Profile
from replication.report import panel as module
from replication.report.panel import ALL_HEADS, Panel
from replication.stylise.file import apply
from replication.weights.shipped import pretrained

SMOKE = Profile.load("smoke")


@pytest.fixture
def panel(tmp_path, monkeypatch) -> Panel:
    monkeypatch.setattr(files, "RESULTS", tmp_path)
    write_health(tmp_path / "smoke", {"sanet-code-student-seed0": "ignores <it>"})
    return Panel(SMOKE, ["stya2k", "sanet", "adain", "stytr2"])


def upload(name: str, content: bytes) -> tuple[dict, ...]:
    """What a browser sends of a file."""
    facts = {"name": name, "type": "image/png", "size": len(content), "last_modified": datetime.now(UTC)}
    return ({**facts, "content": memoryview(content)},)


def pixels(image: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(image)))


def test_the_result_is_that_of_the_method_on_the_chosen_pictures(panel):
    panel.method.value, panel.alpha.value = "sanet", 0.5
    panel.photograph.value = panel.photograph.options[1][1]
    panel.painting.value = panel.painting.options[2][1]
    panel.size.value = 128
    pair = [read_image(picture.value, 128, True)[None] for picture in (panel.photograph, panel.painting)]
    expected = to_uint8(apply(pretrained("sanet", encoder="student"), *pair, alpha=0.5)[0])
    assert (pixels(panel.result.value) == expected).all()


def test_layers_and_heads_are_the_methods_and_choices_stay_where_they_can(panel):
    assert panel.method.value == "stya2k" and panel.head.options[0] == ALL_HEADS and len(panel.head.options) == 9
    panel.layer.value, panel.head.value = "relu4_1, DA", "3"
    one = panel.map.value
    panel.painting.value = panel.painting.options[2][1]
    assert (panel.layer.value, panel.head.value) == ("relu4_1, DA", "3") and panel.map.value != one
    panel.head.value = "4"
    panel.method.value = "sanet"
    assert panel.layer.options == ("relu4_1", "relu5_1") and panel.head.options == ("1",)


def test_another_place_changes_the_map_and_not_the_result(panel, monkeypatch):
    result, map_ = panel.result.value, panel.map.value
    monkeypatch.setattr(module, "result_of", lambda *_: pytest.fail("stylised anew"))
    panel.across.value, panel.down.value = 0.99, 0.0
    assert panel.result.value == result and panel.map.value != map_


def test_what_a_method_does_not_have_is_not_offered(panel):
    panel.method.value = "sanet"
    assert not panel.alpha.disabled
    panel.method.value = "stytr2"
    assert panel.alpha.disabled and panel.layer.options
    panel.method.value = "adain"
    assert not panel.alpha.disabled and panel.layer.options == () and panel.head.options == ()
    before = panel.map.value
    panel.across.value = 0.1  # nothing to point at, and nothing to fail
    assert panel.map.value == before


def test_weights_that_are_not_good_enough_are_said(panel):
    assert "not good enough" not in panel.said.value
    panel.method.value = "sanet"
    assert panel.said.value.endswith("ignores &lt;it&gt;")
    assert [name for name in panel.method.options if "†" in name] == ["SANet †"]


def test_own_pictures_become_choices_and_bad_ones_are_told(panel):
    buffer = io.BytesIO()
    Image.new("RGB", (200, 150), "red").save(buffer, "PNG")
    panel.own_photograph.value = upload("mine.png", buffer.getvalue())
    assert panel.photograph.label == "mine" and read_image(panel.photograph.value, 64, True)[0].min() == 1
    kept = panel.painting.value
    panel.own_painting.value = upload("broken.png", b"no picture")
    assert panel.painting.value == kept and "broken.png" in panel.said.value


def test_a_mistake_is_told_and_the_last_result_stays(panel, monkeypatch):
    def refuse(*_):
        raise UserError("too <small>")

    result = panel.result.value
    monkeypatch.setattr(module, "result_of", refuse)
    panel.alpha.value = 0.3
    assert "too &lt;small&gt;" in panel.said.value and panel.result.value == result


def test_without_a_kernel_there_is_a_picture(panel):
    bundle = panel._repr_mimebundle_()
    assert {"application/vnd.jupyter.widget-view+json", "image/png"} <= bundle.keys()
    with pytest.raises(UserError, match="none of nothing has weights"):
        Panel(SMOKE, ["nothing"])
