"""Large pictures tile by tile: the whole picture's result, and no map larger than a tile."""

import pytest
import torch
from helpers.models import images, model
from helpers.networks import TINY, tiny_encoder
from torch import nn

from replication.nn import tiles
from replication.nn.encoder import TAP_END
from replication.nn.layers import ReflectionPad2d, decoder, decoder_from
from replication.nn.tiles import Tiled

# Sums of a few hundred products, which a convolution may add up in another order for another size.
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-13}
TILE = 32


def stacks() -> dict[str, Tiled]:
    """Every kind of stack that the methods have."""
    encoder = tiny_encoder()
    torch.manual_seed(0)
    wide = decoder_from([(24, 16), "up", (16, 8)]).extend([ReflectionPad2d(3), nn.Conv2d(8, 3, 7)])
    return {
        "encoder": encoder.layers,
        "encoder, zeros": encoder.like("relu4_1", "max-floor", "zeros").layers,
        "encoder, average": encoder.like("relu4_1", "average-floor").layers,
        "decoder": decoder(TINY),
        "decoder with a wide last kernel": wide,
    }


def whole(stack: Tiled, x: torch.Tensor) -> torch.Tensor:
    """The same layers without tiles."""
    return nn.Sequential(*stack)(x)


def some_input(stack: Tiled, size: tuple[int, int], dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """An input whose picture, the image or what is decoded, has about this size."""
    channels = next(layer.in_channels for layer in stack if isinstance(layer, nn.Conv2d))
    _, given, _ = stack.reach()
    return torch.rand(
        2, channels, *(-(-side // given) for side in size), generator=torch.Generator().manual_seed(3), dtype=dtype
    )


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    assert a.shape == b.shape and a.dtype == b.dtype
    return ((a - b).abs().max() / b.abs().max()).item()


@pytest.fixture
def small(monkeypatch) -> None:
    monkeypatch.setattr(tiles, "TILE", TILE)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("size", [(97, 64), (80, 151), (33, 34)])
@pytest.mark.parametrize("name", stacks())
@torch.inference_mode()
def test_tiles_give_what_the_whole_picture_gives(small, name, size, dtype):
    stack = stacks()[name].to(dtype)
    x = some_input(stack, size, dtype)
    assert len(list(stack.spans(x.shape[2]))) > 1
    assert difference(stack(x), whole(stack, x)) <= TOLERANCE[dtype]


@pytest.mark.parametrize("name", stacks())
@torch.inference_mode()
def test_the_halo_is_no_wider_than_it_must_be(small, monkeypatch, name):
    """A step less on each side of a tile changes the result, so the test above would notice it."""
    stack = stacks()[name].double()
    x = some_input(stack, (97, 64), torch.float64)
    read, given, halo = stack.reach()
    monkeypatch.setattr(Tiled, "reach", lambda self: (read, given, halo - 1))
    assert difference(stack(x), whole(stack, x)) > 1e-6


@pytest.mark.parametrize("name", ["adain", "sanet", "adaattn", "stya2k"])
@torch.inference_mode()
def test_a_method_paints_the_same_with_tiles(monkeypatch, name):
    """Statistics and attention see the whole picture: of one that does not fit in a tile, too."""
    made = model(name)
    content, style = images(content=(90, 71), style=(67, 84))
    expected = made(content, style)
    monkeypatch.setattr(tiles, "TILE", TILE)
    assert difference(made(content, style), expected) < 1e-10
    content, style, single = content.float(), style.float(), made.float()
    assert difference(single(content, style), expected.float()) < 1e-4


@torch.inference_mode()
def test_no_map_inside_a_stack_is_larger_than_a_tile_with_its_halo(small):
    encoder, seen = tiny_encoder(), []
    for layer in encoder.layers:
        layer.register_forward_hook(lambda _, __, result: seen.append(result.shape))
    image = torch.rand(1, 3, 200, 264)
    assert list(encoder(image, ("relu4_1",))) == ["relu4_1"]
    read, _, halo = encoder.layers[: TAP_END["relu4_1"]].reach()
    widest = TILE + 2 * halo * read + 2  # and the padding
    assert all(max(shape[2:]) <= widest for shape in seen) and len(seen) > 31 * 50


@torch.inference_mode()
def test_pictures_up_to_a_tile_are_not_cut():
    for stack in stacks().values():
        read, given, _ = stack.reach()
        side = tiles.TILE // max(read, given) * read
        assert [len(list(stack.spans(length))) for length in (side, side + 1)] == [1, 2]


def test_gradients_are_those_of_the_whole_picture(small):
    stack = stacks()["encoder"].double()
    x = some_input(stack, (97, 64), torch.float64).requires_grad_()
    got, expected = (torch.autograd.grad(run(x).square().sum(), x)[0] for run in (stack, lambda x: whole(stack, x)))
    assert difference(got, expected) < 1e-12


def test_layers_that_look_further_are_refused():
    with pytest.raises(TypeError, match="InstanceNorm2d cannot be computed tile by tile"):
        Tiled(nn.Conv2d(3, 3, 1), nn.InstanceNorm2d(3))(torch.rand(1, 3, 8, 8))
