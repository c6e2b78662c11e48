"""Every method and variant against the slow reference; sizes, batches, gradients, counts, wrong input."""

import re

import pytest
import reference.adaattn
import torch
from helpers.models import VARIANTS, check, error, images, model, reference_output, taps
from helpers.networks import tiny_encoder
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.common import arrays

from replication import build, official, pretrained
from replication.errors import UserError
from replication.files import ROOT
from replication.methods import METHODS, default_variant, method_name
from replication.methods.adaattn import Variant, key_subset
from replication.methods.base import parameter_count, stylisation_parameters
from replication.nn.encoder import TAPS, Encoder, check_image
from replication.nn.layers import ReflectionPad2d, upsample_to
from replication.sources import PACKAGE


def test_encoder_agrees_with_the_reference(tiny):
    image, _ = images()
    for tap, expected in zip(TAPS, taps(image, tiny), strict=True):
        check(lambda made, x, tap=tap: made(x)[tap][0], expected, tiny.double(), image)


@pytest.mark.parametrize(("name", "variant"), VARIANTS)
def test_whole_method_agrees_with_the_reference(name, variant):
    made = model(name, variant)
    content, style = images()
    expected = reference_output(made, name, variant, content, style)
    check(lambda m, a, b: m(a, b)[0], expected, made, content, style)


def test_adaattn_code_variant_keeps_the_published_subset(monkeypatch):
    made = model("adaattn", "code")
    made.variant = Variant(max_keys=20)
    content, style = images()
    c, s = taps(content, tiny_encoder()), taps(style, tiny_encoder())
    count = s[2][0].size
    subset = key_subset(count, 20, 6666).tolist()
    assert key_subset(16384, 4096, 6666)[:5].tolist() == [12209, 9403, 8243, 2047, 16010]  # the authors' own draw
    expected = reference.adaattn.adaattn_block(c, s, 3, arrays(made.adaattn_3), "", "nearest", subset)
    got = made.transfer(made.encode_content(content), made.encode_style(style)).features["relu3_1"][0]
    assert error(got, expected) < 1e-10


# Trained, with the encoder that training needs, and what a stylisation reads; at VGG-19 width, from the specifications.
COUNTS = {
    "adain": (3_505_219, 7_010_959, 7_010_959),
    "sanet": (7_966_275, 20_911_247, 20_911_247),
    "manet": (6_657_091, 19_602_063, 10_162_831),
    "mccnet": (4_555_843, 17_763_471, 8_324_239),
    "adaattn": (13_629_891, 26_574_863, 26_574_863),
    "artflow": (6_463_616, 9_969_356, 6_463_616),
    "microast": (471_987, 3_977_727, 471_987),
    "stytr2": (35_394_115, 48_339_087, 35_394_115),
    "avatarnet": (3_549_827, 7_055_567, 7_055_567),
    "mst": (3_505_219, 7_010_959, 7_010_959),
    "stya2k": (11_183_689, 24_128_661, 24_128_661),
    "datnet": (13_629_914, 26_574_886, 26_574_886),
    "dagstyle": (7_057_291, 20_002_263, 7_057_291),
    "aespanet": (10_728_771, 23_673_743, 23_673_743),
}
PARTS = {
    "sanet": {"transformer": 4_461_056, "transformer.sanet4_1": 1_050_624, "decoder": 3_505_219},
    "manet": {"ma_module": 3_151_872, "ma_module.CA": 1_050_624, "ma_module.SSA": 1_050_624},
    "mccnet": {"mcc_module": 1_313_280, "mcc_module.MCCN.h": 262_656},
    "adaattn": {
        "transformer": 9_066_752,
        "transformer.attn_adain_4_1": 2_107_776,
        "transformer.attn_adain_5_1": 4_599_168,
        "decoder": 4_095_043,
        "adaattn_3": 468_096,
    },
    "datnet": {"eca": 23},
    "artflow": {
        "glow.blocks.0": 2_550_400,
        "glow.blocks.1": 3_913_216,
        "glow.blocks.0.flows.3.actnorm": 24,
        "glow.blocks.1.flows.3.actnorm": 96,
        "glow.blocks.0.flows.0.invconv": 300,
        "glow.blocks.1.flows.0.invconv": 4_656,
        "glow.blocks.0.flows.0.coupling": 318_476,
        "glow.blocks.1.flows.7.coupling": 484_400,
    },
    "microast": {"content_encoder": 157_792, "style_encoder": 157_792, "modulator": 2_560, "decoder": 153_843},
    "stytr2": {
        "embedding": 98_816,
        "transformer": 31_790_080,
        "transformer.encoder_c": 9_457_152,
        "transformer.encoder_s": 9_457_152,
        "transformer.decoder": 12_613_120,
        "transformer.new_ps": 262_656,
        "decoder": 3_505_219,
    },
    "stya2k": {
        "A2K": 526_338,
        "transform": 6_562_308,
        "transform.attn_adain_4_1": 2_101_250,
        "transform.attn_adain_5_1": 2_101_250,
        "transform.merge_conv": 2_359_808,
        "decoder": 4_095_043,
    },
    "aespanet": {
        "transformer": 7_223_552,
        "transformer.attn_adain_4_1": 1_677_696,
        "transformer.attn_adain_5_1": 3_186_048,
        "decoder": 3_505_219,
    },
}
ARMS = {
    ("avatarnet", "port"): 3_505_219,
    ("datnet", "spatial"): 13_629_891,
    ("dagstyle", "no-daconv"): 6_565_763,
    ("dagstyle", "no-gdp"): 2_596_747,
    ("dagstyle", "transformer"): 6_846_851,
    ("dagstyle", "no-gdp-matched"): 7_139_935,
}


