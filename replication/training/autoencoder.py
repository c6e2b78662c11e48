"""The shared start of all decoders: an auto-encoder of relu4_1 features, trained once per encoder.

On two cores no arm can afford to learn from nothing how features become pixels. Every arm starts its decoder from the
same auto-encoder, so comparisons stay fair. The papers start from random weights: this is a deviation in every profile.
"""

from jaxtyping import Float
from torch import Tensor, nn

from ..methods.base import Encoded, Method, Transferred, inverse_decay
from ..nn.encoder import AnyImage, Encoder, Image
from ..nn.layers import decoder
from ..nn.losses import feature_identity, mse

TAPS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")


class AutoEncoder(Method):
    """relu4_1 features back to the image; no style."""

    last = "relu4_1"

    def __init__(self, encoder: Encoder):
        super().__init__(encoder, None)
        self.decoder = decoder(encoder.channels)

    def transfer(self, content: Encoded, style: Encoded) -> Transferred:
        return Transferred({"relu4_1": content.features["relu4_1"]}, content.size)

    def losses(self, content: Image, style: AnyImage, step: int) -> dict[str, Float[Tensor, ""]]:
        """Pixels and features of both images; the weights are SANet's for its identity losses."""
        terms = {"pixels": 0.0, "features": 0.0}
        for image in (content, style):
            code = self.features(image)
            output = self.decode(self.transfer(code, code))
            terms["pixels"] = terms["pixels"] + 50 * mse(output, image)
            terms["features"] = terms["features"] + feature_identity(self.encoder(output), code.features, TAPS)
        return terms

    def published_learning_rate(self, step: int, batch: int) -> float:
        """Not published: AdaIN's rate."""
        return inverse_decay(step)


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
