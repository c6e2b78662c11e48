"""Where a training begins: the method's own form without parameters."""

import pytest
import torch
from helpers.models import images, model
from torch import nn

from replication.methods import METHODS, microast
from replication.methods.base import Transferred
from replication.nn.attention import attend, grid, tokens
from replication.nn.layers import mean_std, normalise

BEGIN = ("adaattn", "datnet", "sanet", "stya2k")


def merged(made, image: torch.Tensor) -> torch.Tensor:
    """relu4_1 as the decoder gets it, of an image stylised with itself."""
    code = made.encode_content(image)
    return made.transfer(code, made.encode_style(image)).features["relu4_1"]


@pytest.mark.parametrize("name", BEGIN)
def test_projections_are_identities_and_an_image_keeps_its_features(name):
    made = model(name).float()
    examples = [torch.rand(1, 3, 64, 48) for _ in range(6)]
    unseen = torch.rand(1, 3, 56, 64)
    wanted = made.encode_content(unseen).features["relu4_1"]
    frozen = {key: value.clone() for key, value in made.encoder.state_dict().items()}
    with torch.no_grad():
        before = (merged(made, unseen) - wanted).square().mean()
        made.begin(examples)
        after = (merged(made, unseen) - wanted).square().mean()
    assert after < 0.2 * wanted.var() and after < 0.2 * before
    square = [
        layer
        for layer in made.modules()
        if isinstance(layer, nn.Conv2d)
        and layer.kernel_size == (1, 1)
        and layer.weight.shape[0] == layer.weight.shape[1]
    ]
    trained = [layer for layer in square if layer.weight.requires_grad]
    assert len(trained) >= 6 and all(
        torch.equal(layer.weight[:, :, 0, 0], torch.eye(len(layer.weight))) and not layer.bias.any()
        for layer in trained
    )
    assert all(torch.equal(value, frozen[key]) for key, value in made.encoder.state_dict().items())


def test_mccnet_guesses_a_style_s_deviations_and_takes_three_parts_of_them():
    made = model("mccnet").float()
    generator = torch.Generator().manual_seed(0)
    examples = [
        nn.functional.interpolate(torch.rand(1, 3, side, side, generator=generator), 64, mode="bilinear")
        for side in (4, 8, 16, 32)
        for _ in range(16)
    ]
    content = made.encode_content(examples.pop())
    torch.manual_seed(0)
    made.begin(examples)
    block = made.mcc_module.MCCN
    with torch.no_grad():
        styles = [made.encode_style(image).features["relu4_1"] for image in examples]
        guessed = torch.cat([block.fc(block.energies(style)) for style in styles]) / 3
        wanted = torch.cat([mean_std(style)[1].flatten(1) for style in styles])
        stylised = made.transfer(content, made.encode_style(examples[0])).features["relu4_1"]
    missed = (guessed - wanted).square().mean() / (wanted - wanted.mean(0)).square().mean()
    assert missed < 0.2
    moments = [mean_std(style) for style in styles]
    usual = torch.cat([mean / deviation for mean, deviation in moments]).flatten(1).median(0).values
    assert torch.allclose(block.f.bias, usual, rtol=1e-4, atol=1e-5)
    added = mean_std(stylised - content.features["relu4_1"])[1].flatten()
    alive = mean_std(content.features["relu4_1"])[1].flatten() > 0.1
    assert alive.sum() > 5 and torch.allclose(added[alive], 3 * guessed[0][alive], rtol=0.01)


def test_manet_adds_three_times_the_attended_style():
    made = model("manet")
    content, style = map(made.encode_content, images())
    first = next(layer for layer in made.decoder if isinstance(layer, nn.Conv2d)).weight
    before = first.clone()
    with torch.no_grad():
        made.begin(images())
        stylised = made.transfer(content, style).features["relu4_1"]
    f, s = content.features["relu4_1"], style.features["relu4_1"]
    attended = attend(tokens(normalise(f)), tokens(normalise(s)), tokens(s))
    assert torch.allclose(stylised, f + 3 * grid(attended, tuple(f.shape[2:])))
    assert torch.equal(first, before / 4)


def smooth(count: int) -> list[torch.Tensor]:
    """Pictures without sharp edges, which few numbers describe."""
    generator = torch.Generator().manual_seed(0)
    return [
        nn.functional.interpolate(torch.rand(1, 3, 6, 6, generator=generator), 48, mode="bilinear")
        for _ in range(count)
    ]


def test_avatarnet_begins_as_an_autoencoder():
    made, (unseen, *examples) = model("avatarnet").float(), smooth(12)

    def missed() -> torch.Tensor:
        code = made.encode_content(unseen)
        features = {"relu4_1": code.features["relu4_1"], **made.statistics(code)}
        return (made.decode(Transferred(features, code.size)) - unseen).square().mean() / unseen.var()

    with torch.no_grad():
        before = missed()
        made.begin(examples)
        assert missed() < 0.9 and missed() < 0.2 * before


def test_microast_begins_as_an_autoencoder_with_one_encoder_for_both(monkeypatch):
    monkeypatch.setattr(microast, "START_STEPS", 400)
    monkeypatch.setattr(microast, "START_BATCH", 2)
    monkeypatch.setattr(microast, "START_RATE", 2e-3)
    monkeypatch.setattr(microast, "START_SIDE", 32)
    made, (unseen, *examples) = model("microast").float(), smooth(12)
    made.begin(examples)
    with torch.no_grad():
        assert (made(unseen, unseen) - unseen).square().mean() < 0.6 * unseen.var()
        code = made.encode_style(unseen).features
    assert all(torch.equal(code[name], torch.ones(1, 64, 1, 1)) for name in ("weight1", "weight2"))
    assert not code["bias1"].any() and not code["bias2"].any()
    content = made.encode_content(unseen).features
    assert all(torch.equal(code[level], content[level]) for level in microast.LEVELS)


@pytest.mark.parametrize(
    "name", [name for name in METHODS if name not in (*BEGIN, "aespanet", "avatarnet", "manet", "mccnet", "microast")]
)
def test_other_methods_begin_as_they_were_made(name):
    made = model(name)
    before = {key: value.clone() for key, value in made.state_dict().items()}
    made.begin(images())
    assert all(torch.equal(value, before[key]) for key, value in made.state_dict().items())
