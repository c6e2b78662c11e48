"""Several styles: every method through one interface."""

import pytest
import torch
from helpers.models import images, model

from replication.errors import UserError
from replication.methods import METHODS
from replication.methods.mixing import stylise_with_several


@pytest.fixture(params=METHODS)
def mixed(request):
    made = model(request.param).eval()
    content, first = images(content=(48, 48), style=(48, 48))
    return made, content, [first, first.flip(3), first.flip(1)]


def single(made, content, style):
    with torch.inference_mode():
        return made(content, style)


def test_one_style_with_all_the_weight_is_that_style_bit_for_bit(mixed):
    made, content, styles = mixed
    for number in range(2):
        weights = [float(i == number) for i in range(3)]
        assert torch.equal(stylise_with_several(made, content, styles, weights), single(made, content, styles[number]))
        maps = torch.tensor(weights).view(3, 1, 1).expand(3, 6, 6)
        assert torch.equal(stylise_with_several(made, content, styles, maps), single(made, content, styles[number]))


def test_equal_styles_give_that_style_whatever_the_weights(mixed):
    made, content, styles = mixed
    found = stylise_with_several(made, content, [styles[0]] * 3, [0.2, 0.3, 0.5])
    assert torch.allclose(found, single(made, content, styles[0]), atol=1e-3)
    maps = torch.rand(3, 5, 7, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(
        stylise_with_several(made, content, [styles[0]] * 3, maps), single(made, content, styles[0]), atol=1e-3
    )


def test_weights_are_shares(mixed):
    made, content, styles = mixed
    a, b = (stylise_with_several(made, content, styles, [scale * w for w in (0.5, 0.25, 0.25)]) for scale in (1, 8))
    assert torch.equal(a, b) and not torch.allclose(a, single(made, content, styles[0]), atol=1e-4)


def test_a_mask_keeps_styles_apart():
    made = model("sanet").eval()
    content, first = images(content=(128, 128), style=(128, 128))
    styles = [first, first.flip(1)]
    left = torch.zeros(2, 1, 8)
    left[0, 0, :4], left[1, 0, 4:] = 1, 1
    found = stylise_with_several(made, content, styles, left)
    for side, style in ((slice(0, 8), 0), (slice(-8, None), 1)):
        own, other = (
            (found - single(made, content, styles[number]))[..., side].abs().mean() for number in (style, 1 - style)
        )
        assert own < 0.1 * other


def test_wrong_weights_are_named():
    made = model("adain").eval()
    content, first = images(content=(48, 48), style=(48, 48))
    for weights, match in (
        ([1.0], "2 styles need"),
        ([1.0, -0.1], "not negative"),
        ([0.0, 0.0], "all zero"),
        (torch.ones(3), "2 styles need"),
    ):
        with pytest.raises(UserError, match=match):
            stylise_with_several(made, content, [first, first], weights)