@pytest.mark.parametrize("name", METHODS)
def test_parameter_counts_at_vgg19_width(name):
    made = build(name, Encoder())
    assert (parameter_count(made), parameter_count(made, trainable=False), stylisation_parameters(made)) == COUNTS[name]
    for part, count in PARTS.get(name, {}).items():
        assert parameter_count(made.get_submodule(part), trainable=False) == count, part


@pytest.mark.parametrize(("name", "variant"), ARMS)
def test_parameter_counts_of_arms(name, variant):
    assert parameter_count(build(name, Encoder(), variant)) == ARMS[name, variant]


@pytest.mark.parametrize("width", ["student", "vgg19"])
@pytest.mark.parametrize("name", METHODS)
def test_every_method_builds_at_both_widths(name, width):
    made = build(name, width)
    with torch.inference_mode():
        result = made(torch.rand(1, 3, 72, 64), torch.rand(1, 3, 64, 80))
    assert result.shape == (1, 3, 72, 64) and torch.isfinite(result).all() and made.encoder.name == width


@pytest.mark.parametrize("name", METHODS)
def test_the_four_steps_are_forward(name):
    made = model(name)
    content, style = images()
    steps = made.decode(made.transfer(made.encode_content(content), made.encode_style(style)))
    assert torch.equal(steps, made(content, style))


@pytest.mark.parametrize("name", METHODS)
def test_a_batch_is_its_items(name):
    made = model(name)
    content, style = images(batch=3)
    whole = made(content, style)
    for index in range(3):
        assert torch.allclose(
            whole[index], made(content[index : index + 1], style[index : index + 1])[0], rtol=1e-10, atol=1e-12
        )
    assert torch.allclose(made(content, style[:1])[1], made(content[1:2], style[:1])[0], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", METHODS)
@settings(max_examples=8, deadline=None, derandomize=True)
@given(st.tuples(*[st.integers(64, 101)] * 4))
def test_any_size(name, sizes):
    made = build(name, tiny_encoder())
    result = made(torch.rand(1, 3, *sizes[:2]), torch.rand(1, 3, *sizes[2:]))
    assert result.shape == (1, 3, *sizes[:2]) and torch.isfinite(result).all()


@pytest.mark.parametrize("side", [64, 73, 79, 80])
def test_published_sizes_are_not_changed(side):
    """At sides that the published SANet accepts, up-sampling by two needs no cut."""
    deep, shallow = -(-side // 16), -(-side // 8)
    x = torch.rand(1, 2, deep, deep)
    assert torch.equal(upsample_to(x, (shallow, shallow)), torch.nn.functional.interpolate(x, scale_factor=2))


@pytest.mark.parametrize(("name", "variant"), VARIANTS)
def test_gradients_reach_every_trained_parameter(name, variant):
    made = model(name, variant).float().train()
    # Large enough for several of StyA2K's blocks, and several points in each, at every level: with a single key queries
    # do not matter.
    content, style = (x.float() for x in images(batch=2, content=(80, 96), style=(96, 80)))
    sum(made.losses(content, style, 0).values()).backward()
    for key, parameter in made.named_parameters():
        if parameter.requires_grad:
            # A bias of g adds the same number to all logits of a query; softmax does not see it.
            assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), key
            if not key.endswith("g.bias"):
                assert parameter.grad.abs().max() > 0, key
        else:
            assert parameter.grad is None, key


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("case", ["constant style", "constant content", "identical"])
def test_degenerate_inputs_stay_finite(name, case):
    made = model(name).float().train()
    content, style = (x.float() for x in images(2, content=(48, 48), style=(48, 48)))
    if case == "constant style":
        style = torch.full_like(style, 0.4)
    elif case == "constant content":
        content = torch.full_like(content, 0.4)
    else:
        style = content
    losses = sum(made.losses(content, style, 0).values())
    losses.backward()
    assert torch.isfinite(losses) and torch.isfinite(made(content, style)).all()
    assert all(torch.isfinite(p.grad).all() for p in made.parameters() if p.requires_grad)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.rand(3, 64, 64), r"\(batch, 3, height, width\)"),
        (torch.rand(1, 1, 64, 64), r"got \(1, 1, 64, 64\)"),
        (torch.full((1, 3, 64, 64), torch.nan), "NaN"),
        (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), "divide bytes by 255"),
    ],
)
def test_wrong_images_are_explained(image, message):
    with pytest.raises(UserError, match=message):
        check_image(image)


