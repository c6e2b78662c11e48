"""Published checkpoint layouts: names and shapes strictly, and real weights where they are at hand."""

import pickle

import pytest
import torch
from safetensors.torch import save_file

from replication import build
from replication.data.images import contents, styles
from replication.errors import UserError
from replication.methods.base import parameter_count
from replication.metrics.image import Target, measure_image
from replication.nn.encoder import CONVOLUTIONS, Encoder
from replication.nn.state import read_state
from replication.weights.published import LAYOUTS, load

LATER = {45: 512, 48: 512, 51: 512}


KINDS = ("weight", "bias")
MIRRORED = (1, 5, 8, 11, 14, 18, 21, 25, 28)


def named(*names, kinds=KINDS):
    return {f"{name}.{kind}" for name in names for kind in kinds}


DECODER = named(*MIRRORED)
SKIP_DECODER = named("decoder_layer_1.1", *(f"decoder_layer_2.{i}" for i in (1, 4, 7, 10, 14, 17, 21, 24)))
A2K = {"sim_alpha", "sim_beta"} | named("q", "k", "v", "q2", "k2", "v2", "fusion1", "fusion2")
MICRO = named(
    *(f"enc1.{i}.conv_layer" for i in (0, 2, 4, 6, 8)),
    *(f"enc{e}.conv{c}.conv_layer" for e in ("1.10", "2.0") for c in (1, 2)),
)
ATTENTION = ("in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias")
ENCODER_LAYER = {f"self_attn.{k}" for k in ATTENTION} | named("linear1", "linear2", "norm1", "norm2")
DECODER_LAYER = ENCODER_LAYER | {f"multihead_attn.{k}" for k in ATTENTION} | named("norm3")
FLOW = (
    {f"actnorm.{k}" for k in ("loc", "scale", "initialized")}
    | {f"invconv.{k}" for k in ("w_l", "w_s", "w_u", "w_p", "u_mask", "l_mask", "l_eye", "s_sign")}
    | named("coupling.net.0", "coupling.net.2", "coupling.net.4.conv")
    | {"coupling.net.4.scale"}
)
BLOCKS = {1: (0, 2), 2: (5, 9), 3: (12, 16), 4: (19, 22, 25, 29)}
# Published keys of every file, written down from the authors' repositories.
KEYS = {
    "adain": {"decoder": DECODER},
    "sanet": {
        "decoder": DECODER,
        "transformer": named("merge_conv", *(f"sanet{n}_1.{m}" for n in (4, 5) for m in ("f", "g", "h", "out_conv"))),
    },
    "manet": {
        "decoder": DECODER,
        "ma_module": named(*(f"{b}.{m}" for b in ("CA", "CSA", "SSA") for m in ("f", "g", "h", "out_conv"))),
    },
    "mccnet": {"decoder": DECODER, "mcc_module": named(*(f"MCCN.{m}" for m in ("f", "g", "h", "out_conv", "fc")))},
    "adaattn": {
        "decoder": SKIP_DECODER,
        "adaattn_3": named("f", "g", "h"),
        "transformer": named("merge_conv", *(f"attn_adain_{n}_1.{m}" for n in (4, 5) for m in "fgh")),
    },
    "stya2k": {
        "decoder": SKIP_DECODER,
        "A2K": A2K,
        "transform": {f"attn_adain_{n}_1.{k}" for n in (4, 5) for k in A2K} | named("merge_conv"),
    },
    "microast": {
        "content_encoder": MICRO,
        "style_encoder": MICRO,
        "modulator": named(*(f"{n}.0.conv_layer" for n in ("weight1", "bias1", "weight2", "bias2"))),
        "decoder": named(
            *(f"dec{d}.conv{c}.conv_layer" for d in (1, 2) for c in (1, 2)),
            *(f"dec3.{i}.conv_layer" for i in (1, 3, 6, 8, 10)),
        ),
    },
    "stytr2": {
        "embedding": named("proj"),
        "decoder": DECODER,
        "transformer": {f"encoder_{e}.layers.{i}.{k}" for e in "cs" for i in range(3) for k in ENCODER_LAYER}
        | {f"decoder.layers.{i}.{k}" for i in range(3) for k in DECODER_LAYER}
        | named("decoder.norm", "new_ps"),
    },
    "artflow": {"glow": {f"blocks.{b}.flows.{f}.{k}" for b in (0, 1) for f in range(8) for k in FLOW}},
    "mst": {
        "model_state": named(
            *(f"vgg_encoder.block{b}.{i}" for b, block in BLOCKS.items() for i in block),
            *(f"decoder.net.{i}" for i in MIRRORED),
        )
    },
    "avatarnet": {
        "check_point": named(
            "encoder.encoder.0.0",
            *(
                f"encoder.encoder.{n}.{i}"
                for n, block in ((1, (2, 5)), (2, (7, 10)), (3, (12, 14, 16, 19)))
                for i in block
            ),
            *(
                f"decoder.decoder.{n}.{i}"
                for n, block in enumerate(((1, 5, 8, 11), (14, 18), (21, 25), (28,)))
                for i in block
            ),
        )
    },
}
COUNTS = {
    ("stytr2", "transformer"): 130,
    ("artflow", "glow"): 288,
    ("mst", "model_state"): 38,
    ("avatarnet", "check_point"): 36,
    ("manet", "ma_module"): 24,
}
# torchvision's numbers of the convolutions up to relu4_1 and their places here.
FEATURES = {0: 2, 2: 5, 5: 9, 7: 12, 10: 16, 12: 19, 14: 22, 16: 25, 19: 29}


def ours(method, key):
    """The parameter that a published key stands for."""
    if method not in ("mst", "avatarnet"):
        return key
    *front, index, kind = key.split(".")
    if method == "mst":
        return f"decoder.{index}.{kind}" if front[0] == "decoder" else f"encoder.layers.{index}.{kind}"
    return f"decoder.{index}.{kind}" if front[0] == "decoder" else f"encoder.layers.{FEATURES[int(index)]}.{kind}"


def published_files(folder, method, suffix=".pth"):
    """Random weights in the published layout."""
    torch.manual_seed(0)
    layout = LAYOUTS[method]
    model = build(method, Encoder(), layout.variant)
    states = {}
    if layout.vgg:
        layers = Encoder().layers
        vgg = {f"{i}.{kind}": getattr(layers[i], kind) for i in (0, *CONVOLUTIONS) for kind in KINDS}
        vgg |= {f"{i}.weight": torch.zeros(512, 512, 3, 3) for i in LATER} | {
            f"{i}.bias": torch.zeros(512) for i in LATER
        }
        states["vgg"] = vgg
    for role, keys in KEYS[method].items():
        module = model.get_submodule(layout.roles[role]).state_dict()
        states[role] = {key: module[ours(method, key)] for key in keys}
    paths = {}
    for role, state in states.items():
        paths[role] = folder / f"{role}{suffix}"
        state = {key: value.detach().contiguous() for key, value in state.items()}
        wrapped = {"iter": 1, "state_dict": state, "optimizer": {}} if method == "artflow" else state
        torch.save(wrapped, paths[role]) if suffix == ".pth" else save_file(state, paths[role])
    return model, paths


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
    return published_files(tmp_path_factory.mktemp("sanet"), "sanet", ".safetensors")[1]


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
