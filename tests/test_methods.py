"""Every method and variant against the slow reference, and by identities of the mathematics."""

import numpy as np
import pytest
import reference
import torch
from conftest import tiny_encoder
from hypothesis import given, settings
from hypothesis import strategies as st

from replication import METHODS, build
from replication.encoder import TAPS, Encoder, check_image
from replication.errors import UserError
from replication.layers import mean_std, normalise, upsample_to
from replication.methods import Encoded, adaattn, parameter_count
from replication.methods.adain import adain

VARIANTS = [(name, variant) for name, kind in METHODS.items() for variant in kind.variants]
SIZES = {"content": (40, 36), "style": (33, 47)}


def images(batch: int = 1, **sizes: tuple[int, int]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [torch.rand(batch, 3, *size, generator=generator, dtype=torch.float64) for size in ({**SIZES, **sizes}).values()]


def model(name: str, variant: str | None = None):
    torch.manual_seed(1)
    made = build(name, tiny_encoder(), variant).double()
    with torch.no_grad():  # away from special points: biases that are not zero, attention that is not uniform
        for parameter in made.parameters():
            if parameter.requires_grad:
                parameter.normal_(0, 1 / parameter[0].numel() ** 0.5 if parameter.ndim > 1 else 0.1)
    return made


def arrays(module: torch.nn.Module) -> dict[str, np.ndarray]:
    return {key: value.detach().double().numpy() for key, value in module.state_dict().items()}


def error(got: torch.Tensor, expected: np.ndarray) -> float:
    got = got.detach().double().numpy()
    assert got.shape == expected.shape
    return float(np.linalg.norm(got - expected) / np.linalg.norm(expected))


def check(function, expected, made, *inputs) -> None:
    """float64 to 1e-10 and float32 to 1e-5, relative."""
    assert error(function(made, *inputs), expected) < 1e-10
    single = made.float()
    assert error(function(single, *(x.float() for x in inputs)), expected) < 1e-5
    made.double()


def taps(image: torch.Tensor, encoder: Encoder) -> list[np.ndarray]:
    return reference.encode(image[0].double().numpy(), arrays(encoder.layers))


def reference_output(name: str, variant: str, made, c: list, s: list, size: tuple[int, int]) -> np.ndarray:
    if name == "adain":
        options = {} if variant == "code" else {"content_unbiased": False, "style_unbiased": False, "style_eps": 0.0}
        image = reference.mirrored_decoder(reference.adain(c[3], s[3], **options), arrays(made.decoder))
    elif name == "sanet":
        image = reference.mirrored_decoder(reference.sanet(c, s, arrays(made.transformer)), arrays(made.decoder))
    else:
        mode = "bilinear" if variant == "paper" else "nearest"
        a3 = reference.adaattn_block(c, s, 3, arrays(made.adaattn_3), "", mode)
        state = arrays(made.transformer)
        a4 = reference.adaattn_block(c, s, 4, state, "attn_adain_4_1.", mode)
        a5 = reference.adaattn_block(c, s, 5, state, "attn_adain_5_1.", mode)
        merged = reference.convolution(a4 + reference.double(a5, a4.shape[1:]), state["merge_conv.weight"], state["merge_conv.bias"])
        state = arrays(made.decoder)
        first = np.maximum(reference.convolution(merged, state["decoder_layer_1.1.weight"], state["decoder_layer_1.1.bias"]), 0)
        joined = np.concatenate([reference.double(first, a3.shape[1:]), a3])
        image = reference.decode(joined, state, [1, 4, 7, 10, 14, 17, 21, 24], {10, 17}, "decoder_layer_2.")
    return image[:, : size[0], : size[1]]


def test_encoder_agrees_with_the_reference(tiny):
    image, _ = images()
    for tap, expected in zip(TAPS, taps(image, tiny), strict=True):
        check(lambda made, x, tap=tap: made(x)[tap][0], expected, tiny.double(), image)


@pytest.mark.parametrize(("name", "variant"), VARIANTS)
def test_whole_method_agrees_with_the_reference(name, variant):
    made = model(name, variant)
    content, style = images()
    c, s = taps(content, tiny_encoder()), taps(style, tiny_encoder())
    expected = reference_output(name, variant, made, c, s, SIZES["content"])
    check(lambda m, a, b: m(a, b)[0], expected, made, content, style)


def test_adaattn_code_variant_keeps_the_published_subset(monkeypatch):
    made = model("adaattn", "code")
    made.variant = adaattn.Variant(max_keys=20)
    content, style = images()
    c, s = taps(content, tiny_encoder()), taps(style, tiny_encoder())
    count = s[2][0].size
    subset = adaattn.key_subset(count, 20, 6666).tolist()
    assert adaattn.key_subset(16384, 4096, 6666)[:5].tolist() == [12209, 9403, 8243, 2047, 16010]  # the authors' own draw
    expected = reference.adaattn_block(c, s, 3, arrays(made.adaattn_3), "", "nearest", subset)
    got = made.transfer(made.encode_content(content), made.encode_style(style)).features["relu3_1"][0]
    assert error(got, expected) < 1e-10


@pytest.mark.parametrize("variant", ["code", "paper"])
def test_adain_losses_agree_with_the_reference(variant):
    made = model("adain", variant)
    content, style = images()
    terms = {name: value.item() for name, value in made.losses(content, style, 0).items()}
    encoder = tiny_encoder()
    c, s = taps(content, encoder), taps(style, encoder)
    options = {} if variant == "code" else {"content_unbiased": False, "style_unbiased": False, "style_eps": 0.0}
    target = reference.adain(c[3], s[3], **options)
    size = SIZES["content"]
    output = reference.encode(reference.mirrored_decoder(target, arrays(made.decoder))[:, : size[0], : size[1]], arrays(encoder.layers))
    if variant == "code":
        style_loss = 10 * reference.style(output[:4], s[:4])
    else:
        style_loss = 0.1 * sum(len(a) * reference.style([a], [b]) for a, b in zip(output[:4], s[:4], strict=True))
    assert terms == pytest.approx({"content": reference.mse(output[3], target), "style": style_loss}, rel=1e-9)


@pytest.mark.parametrize(("variant", "pixels", "features"), [("code", 50, 1), ("paper", 1, 50)])
def test_sanet_losses_agree_with_the_reference(variant, pixels, features):
    made = model("sanet", variant)
    content, style = images()
    terms = {name: value.item() for name, value in made.losses(content, style, 0).items()}
    encoder, state, decoder = tiny_encoder(), arrays(made.transformer), arrays(made.decoder)
    c, s = taps(content, encoder), taps(style, encoder)

    def paint(a, b, image):
        return reference.mirrored_decoder(reference.sanet(a, b, state), decoder)[:, : image.shape[2], : image.shape[3]]

    def code(image):
        return reference.encode(image, arrays(encoder.layers))

    output, same_c, same_s = code(paint(c, s, content)), paint(c, c, content), paint(s, s, style)
    expected = {
        "content": sum(reference.mse(reference.normalise(a), reference.normalise(b)) for a, b in zip(output[3:], c[3:], strict=True)),
        "style": 3 * reference.style(output, s),
        "identity_pixels": pixels * (reference.mse(same_c, content[0].numpy()) + reference.mse(same_s, style[0].numpy())),
        "identity_features": features * sum(reference.mse(a, b) for x, y in ((same_c, c), (same_s, s)) for a, b in zip(code(x), y, strict=True)),
    }
    assert terms == pytest.approx(expected, rel=1e-9)


def test_adaattn_losses_agree_with_the_reference():
    made = model("adaattn")
    content, style = images(content=(24, 20), style=(18, 26))
    terms = {name: value.item() for name, value in made.losses(content, style, 3).items()}
    encoder = tiny_encoder()
    c, s = taps(content, encoder), taps(style, encoder)
    output = reference.encode(reference_output("adaattn", "exact", made, c, s, (24, 20)), arrays(encoder.layers))
    limit = s[1][0].size // 4
    local = 0.0
    for level in range(2, 6):
        subset = adaattn.key_subset(s[level - 1][0].size, limit, 3)
        target = reference.adaattn_local_target(c, s, level, None if subset is None else subset.tolist())
        local += reference.mse(output[level - 1], target)
    expected = {"global_style": 10 * reference.style(output[1:], s[1:]), "local_feature": 3 * local}
    assert terms == pytest.approx(expected, rel=1e-9)


COUNTS = {"adain": (3_505_219, 7_010_959), "sanet": (7_966_275, 20_911_247), "adaattn": (13_629_891, 26_574_863)}
PARTS = {
    ("sanet", "transformer"): 4_461_056, ("sanet", "transformer.sanet4_1"): 1_050_624, ("sanet", "decoder"): 3_505_219,
    ("adaattn", "transformer"): 9_066_752, ("adaattn", "transformer.attn_adain_4_1"): 2_107_776,
    ("adaattn", "transformer.attn_adain_5_1"): 4_599_168, ("adaattn", "decoder"): 4_095_043, ("adaattn", "adaattn_3"): 468_096,
}  # fmt: skip


@pytest.mark.parametrize("name", METHODS)
def test_parameter_counts_at_vgg19_width(name):
    made = build(name, Encoder())
    assert (parameter_count(made), parameter_count(made, trainable=False)) == COUNTS[name]
    for (method, part), count in PARTS.items():
        if method == name:
            assert parameter_count(made.get_submodule(part)) == count, part


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
        assert torch.allclose(whole[index], made(content[index : index + 1], style[index : index + 1])[0], rtol=1e-10, atol=1e-12)
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
    content, style = (x.float() for x in images(batch=2))
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
    content, style = (x.float() for x in images(content=(48, 48), style=(48, 48)))
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


def shuffled(code: Encoded, taps: tuple[str, ...]) -> Encoded:
    """The same style positions in another order, the same order at every tap of equal size."""
    features = dict(code.features)
    for tap in taps:
        x = features[tap]
        order = torch.randperm(x.shape[2] * x.shape[3], generator=torch.Generator().manual_seed(2))
        features[tap] = x.flatten(2)[:, :, order].view_as(x)
    return Encoded(features, code.size)


@pytest.mark.parametrize("name", ["adain", "sanet"])
def test_style_positions_may_be_shuffled(name):
    made = model(name)
    content, style = images()
    c, s = made.encode_content(content), made.encode_style(style)
    plain, other = (made.transfer(c, code).features["relu4_1"] for code in (s, shuffled(s, ("relu4_1", "relu5_1")[: 1 + (name == "sanet")])))
    assert torch.allclose(plain, other, rtol=1e-9, atol=1e-10)


def test_uniform_attention_makes_adaattn_adain():
    block = adaattn.AttentiveNormalisation(5, 7).double()
    with torch.no_grad():
        block.f.weight.zero_(), block.f.bias.zero_()
        block.h.weight.copy_(torch.eye(5)[:, :, None, None]), block.h.bias.zero_()
    c, s = torch.rand(1, 5, 6, 7, dtype=torch.float64), torch.rand(1, 5, 4, 5, dtype=torch.float64)
    got = block(c, s, torch.rand(1, 7, 6, 7).double(), torch.rand(1, 7, 4, 5).double())
    mean, std = mean_std(s, correction=0, eps=0.0)
    assert torch.allclose(got, std * normalise(c) + mean, atol=1e-12)


def test_equal_style_vectors_make_adaattn_adain():
    """A style of equal vectors has no deviation: both give the style's mean everywhere."""
    block = adaattn.AttentiveNormalisation(5, 7).double()
    c, s = torch.rand(1, 5, 6, 7).double(), torch.rand(1, 5, 1, 1).double().expand(1, 5, 4, 5)
    got = block(c, s, torch.rand(1, 7, 6, 7).double(), torch.rand(1, 7, 4, 5).double())
    expected = adain(c, block.h(s), METHODS["adain"].variants["paper"])
    assert torch.allclose(got, expected, atol=1e-7)


def test_alpha_runs_from_reconstruction_to_style():
    made = model("adain")
    content, style = images()
    c, s = made.encode_content(content), made.encode_style(style)
    assert torch.equal(made.transfer(c, s, alpha=0.0).features["relu4_1"], c.features["relu4_1"])
    half = made.transfer(c, s, alpha=0.5).features["relu4_1"]
    assert torch.allclose(half, (made.transfer(c, s).features["relu4_1"] + c.features["relu4_1"]) / 2)
    made = model("sanet")
    c, s = made.encode_content(content), made.encode_style(style)
    assert torch.allclose(made.transfer(c, s, alpha=0.0).features["relu4_1"], made.transfer(c, c).features["relu4_1"])


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
    with pytest.raises(UserError, match="adain, sanet, adaattn"):
        build("gatys")
    with pytest.raises(UserError, match="code, paper"):
        build("sanet", tiny_encoder(), "fast")
    with pytest.raises(UserError, match="vgg19 or student"):
        build("sanet", "resnet")
    made = build("sanet", tiny_encoder())
    with pytest.raises(UserError, match="3 contents and 2 styles"):
        made(torch.rand(3, 3, 64, 64), torch.rand(2, 3, 64, 64))

