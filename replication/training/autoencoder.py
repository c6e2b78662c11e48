"""The shared start of all decoders: an auto-encoder of relu4_1 features, trained once per encoder.

On two cores no arm can afford to learn from nothing how features become pixels. Every arm starts its decoder from the
same auto-encoder, so comparisons stay fair. The papers start from random weights: this is a deviation in every profile.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..methods.base import Encoded, Method, Transferred, inverse_decay
from ..nn.encoder import TAPS, AnyImage, Encoder, Image, before_activations
from ..nn.layers import decoder, fit_convolution
from ..nn.losses import feature_identity, mse


class AutoEncoder(Method):
    """relu4_1 features back to the image; no style. The image is judged up to relu5_1."""

    last = "relu5_1"

    def __init__(self, encoder: Encoder):
        super().__init__(encoder, None)
        self.decoder = decoder(encoder.channels)

    def begin(self, photographs: Sequence[AnyImage]) -> None:
        """The least-squares start; sides must be multiples of 8."""
        mirror(self.encoder, self.decoder, photographs)

    def transfer(self, content: Encoded, style: Encoded) -> Transferred:
        return Transferred({"relu4_1": content.features["relu4_1"]}, content.size)

    def losses(self, content: Image, style: AnyImage, step: int) -> dict[str, Float[Tensor, ""]]:
        """Pixels and features of both images; weighted as SANet's identity losses, pixels four times."""
        terms = {"pixels": 0.0, "features": 0.0}
        for image in (content, style):
            code = self.features(image)
            output = self.decode(self.transfer(code, code))
            terms["pixels"] = terms["pixels"] + 200 * mse(output, image)
            terms["features"] = terms["features"] + feature_identity(
                self.judged(output), self.judged(image, code), TAPS
            )
        return terms

    def published_learning_rate(self, step: int, batch: int) -> float:
        """Not published: AdaIN's rate."""
        return inverse_decay(step)


@torch.no_grad()
def mirror(
    encoder: Encoder, target: nn.Sequential, images: Sequence[AnyImage], rows: int = 500, ridge: float = 1e-3
) -> None:
    """Fit a decoder to the encoder by least squares, layer by layer: a start that takes seconds.

    Convolution by convolution the decoder is the map from its own inputs back to what the encoder had before the
    mirrored convolution: relu4_1 to relu3_4 as pooled, that to relu3_3, and so on down to the picture.

    target  the decoder of `nn.layers`, of the encoder's channels
    images  one at a time, of any size whose sides are multiples of 8
    rows    positions taken from each image and layer
    ridge   as in `fit_convolution`
    """
    wanted = [before_activations(encoder, image) for image in images]
    inputs = [encoder(image, ("relu4_1",))["relu4_1"] for image in images]
    for position, layer in enumerate(target):
        if isinstance(layer, nn.Conv2d):
            fit_convolution(layer, inputs, [part.pop() for part in wanted], seed=position, rows=rows, ridge=ridge)
        inputs = [layer(x) for x in inputs]


def start_decoder(target: nn.Module, start: dict[str, Tensor]) -> None:
    """Copy an auto-encoder's decoder into a method's, convolution by convolution.

    A convolution that reads more channels (a skip connection) gets zeros for the additional ones. Layers are matched in
    order; raises ValueError when the decoders are not alike.
    """
    layers = [layer for layer in target.modules() if isinstance(layer, nn.Conv2d)]
    names = sorted({int(key.split(".")[0]) for key in start})
    for layer, name in zip(layers, names, strict=True):
        weight = start[f"{name}.weight"]
        if layer.weight.shape[0] != weight.shape[0] or layer.weight.shape[1] < weight.shape[1]:
            raise ValueError(
                f"decoder layer {name}: {tuple(layer.weight.shape)} cannot start from {tuple(weight.shape)}"
            )
        layer.weight.data.zero_()
        layer.weight.data[:, : weight.shape[1]] = weight
        layer.bias.data.copy_(start[f"{name}.bias"])
