"""A small encoder for tests that need shapes and gradients, not knowledge."""

import torch

from replication.nn.encoder import Encoder

TINY = (8, 16, 16, 24, 24)


def tiny_encoder(seed: int = 0, last: str = "relu5_1", channels: tuple[int, ...] = TINY) -> Encoder:
    """A narrow encoder with random weights and activations of order one."""
    torch.manual_seed(seed)
    encoder = Encoder(channels, last, name="tiny")
    with torch.no_grad():
        for index, layer in enumerate(encoder.layers):
            if isinstance(layer, torch.nn.Conv2d) and index > 0:
                layer.weight.normal_(0, (2 / layer.weight[0].numel()) ** 0.5 * (0.02 if index == 2 else 1.0))
                layer.bias.normal_(0, 0.3)
    return encoder
