"""StyleID's mechanism on a tiny random UNet, where the answers are known."""

import warnings
from dataclasses import replace

import pytest
import torch
from helpers.maps import PALETTE, stripes

from replication.data.maps import SemanticMap
from replication.errors import UserError
from replication.methods import styleid
from replication.methods.styleid import (
    Backbone,
    SemanticSettings,
    Settings,
    StyleID,
    _layer_grid,
    ablations,
    ddim,
    invert,
    latent_adain,
    layers_of,
    plain,
    ruled,
    sample,
    scaled_linear,
    stable_diffusion,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    diffusers = pytest.importorskip("diffusers")


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    torch.manual_seed(0)
    unet = (
        diffusers.UNet2DConditionModel(
            sample_size=16,
            in_channels=3,
            out_channels=3,
            block_out_channels=(16, 32),
            layers_per_block=1,
            cross_attention_dim=8,
            attention_head_dim=4,
            norm_num_groups=8,
            down_block_types=("CrossAttnDownBlock2D",) * 2,
            up_block_types=("CrossAttnUpBlock2D",) * 2,
        )
        .eval()
        .requires_grad_(False)
    )
    unet.conv_out.weight.mul_(0.3)  # a gentle eps, so that steps need not be tiny
    return Backbone(
        unet, scaled_linear(), torch.randn(1, 3, 8), lambda image: 2 * image - 1, lambda latent: (latent + 1) / 2
    )


QUICK = Settings(steps=10)


def pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return tuple(torch.rand(1, 3, 16, 16, generator=generator) for _ in range(2))


def silent(backbone: Backbone) -> Backbone:
    """The same model with eps = 0."""

    class Nothing(torch.nn.Module):
        def forward(self, latent, at, encoder_hidden_states):
            return type("Output", (), {"sample": torch.zeros_like(latent)})

    nothing = Nothing()
    nothing.up_blocks = backbone.unet.up_blocks
    return replace(backbone, unet=nothing)


def round_trip(backbone: Backbone, image: torch.Tensor, steps: int, level: int = 801) -> float:
    """Mean error of an image that goes up to a level and down again."""
    settings = Settings(steps=steps)
    found = invert(backbone, backbone.encode(image), settings)
    times = settings.times()
    again = sample(backbone, found.latents[level], times[: times.index(level) + 1], plain)
    return (backbone.decode(again) - image).abs().mean().item()


def test_levels_are_the_published_ones():
    times = Settings().times()
    assert (times[0], times[1], times[-1], len(times)) == (1, 21, 981, 50)
    alphas = scaled_linear()
    assert alphas[0] == pytest.approx(1 - 0.00085) and alphas[-1] == pytest.approx(0.0047, abs=2e-4)


def test_inversion_and_sampling_meet_as_steps_grow(backbone):
    image = pair()[0]
    errors = [round_trip(backbone, image, steps) for steps in (5, 20, 100)]
    assert errors[0] > errors[1] > errors[2]
    assert round_trip(silent(backbone), image, 10) < 1e-3  # the clean image counts as level 1, in the code as here


def test_a_step_is_the_formula(backbone):
    latent = torch.randn(1, 3, 16, 16)
    eps = backbone.unet(latent, 201, encoder_hidden_states=backbone.context).sample.double()
    a, b = backbone.alphas[201], backbone.alphas[101]
    expected = b.sqrt() * (latent.double() - (1 - a).sqrt() * eps) / a.sqrt() + (1 - b).sqrt() * eps
    assert torch.allclose(ddim(backbone, latent, 201, 101).double(), expected, atol=1e-5)


def test_our_attention_is_the_models_and_the_model_is_left_as_it_was(backbone):
    latent = torch.randn(1, 3, 16, 16)
    before = backbone.unet(latent, 101, encoder_hidden_states=backbone.context).sample
    kinds = [type(block.attn1.processor) for block in layers_of(backbone.unet)]
    with ruled(backbone.unet, lambda *_: None):
        inside = backbone.unet(latent, 101, encoder_hidden_states=backbone.context).sample
    assert torch.allclose(before, inside, atol=1e-5)
    assert kinds == [type(block.attn1.processor) for block in layers_of(backbone.unet)]
    assert torch.equal(before, backbone.unet(latent, 101, encoder_hidden_states=backbone.context).sample)


def test_injecting_what_the_path_itself_saw_is_self_attention(backbone):
    image = pair()[0]
    settings = replace(QUICK, gamma=1.0, temperature=1.0, initial_adain=False)
    inverted = invert(backbone, backbone.encode(image), settings)
    level = settings.times()[-1]
    with ruled(backbone.unet, styleid.injected(inverted, inverted, settings)(level)):
        injected = ddim(backbone, inverted.latents[level], level, settings.times()[-2])
    assert torch.allclose(injected, ddim(backbone, inverted.latents[level], level, settings.times()[-2]), atol=1e-5)


def test_switches_switch(backbone):
    content, style = pair()
    results = {name: StyleID(backbone, settings)(content, style) for name, settings in ablations(QUICK).items()}
    results["faithful"] = StyleID(backbone, replace(QUICK, faithful_start=True))(content, style)
    names = list(results)
    assert all(not torch.allclose(results[a], results[b], atol=1e-6) for i, a in enumerate(names) for b in names[:i])
    without = StyleID(backbone, replace(QUICK, injection=False, initial_adain=False))(content, style)
    assert torch.equal(
        without, StyleID(backbone, replace(QUICK, injection=False, initial_adain=False))(content, style.flip(2))
    )


def test_the_start_has_the_styles_statistics():
    c, s = torch.randn(1, 4, 8, 8), 3 + 2 * torch.randn(1, 4, 8, 8)
    found = latent_adain(c, s)
    assert torch.allclose(found.mean(dim=(2, 3)), s.mean(dim=(2, 3)), atol=1e-5) and torch.allclose(
        found.std(dim=(2, 3)), s.std(dim=(2, 3)), atol=1e-5
    )


def test_temperature_sharpens(backbone):
    c, s = (invert(backbone, backbone.encode(image), QUICK).layers[1, 0] for image in pair())
    block = layers_of(backbone.unet)[0]

    def entropy(temperature: float) -> float:
        heads = [x.unflatten(2, (block.attn1.heads, -1)).movedim(2, 1) for x in (c.q, s.k)]
        weights = (temperature * block.attn1.scale * heads[0] @ heads[1].transpose(2, 3)).softmax(dim=3)
        return torch.special.entr(weights).sum(dim=3).mean().item()

    values = [entropy(t) for t in (0.5, 1.0, 1.5, 3.0)]
    assert values == sorted(values, reverse=True) and values[0] > values[-1]


def test_maps_bring_scsa(backbone):
    content, style = pair()
    maps = stripes(16, True), stripes(16, False)
    model = StyleID(backbone, QUICK)
    result = model(content, style, maps)
    assert (
        result.shape == content.shape
        and torch.isfinite(result).all()
        and not torch.allclose(result, model(content, style), atol=1e-4)
    )
    for change in (
        {"sca": 0.0},
        {"ssa": 0.0},
        {"masked": False},
        {"adain_in_layers": False},
        {"keys": None},
        {"map_share": 1.0},
    ):
        other = StyleID(backbone, QUICK, replace(SemanticSettings(), **change))(content, style, maps)
        assert torch.isfinite(other).all() and not torch.equal(other, result), change
    lacking = SemanticMap(stripes(16, False, 2).image, PALETTE)
    assert torch.isfinite(model(content, style, (maps[0], lacking))).all()


def test_mistakes_are_named(backbone, tmp_path):
    content, style = pair()
    with pytest.raises(UserError, match="equal sizes"):
        StyleID(backbone)(content, style[..., :8])
    with pytest.raises(UserError, match="model_index.json is missing"):
        stable_diffusion(tmp_path)
    with pytest.raises(UserError, match="no self-attention"):
        layers_of(torch.nn.Conv2d(1, 1, 1))
    with pytest.raises(UserError, match="no halving"):
        _layer_grid(torch.zeros(1, 12, 3), (8, 8))
    for wrong in (Settings(steps=0), Settings(steps=1001), Settings(steps=1), Settings(steps=4, skip=4)):
        with pytest.raises(UserError, match="steps"):
            StyleID(backbone, wrong)
    with pytest.raises(UserError, match="divide bytes by 255"):
        StyleID(backbone)(255 * content, 255 * style)
    with pytest.raises(UserError, match="differ in shape"):
        StyleID(backbone)(content, style, (SemanticMap(stripes(16, True).image[:, :8], PALETTE),) * 2)


@pytest.mark.parametrize(("height", "width"), [(16, 24), (20, 12), (17, 31)])
def test_any_size_is_kept(backbone, height, width):
    content, style = (torch.rand(1, 3, height, width) for _ in range(2))
    image = stripes(64, True).image[:, : 64 * height // width] if height < width else stripes(64, True).image
    maps = (SemanticMap(torch.nn.functional.interpolate(image[None], (height, width))[0], PALETTE),) * 2
    for given in (None, maps):
        result = StyleID(backbone, QUICK)(content, style, given)
        assert result.shape == content.shape and torch.isfinite(result).all()


def test_images_take_the_type_of_the_model(backbone):
    content, style = pair()
    assert torch.equal(
        StyleID(backbone, QUICK)(content.double(), style.double()), StyleID(backbone, QUICK)(content, style)
    )


def test_layers_are_halvings_of_the_latent():
    for size in ((12, 8), (13, 7)):
        for level in (size, tuple(-(-side // 2) for side in size)):
            assert _layer_grid(torch.zeros(1, level[0] * level[1], 3), size) == level
