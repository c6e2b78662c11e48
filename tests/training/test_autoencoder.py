"""The auto-encoder's least-squares start."""

import torch
from torch import nn

from replication.data.images import contents, training_set
from replication.nn.encoder import CONVOLUTIONS, Encoder, load_encoder
from replication.nn.layers import decoder
from replication.training.autoencoder import mirror


def invertible() -> Encoder:
    """Convolutions that look at their own position alone and never give anything below zero."""
    encoder = Encoder((4, 6, 8, 8, 8), name="invertible")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        encoder.layers[0].weight.copy_(torch.eye(3)[:, :, None, None])
        encoder.layers[0].bias.zero_()
        for index in CONVOLUTIONS:
            layer = encoder.layers[index]
            outputs, inputs = layer.weight.shape[:2]
            layer.weight.zero_()
            layer.weight[:, :, 1, 1] = torch.eye(outputs, inputs) + 0.1 * torch.rand(
                outputs, inputs, generator=generator
            )
            layer.bias.copy_(0.1 * torch.rand(outputs, generator=generator))
    return encoder


def blocks(seed: int) -> torch.Tensor:
    """A picture of squares of 8 px, of which pooling loses nothing."""
    small = torch.rand(1, 3, 9, 7, generator=torch.Generator().manual_seed(seed))
    return nn.functional.interpolate(small, scale_factor=8, mode="nearest")


def rebuilt(encoder: Encoder, layers: nn.Module, image: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return layers(encoder(image, ("relu4_1",))["relu4_1"])


def test_what_can_be_inverted_is_inverted():
    encoder, layers = invertible(), decoder((4, 6, 8, 8, 8))
    unseen = blocks(99)
    assert (rebuilt(encoder, layers, unseen) - unseen).abs().mean() > 0.1
    mirror(encoder, layers, [blocks(seed) for seed in range(4)], ridge=1e-9)
    assert (rebuilt(encoder, layers, unseen) - unseen).abs().max() < 1e-3


def test_a_mirror_gives_back_photographs_better_than_a_fresh_decoder():
    torch.manual_seed(0)
    encoder = load_encoder("student")
    layers, images = decoder(encoder.channels), [picture.tensor(96)[None] for picture in contents(4)]

    def error() -> float:
        return sum((rebuilt(encoder, layers, x) - x).square().mean().sqrt().item() for x in images)

    fresh = error()
    mirror(encoder, layers, [picture.tensor(128)[None] for picture in training_set("photograph", ["builtin"])[:30]])
    assert error() < 0.6 * fresh
