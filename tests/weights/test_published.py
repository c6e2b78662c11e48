"""Published checkpoint layouts: names and shapes strictly, and real weights where they are at hand."""

import pickle

import pytest
import torch
from helpers.published_files import COUNTS, KEYS, ours, published_files

from replication.data.images import contents, styles
from replication.errors import UserError
from replication.methods.base import parameter_count
from replication.metrics.image import Target, measure_image
from replication.nn.state import read_state
from replication.weights.published import LAYOUTS, load


@pytest.mark.parametrize("method", LAYOUTS)
def test_published_layouts_load(method, tmp_path):
    made, paths = published_files(tmp_path, method)
    loaded = load(method, paths)
    layout = LAYOUTS[method]
    assert layout.roles.keys() == KEYS[method].keys()
    for role, part in layout.roles.items():
        assert len(KEYS[method][role]) == COUNTS.get((method, role), len(KEYS[method][role]))
        state, expected = loaded.get_submodule(part).state_dict(), made.get_submodule(part).state_dict()
        filled = {ours(method, key) for key in KEYS[method][role]}
        assert state.keys() - filled <= {"encoder.layers.0.weight", "encoder.layers.0.bias"}
        assert all(torch.equal(state[key], expected[key]) for key in filled)
    assert loaded.variant == type(loaded).variants[layout.variant] and loaded.weights.keys() == paths.keys()
    assert loaded(torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 72)).shape == (1, 3, 64, 64)


def test_torchvision_colours_stand_in_avatarnet(tmp_path):
    _, paths = published_files(tmp_path, "avatarnet")
    first = load("avatarnet", paths).encoder.layers[0]
    white = first(torch.ones(1, 3, 1, 1)).flatten()
    assert torch.allclose(white, (1 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225]))


def test_a_published_variant_can_be_chosen(tmp_path):
    _, paths = published_files(tmp_path, "artflow")
    assert load("artflow", paths, "wct").variant.operator == "wct"
    with pytest.raises(UserError, match="choose adain, wct"):
        load("artflow", paths, "fast")


@pytest.fixture(scope="module")
def sanet_files(tmp_path_factory):
    return published_files(tmp_path_factory.mktemp("sanet"), "sanet", "{}.safetensors")[1]


def altered(files, tmp_path, change):
    state = read_state(files["transformer"])
    change(state)
    path = tmp_path / "altered.pth"
    torch.save(state, path)
    return {**files, "transformer": path}


def nan(state):
    state["merge_conv.bias"] = torch.full((512,), torch.nan)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("sanet4_1.f.bias"), "missing sanet4_1.f.bias"),
        (lambda s: s.update({"module.x": torch.zeros(1)}), "unknown module.x"),
        (lambda s: s.update({"merge_conv.bias": torch.zeros(3)}), r"merge_conv.bias: \(3,\) instead of \(512,\)"),
        (nan, "NaN or infinite values in merge_conv.bias"),
    ],
)
def test_differences_are_listed(change, message, sanet_files, tmp_path):
    with pytest.raises(UserError, match=message):
        load("sanet", altered(sanet_files, tmp_path, change))


class Code:
    def __reduce__(self):
        return (print, ("code in a checkpoint ran",))


@pytest.mark.parametrize("text", ["epoch: 3\n", "编码器" * 200, "x" * 511 + "é"])
def test_a_text_file_is_named_as_one(text, sanet_files, tmp_path):
    (tmp_path / "notes.pth").write_text(text, encoding="utf-8")
    for role in ("decoder", "vgg"):
        with pytest.raises(UserError, match="notes.pth is a text file, not a checkpoint"):
            load("sanet", {**sanet_files, role: tmp_path / "notes.pth"})


def test_wrong_files_are_explained(sanet_files, tmp_path, capsys):
    with pytest.raises(UserError, match="missing .'transformer'.*unknown .'transform'"):
        load("sanet", {**{k: v for k, v in sanet_files.items() if k != "transformer"}, "transform": tmp_path})
    with pytest.raises(UserError, match="adain"):
        load("gatys", sanet_files)
    with pytest.raises(UserError, match="does not exist"):
        load("sanet", {**sanet_files, "decoder": tmp_path / "no.pth"})
    short = tmp_path / "short.pth"
    torch.save({"a": torch.zeros(1000)}, short)
    short.write_bytes(short.read_bytes()[:700])
    with pytest.raises(UserError, match="short.pth"):
        read_state(short)
    text = tmp_path / "text.pth"
    text.write_text("not a checkpoint")
    with pytest.raises(UserError, match="text.pth"):
        read_state(text)
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(UserError, match="not a plain state dictionary"):
        read_state(tmp_path / "list.pth")
    (tmp_path / "code.pth").write_bytes(pickle.dumps({"a": Code()}, protocol=2))
    with pytest.raises(UserError, match="code.pth"):
        read_state(tmp_path / "code.pth")
    assert "ran" not in capsys.readouterr().out


def test_official_adain_paints(shared):
    """The published decoder and VGG: the painting's statistics, the photograph's structure."""
    files = {
        "vgg": shared / "weights/vgg_normalised_relu5_1.safetensors",
        "decoder": shared / "weights/adain_official/decoder_8bit.pth",
    }
    model = load("adain", files)
    content, style = contents(1)[0].tensor(256)[None], styles(20)[6].tensor(256)[None]
    with torch.inference_mode():
        result = model(content, style)
    assert result.shape == content.shape and result.min() > -0.6 and result.max() < 1.6
    values = measure_image(result, Target(content), Target(style))
    untouched = measure_image(content, Target(content), Target(style))
    assert values["style_loss"] < 0.5 * untouched["style_loss"]
    assert values["ssim_grey"] > 0.25 and values["content_loss"] < 2


def test_official_microast_paints(shared):
    """The published weights: the known size, and the painting's statistics with the photograph's structure."""
    folder = shared / "weights/microast_official"
    files = {role: folder / f"{role}_iter_160000.pth.tar" for role in LAYOUTS["microast"].roles}
    model = load("microast", files)
    assert parameter_count(model) == 471_987
    content, style = contents(1)[0].tensor(256)[None], styles(20)[6].tensor(256)[None]
    with torch.inference_mode():
        result = model(content, style)
    values = measure_image(result, Target(content), Target(style))
    untouched = measure_image(content, Target(content), Target(style))
    assert values["style_loss"] < 0.7 * untouched["style_loss"]
    assert values["ssim_grey"] > 0.4 and values["content_loss"] < 2