def test_too_small_images_are_explained(tiny):
    with pytest.raises(UserError, match="16x64 px; relu5_1 needs at least 17 px"):
        tiny(torch.rand(1, 3, 64, 16))
    assert tiny(torch.rand(1, 3, 17, 17))["relu5_1"].shape[2:] == (2, 2)


def test_wrong_names_are_explained():
    with pytest.raises(UserError, match="adain, sanet, manet"):
        build("gatys")
    with pytest.raises(UserError, match="code, paper"):
        build("sanet", tiny_encoder(), "fast")
    with pytest.raises(UserError, match="vgg19, student or half"):
        build("sanet", "resnet")
    made = build("sanet", tiny_encoder())
    with pytest.raises(UserError, match="3 contents and 2 styles"):
        made(torch.rand(3, 3, 64, 64), torch.rand(2, 3, 64, 64))


@pytest.mark.parametrize("written", ["stya2k", "StyA2K", "STYA2K", "sty-a2k"])
def test_names_are_known_as_people_write_them(written):
    assert method_name(written) == "stya2k"
    assert method_name("Avatar-Net") == "avatarnet" and method_name("dag style") == "dagstyle"
    assert method_name("all", "autoencoder", "all") == "all"


def test_a_near_miss_is_answered_with_the_name():
    with pytest.raises(UserError, match="unknown method 'stya2'; did you mean stya2k"):
        method_name("stya2")
    with pytest.raises(UserError, match="did you mean dagstyle"):
        build("dagsytle")
    with pytest.raises(UserError, match="did you mean sanet"):
        official.load("sannet", {})
    with pytest.raises(UserError, match="did you mean autoencoder[?] choose .*, autoencoder or all"):
        method_name("autoencodr", "autoencoder", "all")
    for named in (method_name, default_variant):
        with pytest.raises(UserError, match="unknown method 'gatys'; choose"):
            named("gatys")
    assert pretrained("StyA2K") is pretrained("StyA2K") and pretrained("StyA2K").title == "StyA2K"


def test_padding_keeps_the_precision_of_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        assert ReflectionPad2d(1)(torch.rand(1, 2, 4, 4, dtype=torch.bfloat16)).dtype == torch.bfloat16
        assert (
            torch.nn.ReflectionPad2d(1)(torch.rand(1, 2, 4, 4, dtype=torch.bfloat16)).dtype == torch.float32
        )  # else ours is not needed


def test_papers_bib_has_every_paper_that_a_method_names():
    named = {
        number
        for path in PACKAGE.glob("methods/*.py")
        for number in re.findall(r"arXiv (\d{4}\.\d{5})", path.read_text())
    }
    listed = re.findall(r"^  eprint = \{(.+)\},$", (ROOT / "papers.bib").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(named) > 10 and set(listed) == named
