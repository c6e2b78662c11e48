"""Published checkpoint layouts: names and shapes strictly, and real weights where they are at hand."""

import pickle

import pytest
import torch
from safetensors.torch import save_file

from replication import build, data, metrics, official
from replication.encoder import CONVOLUTIONS, Encoder
from replication.errors import UserError

LATER = {45: 512, 48: 512, 51: 512}


def published_files(folder, method, suffix=".pth"):
    """Random weights in the published layout."""
    torch.manual_seed(0)
    model = build(method, Encoder())
    vgg = {f"{i}.{kind}": getattr(model_layer, kind) for i in (0, *CONVOLUTIONS) for model_layer in [Encoder().layers[i]] for kind in ("weight", "bias")}
    vgg |= {f"{i}.weight": torch.zeros(512, 512, 3, 3) for i in LATER} | {f"{i}.bias": torch.zeros(512) for i in LATER}
    states = {"vgg": vgg, **{role: model.get_submodule(part).state_dict() for role, part in official.ROLES[method].items()}}
    paths = {}
    for role, state in states.items():
        paths[role] = folder / f"{role}{suffix}"
        state = {key: value.detach().contiguous() for key, value in state.items()}
        torch.save(state, paths[role]) if suffix == ".pth" else save_file(state, paths[role])
    return model, paths


KEYS = {
    ("adain", "decoder"): {f"{i}.{k}" for i in (1, 5, 8, 11, 14, 18, 21, 25, 28) for k in ("weight", "bias")},
    ("sanet", "transformer"): {f"{b}.{m}.{k}" for b in ("sanet4_1", "sanet5_1") for m in ("f", "g", "h", "out_conv") for k in ("weight", "bias")}
    | {"merge_conv.weight", "merge_conv.bias"},
    ("adaattn", "transformer"): {f"attn_adain_{b}.{m}.{k}" for b in ("4_1", "5_1") for m in "fgh" for k in ("weight", "bias")}
    | {"merge_conv.weight", "merge_conv.bias"},
    ("adaattn", "adaattn_3"): {f"{m}.{k}" for m in "fgh" for k in ("weight", "bias")},
    ("adaattn", "decoder"): {f"decoder_layer_1.1.{k}" for k in ("weight", "bias")}
    | {f"decoder_layer_2.{i}.{k}" for i in (1, 4, 7, 10, 14, 17, 21, 24) for k in ("weight", "bias")},
}


@pytest.mark.parametrize("method", official.ROLES)
def test_published_layouts_load(method, tmp_path):
    made, paths = published_files(tmp_path, method)
    loaded = official.load(method, paths)
    for role, part in official.ROLES[method].items():
        state = loaded.get_submodule(part).state_dict()
        assert state.keys() == KEYS.get((method, role), state.keys())
        assert all(torch.equal(state[key], value) for key, value in made.get_submodule(part).state_dict().items())
    assert loaded.variant == type(loaded).variants["code"] and loaded.weights.keys() == paths.keys()
    assert loaded(torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 72)).shape == (1, 3, 64, 64)


@pytest.fixture(scope="module")
def sanet_files(tmp_path_factory):
    return published_files(tmp_path_factory.mktemp("sanet"), "sanet", ".safetensors")[1]


def altered(files, tmp_path, change):
    state = official.read_state(files["transformer"])
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
        official.load("sanet", altered(sanet_files, tmp_path, change))


class Code:
    def __reduce__(self):
        return (print, ("code in a checkpoint ran",))


def test_wrong_files_are_explained(sanet_files, tmp_path, capsys):
    with pytest.raises(UserError, match="missing .'transformer'.*unknown .'transform'"):
        official.load("sanet", {**{k: v for k, v in sanet_files.items() if k != "transformer"}, "transform": tmp_path})
    with pytest.raises(UserError, match="adain"):
        official.load("gatys", sanet_files)
    with pytest.raises(UserError, match="does not exist"):
        official.load("sanet", {**sanet_files, "decoder": tmp_path / "no.pth"})
    short = tmp_path / "short.pth"
    torch.save({"a": torch.zeros(1000)}, short)
    short.write_bytes(short.read_bytes()[:700])
    with pytest.raises(UserError, match="short.pth"):
        official.read_state(short)
    text = tmp_path / "text.pth"
    text.write_text("not a checkpoint")
    with pytest.raises(UserError, match="text.pth"):
        official.read_state(text)
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(UserError, match="not a plain state dictionary"):
        official.read_state(tmp_path / "list.pth")
    (tmp_path / "code.pth").write_bytes(pickle.dumps({"a": Code()}, protocol=2))
    with pytest.raises(UserError, match="code.pth"):
        official.read_state(tmp_path / "code.pth")
    assert "ran" not in capsys.readouterr().out


def test_official_adain_paints(shared):
    """The published decoder and VGG: the painting's statistics, the photograph's structure."""
    files = {"vgg": shared / "weights/vgg_normalised_relu5_1.safetensors", "decoder": shared / "weights/adain_official/decoder_8bit.pth"}
    model = official.load("adain", files)
    content, style = data.contents(1)[0].tensor(256)[None], data.styles(20)[6].tensor(256)[None]
    with torch.inference_mode():
        result = model(content, style)
    assert result.shape == content.shape and result.min() > -0.6 and result.max() < 1.6
    values = metrics.measure(result, content, metrics.encode(content), metrics.encode(style))
    untouched = metrics.measure(content, content, metrics.encode(content), metrics.encode(style))
    assert values["style_loss"] < 0.5 * untouched["style_loss"]
    assert values["ssim_grey"] > 0.25 and values["content_loss"] < 2
