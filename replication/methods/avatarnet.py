"""Avatar-Net: Sheng et al., "Avatar-Net: Multi-scale Zero-shot Style Transfer by Feature Decoration", CVPR 2018.

arXiv 1805.03857. The transfer needs no training: content features are whitened, every patch is swapped for the most
similar whitened style patch, and the result is coloured with the style's covariance. A decoder trained to give
photographs back paints it, and takes the style's statistics at three more levels on the way:

    x' = C(x)^-1/2 (x - mu(x)),  C(x) = X X^T / N                                        project content and style
    j(i) = argmax over style patches of <phi_i(z_c'), phi_j(z_s') / |phi_j(z_s')|>       match (normalised correlation)
    z' = mean of the overlapping patches phi_j(i)(z_s')                                  reassemble
    z = C(s)^1/2 (r z' + (1 - r) z_c') + mu(s)                                           colour
    image = D(z; AdaIN with the style at relu3_1, relu2_1, relu1_1)
    L = 10 MSE(I) + sum over relu1_1..4_1 of MSE(F) + 10 TV,  style = content, no swap, pixels in 0..255

Notation: features of relu4_1; phi_i is the patch around position i; r the strength. Powers of C leave out eigenvalues
up to 1e-5.

Two codes, not compatible with each other; the paper gives no such detail
  official  LucasSheng/avatar-net, TensorFlow: average pooling, zero padding in the encoder, patches of 5, content
            padded by reflection and style by zeros, mixing before colouring with r = 0.8 as its script sets, an
            additional convolution and a 7x7 one at the end of the decoder. The default. Its weights are a TensorFlow
            file, which torch cannot read. Its Adam has an epsilon of 1.0; training here has torch's default, 1e-8.
  port      tyui592/Avatar-Net_Pytorch: maximum pooling, patches of 3, zeros around both, mixing after colouring with
            the raw content, the mirrored decoder in ImageNet-normalised colours, L = MSE + 0.1 features + TV in those
            colours. Its published file loads. Its eigenvalue threshold of 1e-14 lets noise through, so the official
            rule stands here.
The official encoder is the un-normalised VGG-19 on pixels in 0..255. This project's is normalised: equal up to one
positive factor per channel, which whitening in all channels at once does not undo exactly. With it the feature loss
would be 4000 times smaller than the pixels', where the official one is the larger, and the decoder would blur;
ACTIVATIONS puts the scale back. Sides that are no multiple of 8 are extended by reflection, and the result is cut.

Public code, read for facts: LucasSheng/avatar-net@8ee86d7:models/avatar_net.py, models/vgg_decoder.py,
train_image_reconstruction.py (official); tyui592/Avatar-Net_Pytorch@0fff505:network.py, style_decorator.py, wct.py,
train.py (port).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..nn.attention import AttentionRecord
from ..nn.encoder import AnyImage, Encoder, Image, before_activations, check_image
from ..nn.layers import (
    Feature,
    ReflectionPad2d,
    covariance,
    decoder,
    decoder_from,
    fit_convolution,
    full_precision,
    mean_std,
    pad_to_multiple,
    symmetric_power,
)
from ..nn.losses import mse
from .adain import STYLE_TAPS
from .base import Encoded, Layout, Method, Transferred, check_pair, crop_to, inverse_decay, scale_terms
from .products import Grids

FLOOR = 1e-5
FUSED = ("relu3_1", "relu2_1", "relu1_1")
# Where the decoder stops for the style's statistics: behind the ReLUs of conv3_2, conv2_2 and conv1_2.
STOPS = (13, 20, 27)
# Mean square over channels of the factors between both VGG-19 at relu1_1..4_1 (checkpoints/vgg19-scales.safetensors).
ACTIVATIONS = (6.23e2, 1.69e4, 1.68e4, 2.53e5)
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
# torchvision's numbers of VGG-19's convolutions, and those of vgg_normalised, which counts paddings and one more layer.
TORCHVISION = dict(zip((0, 2, 5, 7, 10, 12, 14, 16, 19), (2, 5, 9, 12, 16, 19, 22, 25, 29), strict=True))
# The port's parts, with the numbers of their convolutions.
ENCODER_BLOCKS = ((0,), (2, 5), (7, 10), (12, 14, 16, 19))
DECODER_SEGMENTS = ((1, 5, 8, 11), (14, 18), (21, 25), (28,))


@dataclass(frozen=True)
class Variant:
    """One code of Avatar-Net.

    pooling        of the encoder
    patch          side of the matched patches
    content_pad    "reflect" or "constant" (zeros) around the content
    mix_whitened   r mixes before colouring, with the whitened content
    strength       r when none is asked for
    mirrored       the decoder ends as AdaIN's does, in ImageNet-normalised colours
    rate           constant learning rate
    pixels, features, total_variation
                   loss weights; pixels count in 0..255, or in normalised colours when mirrored
    activations    mean square of the features that the loss was meant for, at relu1_1..4_1
    """

    pooling: str = "average-floor"
    patch: int = 5
    content_pad: str = "reflect"
    mix_whitened: bool = True
    strength: float = 0.8
    mirrored: bool = False
    rate: float = 1e-4
    pixels: float = 10.0
    features: float = 1.0
    total_variation: float = 10.0
    activations: tuple[float, ...] = ACTIVATIONS

    def learning_rate(self, step: int, batch: int) -> float:
        """Constant: 1e-4 for 120 000 steps of 8 (official), 1e-3 for 40 000 of 16 (port)."""
        return inverse_decay(step, rate=self.rate, decay=0.0)


OFFICIAL = Variant()
PORT = Variant("max-floor", 3, "constant", False, 1.0, True, 1e-3, 1.0, 0.1, 1.0, (1.0,) * 4)


def whiten(x: Feature) -> tuple[Feature, Float[Tensor, "batch channels channels"], Float[Tensor, "batch channels 1"]]:
    """Whitened features, the colouring kernel C^1/2 and the mean, in float64; covariance over all positions, biased."""
    flat = full_precision(x).double().flatten(2)  # (b, c, h, w) -> (b, c, hw)
    mean = flat.mean(dim=2, keepdim=True)
    spread = covariance(flat - mean, flat.shape[2])
    return (symmetric_power(spread, -0.5, FLOOR) @ (flat - mean)).view_as(x), symmetric_power(spread, 0.5, FLOOR), mean


def match(
    content: Float[Tensor, "c _ _"], style: Float[Tensor, "c _ _"], patch: int, content_pad: str
) -> Int[Tensor, "h w"]:
    """Index of the style position whose patch correlates best with each content patch; the first of equals.

    Style patches are taken a few rows at a time, so memory does not grow with the product of both sizes.
    """
    reach = patch // 2
    around = F.pad(content[None], (reach,) * 4, mode=content_pad)
    padded = F.pad(style, (reach,) * 4)
    best = index = None
    for top, kernels in _patches(padded, patch, style.shape[1]):
        scores, found = F.conv2d(around, kernels / (kernels.flatten(1).norm(dim=1)[:, None, None, None] + 1e-7))[0].max(
            dim=0
        )
        if best is None:
            best, index = scores, found
        else:
            better = scores > best
            best, index = torch.where(better, scores, best), torch.where(better, found + top * style.shape[2], index)
    return index


def _patches(padded: Float[Tensor, "c _ _"], patch: int, height: int, most: int = 256):
    """(first row, patches (n, c, patch, patch) of the next rows) of a padded map; about `most` patches at a time."""
    rows = max(1, most // (padded.shape[2] - patch + 1))
    for top in range(0, height, rows):
        strip = padded[None, :, top : min(height, top + rows) + patch - 1]
        # (c, rows, w) -> (c patch patch, n) -> (n, c, patch, patch)
        yield top, F.unfold(strip, patch)[0].T.unflatten(1, (-1, patch, patch))


def reassemble(style: Float[Tensor, "c _ _"], index: Int[Tensor, "h w"], patch: int) -> Float[Tensor, "c h w"]:
    """Paste the chosen style patches (zeros beyond the border) at every content position; overlaps are averaged."""
    reach, (height, width) = patch // 2, index.shape
    padded = F.pad(style, (reach,) * 4)
    down, across = index // style.shape[2], index % style.shape[2]
    total = style.new_zeros(style.shape[0], height + 2 * reach, width + 2 * reach)
    count = style.new_zeros(1, height + 2 * reach, width + 2 * reach)
    for y in range(patch):
        for x in range(patch):
            total[:, y : y + height, x : x + width] += padded[:, down + y, across + x]
            count[:, y : y + height, x : x + width] += 1
    return (total / count)[:, reach : reach + height, reach : reach + width]


class AvatarNet(Method):
    """Avatar-Net. Trainable at VGG-19 width: 3 549 827 (official) or 3 505 219 (port), in the decoder alone."""

    title = "Avatar-Net"
    last = "relu4_1"
    taps = STYLE_TAPS
    mirrored = False
    variants = {"official": OFFICIAL, "port": PORT}

    def __init__(self, encoder: Encoder, variant: Variant = OFFICIAL):
        super().__init__(encoder.like(self.last, variant.pooling, "zeros"), variant)
        if variant.mirrored:
            self.decoder = decoder(encoder.channels)
        else:
            c1, c2, c3, c4 = encoder.channels[:4]
            plan = [
                (c4, c3),
                "up",
                (c3, c3),
                (c3, c3),
                (c3, c3),
                (c3, c2),
                "up",
                (c2, c2),
                (c2, c1),
                "up",
                (c1, c1),
                (c1, c1),
            ]
            self.decoder = decoder_from(plan).extend([ReflectionPad2d(3), nn.Conv2d(c1, 3, 7)])
            for layer in self.decoder:
                if isinstance(layer, nn.Conv2d):
                    nn.init.xavier_normal_(layer.weight)
                    nn.init.zeros_(layer.bias)

    @torch.no_grad()
    def begin(self, photographs: Sequence[AnyImage]) -> None:
        """The official decoder, convolution by convolution, as the least-squares way back through the encoder.

        It has one convolution more than the encoder, which gives the first one's features again.
        """
        if self.variant.mirrored:
            return
        codes = [self.encode_content(image) for image in photographs]
        wanted = []
        for image in photographs:
            picture, first, *deeper = before_activations(self.encoder, pad_to_multiple(image, 8))
            wanted.append([picture - 0.5, first, first, *deeper])
        inputs = [code.features["relu4_1"] for code in codes]
        for position, layer in enumerate(self.decoder):
            if position in STOPS:
                given = [self.statistics(code) for code in codes]
                tap = FUSED[STOPS.index(position)]
                inputs = [
                    self.fuse(x, found[f"{tap} mean"], found[f"{tap} std"])
                    for x, found in zip(inputs, given, strict=True)
                ]
            if isinstance(layer, nn.Conv2d):
                fit_convolution(layer, inputs, [part.pop() for part in wanted], seed=position, rows=500)
            inputs = [layer(x) for x in inputs]

    def encode_content(self, image: Image) -> Encoded:
        """relu1_1..4_1 of the image, extended to a multiple of 8."""
        check_image(image)
        return Encoded(self.encoder(pad_to_multiple(image, 8)), tuple(image.shape[2:]))

    @torch.no_grad()
    def transfer(self, content: Encoded, style: Encoded, alpha: float | None = None) -> Transferred:
        """Decorated relu4_1, with the statistics of the style's shallower taps for the decoder.

        alpha is r; None takes the variant's.
        """
        check_pair(content, style, "relu4_1")
        strength = self.variant.strength if alpha is None else alpha
        decorated = self.decorate(content.features["relu4_1"], style.features["relu4_1"], strength)
        return Transferred({"relu4_1": decorated, **self.statistics(style)}, content.size)

    def statistics(self, style: Encoded) -> dict[str, Float[Tensor, "b c 1 1"]]:
        """Mean and deviation of the taps that the decoder is given, with each code's divisor."""
        correction = 1 if self.variant.mirrored else 0
        found = {tap: mean_std(style.features[tap], correction, eps=0.0) for tap in FUSED}
        return {
            f"{tap} {name}": part
            for tap, parts in found.items()
            for name, part in zip(("mean", "std"), parts, strict=True)
        }

    def decorate(
        self, content: Float[Tensor, "b c h w"], style: Float[Tensor, "b c _ _"], strength: float
    ) -> Float[Tensor, "b c h w"]:
        """Project, match, reassemble, colour."""
        (flat_c, _, _), (flat_s, kernel, mean) = whiten(content), whiten(style)
        flat_c, flat_s = flat_c.to(content.dtype), flat_s.to(style.dtype)
        patch = self.variant.patch
        pairs = zip(flat_c, flat_s, strict=True)
        swapped = torch.stack([reassemble(s, match(c, s, patch, self.variant.content_pad), patch) for c, s in pairs])
        if self.variant.mix_whitened:
            swapped = strength * swapped + (1 - strength) * flat_c
        # (b, c, c) (b, c, hw) -> (b, c, h, w)
        coloured = (kernel @ swapped.double().flatten(2) + mean).view_as(content).to(content.dtype)
        return coloured if self.variant.mix_whitened else strength * coloured + (1 - strength) * content

    def fuse(
        self, x: Float[Tensor, "b c h w"], mean_s: Float[Tensor, "b c 1 1"], std_s: Float[Tensor, "b c 1 1"]
    ) -> Float[Tensor, "b c h w"]:
        """AdaIN inside the decoder, with each code's epsilon."""
        if self.variant.mirrored:
            mean, std = x.mean(dim=(2, 3), keepdim=True), full_precision(x).std(dim=(2, 3), keepdim=True) + 1e-5
        else:
            mean, std = mean_std(x, correction=0, eps=1e-10)
        return (x - mean) / std * std_s + mean_s

    def decode(self, stylised: Transferred) -> Image:
        x, start = stylised.features["relu4_1"], 0
        for tap, stop in zip(FUSED, STOPS, strict=True):
            given = (stylised.features[f"{tap} {name}"] for name in ("mean", "std"))
            x, start = self.fuse(self.decoder[start:stop](x), *given), stop
        x = self.decoder[start:](x)
        if self.variant.mirrored:
            mean, std = (x.new_tensor(values)[:, None, None] for values in IMAGENET)
            return crop_to(x * std + mean, stylised.size)
        return crop_to(x + 0.5, stylised.size)  # 127.5 of 255

    def losses(self, content: Image, style: AnyImage, step: int) -> dict[str, Float[Tensor, ""]]:
        """The photograph from its own features; the painting takes no part."""
        code = self.encode_content(content)
        result = self.decode(Transferred({"relu4_1": code.features["relu4_1"], **self.statistics(code)}, code.size))
        scale = 1 / content.new_tensor(IMAGENET[1])[:, None, None] if self.variant.mirrored else 255.0
        y = full_precision(result) * scale
        output, wanted = self.judged(pad_to_multiple(result, 8)), self.judged(pad_to_multiple(content, 8), code)
        terms = {
            "pixels": mse(y, content * scale),
            "features": sum(
                square * mse(output[tap], wanted[tap])
                for tap, square in zip(STYLE_TAPS, self.variant.activations, strict=True)
            ),
            "total_variation": (y[..., 1:] - y[..., :-1]).abs().mean() + (y[..., 1:, :] - y[..., :-1, :]).abs().mean(),
        }
        return scale_terms(terms, self.variant)

    def attention(self, content: Encoded, style: Encoded) -> list[AttentionRecord]:
        """Matching: patches of the whitened content against unit patches of the whitened style.

        The arg-max is taken.
        """
        patch, pads = self.variant.patch, (self.variant.content_pad, "constant")
        flat = [whiten(code.features["relu4_1"][:1])[0].float() for code in (content, style)]
        queries, keys = (
            F.unfold(F.pad(x, (patch // 2,) * 4, mode=pad), patch)[0].T for x, pad in zip(flat, pads, strict=True)
        )
        grids = (tuple(x.shape[2:]) for x in flat)
        keys = keys / (keys.norm(dim=1, keepdim=True) + 1e-7)
        best = torch.cat([(part @ keys.T).argmax(dim=1) for part in queries.split(256)])
        return [AttentionRecord("relu4_1", queries, keys, *grids, step="match", matches=best)]

    def products(self, grids: Grids) -> int:
        """Whitening of both images, colouring, and every content patch with every style patch."""
        c, (n, m) = grids.channels[3], grids.tokens(4, multiple=8)
        whitening = sum(2 * c * c * count + 2 * c**3 for count in (n, m))
        return whitening + c * c * n + n * m * c * self.variant.patch**2

    operators = {"Avatar-Net matching": lambda maps: match(maps[0][0], maps[1][0], 3, "constant")}
    # The port's one file holds torchvision's VGG-19. Its colour preprocessing, RGB with ImageNet's mean and deviation,
    # is no part of the file: the encoder's first layer does it here.
    layout = Layout(
        {"check_point": ""},
        variant="port",
        vgg=False,
        rename={
            f"encoder.encoder.{number}.{index}.": f"encoder.layers.{TORCHVISION[index]}."
            for number, block in enumerate(ENCODER_BLOCKS)
            for index in block
        }
        | {
            f"decoder.decoder.{number}.{index}.": f"decoder.{index}."
            for number, segment in enumerate(DECODER_SEGMENTS)
            for index in segment
        },
        preset={
            "encoder.layers.0.weight": torch.diag(1 / torch.tensor(IMAGENET[1]))[:, :, None, None],
            "encoder.layers.0.bias": -torch.tensor(IMAGENET[0]) / torch.tensor(IMAGENET[1]),
        },
    )
