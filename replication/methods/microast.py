"""MicroAST: Wang et al., "MicroAST: Towards Super-Fast Ultra-Resolution Arbitrary Style Transfer", AAAI 2023.

arXiv 2211.15313. Two tiny encoders instead of VGG-19, and a decoder that the style modulates twice: its features by
AdaIN and its filters by numbers that a modulator reads off the style.

    f_c = E_c(I_c),  f_s = E_s(I_s)  at two levels,  (w, b) = M(f_s) for each level
    x1 = AdaIN(f_c^2, f_s^2),  x2 = R_1(x1; w_2, b_2),  x3 = AdaIN(x2, f_s^1),  x4 = R_2(x3; w_1, b_1),  image = D(x4)
    R(x; w, b) = x + w conv2(y) + b y,   y = relu(w conv1(x) + b x)
    L = L_c + 3 L_s + 3 L_ssc:  relu4_1 against the content, channel statistics at relu1_1..4_1 against the style, and
    L_ssc = sum over the batch of pos / neg: distances between the style signals of a result and those of its own style,
            over distances to the other styles of the batch

Notation: levels 1 and 2 are 64 channels at h/4; w, b are (64, 1, 1). Style signals are the statistics of both levels of
E_s and (w, b). w conv + b identity is a modulated filter; w scales the convolution's bias as well. Nothing is detached.

Two truths (EndyWon/MicroAST is the code)
  code   the negatives of level 1 compare with the other RESULTS, all others with the other styles. The default; it
         is what made the published weights.
  paper  all negatives compare with the other styles.
Both sum L_ssc over the batch and need at least two images. The widths (16, 32, 64) are the method's own, whatever the
encoder of the losses; alpha mixes the AdaINs only, not the filters, so 0 does not give the content back.

Public code, read for facts: EndyWon/MicroAST@5a6c905:net_microAST.py, train_microAST.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import UserError
from ..nn.encoder import AnyImage, Encoder, Image, check_image
from ..nn.layers import Feature, ReflectionPad2d, mean_std
from ..nn.losses import mse, statistics_style
from .adain import STYLE_TAPS, adain
from .base import Encoded, Layout, Method, Transferred, check_pair, crop_to, inverse_decay, scale_terms

Signals = dict[str, Float[Tensor, "batch 64 _ _"]]
LEVELS = ("level1", "level2")
# Of the auto-encoder that a training begins from. It must give colours back before statistics can bring the painting's:
# after 1500 steps of batch 2 at 2e-3 photographs came back grey, and results took 0.04 of the painting's chroma; after
# these they take 1.2 of it.
START_STEPS, START_BATCH, START_SIDE, START_RATE = 3000, 4, 96, 4e-3


@dataclass(frozen=True)
class Variant:
    """Loss weights of one reading of MicroAST.

    negatives  "results" or "styles": what the negatives of level 1 compare with
    """

    negatives: str = "results"
    content: float = 1.0
    style: float = 3.0
    contrast: float = 3.0

    def learning_rate(self, step: int, batch: int) -> float:
        """1e-4 / (1 + 5e-5 step), 160 000 steps of batch 8."""
        return inverse_decay(step)


CODE = Variant()
PAPER = Variant(negatives="styles")


class ConvLayer(nn.Module):
    """Convolution behind reflection padding; the convolution's name is that of the published checkpoint."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1):
        super().__init__()
        self.reflection_pad = ReflectionPad2d(kernel // 2)
        self.conv_layer = nn.Conv2d(inputs, outputs, kernel, stride, groups=groups)

    def forward(self, x: Float[Tensor, "b _ _ _"]) -> Float[Tensor, "b _ _ _"]:
        return self.conv_layer(self.reflection_pad(x))


class ResidualLayer(nn.Module):
    """Two 3x3 convolutions and a residual, with filters as they are or modulated by (w, b)."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1, self.relu, self.conv2 = (
            ConvLayer(channels, channels, 3),
            nn.ReLU(),
            ConvLayer(channels, channels, 3),
        )

    def forward(
        self, x: Feature, w: Float[Tensor, "_ c 1 1"] | float = 1.0, b: Float[Tensor, "_ c 1 1"] | float = 0.0
    ) -> Feature:
        y = self.relu(w * self.conv1(x) + b * x)
        return x + w * self.conv2(y) + b * y


class MicroEncoder(nn.Module):
    """Image to two levels of 64 channels at a quarter of the size. 157 792 parameters."""

    def __init__(self):
        super().__init__()
        self.enc1 = nn.Sequential(
            ConvLayer(3, 16, 9),
            nn.ReLU(),
            ConvLayer(16, 32, 3, stride=2, groups=16),
            nn.ReLU(),
            ConvLayer(32, 32, 1),
            nn.ReLU(),
            ConvLayer(32, 64, 3, stride=2, groups=32),
            nn.ReLU(),
            ConvLayer(64, 64, 1),
            nn.ReLU(),
            ResidualLayer(64),
        )
        self.enc2 = nn.Sequential(ResidualLayer(64))

    def forward(self, image: AnyImage) -> Signals:
        first = self.enc1(image)
        return {"level1": first, "level2": self.enc2(first)}


class Modulator(nn.Module):
    """Style features to w and b of each level. 2 560 parameters."""

    def __init__(self):
        super().__init__()
        for name in ("weight1", "bias1", "weight2", "bias2"):
            setattr(self, name, nn.Sequential(ConvLayer(64, 64, 3, groups=64), nn.AdaptiveAvgPool2d(1)))

    def forward(self, features: Signals) -> dict[str, Float[Tensor, "_ 64 1 1"]]:
        return {
            name: getattr(self, name)(features[level])
            for name, level in (("weight1", "level1"), ("bias1", "level1"), ("weight2", "level2"), ("bias2", "level2"))
        }


class MicroDecoder(nn.Module):
    """Modulated residual layers, then up by four. 153 843 parameters."""

    def __init__(self):
        super().__init__()
        self.dec1, self.dec2 = ResidualLayer(64), ResidualLayer(64)
        self.dec3 = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
            ConvLayer(64, 32, 3, groups=32),
            nn.ReLU(),
            ConvLayer(32, 32, 1),
            nn.ReLU(),
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
            ConvLayer(32, 16, 3, groups=16),
            nn.ReLU(),
            ConvLayer(16, 16, 1),
            nn.ReLU(),
            ConvLayer(16, 3, 9),
        )

    def modulate(self, content: Feature, style: Signals, alpha: float) -> Feature:
        """x4 of the equations."""
        x = alpha * adain(content, style["level2"]) + (1 - alpha) * content
        x = self.dec1(x, style["weight2"], style["bias2"])
        x = alpha * adain(x, style["level1"]) + (1 - alpha) * x
        return self.dec2(x, style["weight1"], style["bias1"])


def _crop(photographs: Sequence[AnyImage], generator: torch.Generator) -> Image:
    """A random square of START_SIDE pixels of a random photograph."""

    def below(bound: int) -> int:
        return int(torch.randint(bound, (1,), generator=generator))

    image = photographs[below(len(photographs))]
    top, left = (below(side - START_SIDE + 1) for side in image.shape[2:])
    return image[..., top : top + START_SIDE, left : left + START_SIDE]


def signal_distances(a: Signals, b: Signals) -> Float[Tensor, "names batch batch"]:
    """Squared distance between the signals of every item of `a` and every item of `b`, one line per signal.

    Levels are compared by channel means and standard deviations, modulation by its numbers. Each is a mean over 64
    channels.
    """
    lines = []
    for name in a:
        parts = zip(mean_std(a[name]), mean_std(b[name]), strict=True) if name in LEVELS else [(a[name], b[name])]
        lines.append(sum((x[:, None] - y[None]).square().mean(dim=(2, 3, 4)) for x, y in parts))
    return torch.stack(lines)


def contrast(result: Signals, style: Signals, negatives: str) -> Float[Tensor, ""]:
    """L_ssc: sum over the batch of the distance to the own style over the distance to the others.

    Raises UserError for a single image, which has no others.
    """
    to_styles = signal_distances(result, style)
    if to_styles.shape[1] < 2:
        raise UserError("MicroAST's style signal contrastive loss needs a batch of at least 2")
    others = to_styles
    if negatives == "results":
        among = signal_distances({"level1": result["level1"]}, {"level1": result["level1"]})
        others = torch.cat([among, to_styles[1:]])
    positive = to_styles.sum(dim=0).diagonal()
    total = others.sum(dim=0)
    return (positive / (total.sum(dim=1) - total.diagonal())).sum()


class MicroAST(Method):
    """MicroAST. 471 987 trainable parameters at any width (the paper's 0.472 M), none else in a stylisation."""

    title = "MicroAST"
    last, taps, mirrored = "relu4_1", (), False
    examples = 200
    variants = {"code": CODE, "paper": PAPER}

    def __init__(self, encoder: Encoder, variant: Variant = CODE):
        super().__init__(encoder, variant)
        self.content_encoder, self.style_encoder = MicroEncoder(), MicroEncoder()
        self.modulator, self.decoder = Modulator(), MicroDecoder()

    def begin(self, photographs: Sequence[AnyImage]) -> None:
        """E_c and D as an auto-encoder of photographs with filters as they are, and E_s as E_c.

        The first result is then AdaIN on the content encoder's features.
        """
        for name in ("weight1", "bias1", "weight2", "bias2"):
            modulation = getattr(self.modulator, name)[0].conv_layer
            nn.init.zeros_(modulation.weight)
            nn.init.constant_(modulation.bias, float(name.startswith("weight")))
        generator = torch.Generator().manual_seed(0)
        parameters = [*self.content_encoder.parameters(), *self.decoder.parameters()]
        optimiser = torch.optim.Adam(parameters, START_RATE)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, START_STEPS)
        for _ in range(START_STEPS):
            crops = torch.cat([_crop(photographs, generator) for _ in range(START_BATCH)]).to(parameters[0])
            own = self.content_encoder(crops)
            result = self.decoder.modulate(own["level2"], own | self.modulator(own), alpha=1.0)
            error = mse(self.decoder.dec3(result), crops)
            optimiser.zero_grad()
            error.backward()
            optimiser.step()
            schedule.step()
        self.style_encoder.load_state_dict(self.content_encoder.state_dict())

    def encode_content(self, image: Image) -> Encoded:
        """Both levels of E_c."""
        check_size(image)
        return Encoded(self.content_encoder(image), tuple(image.shape[2:]))

    def encode_style(self, image: AnyImage) -> Encoded:
        """Style signals: both levels of E_s, and w and b of each."""
        check_size(image)
        return Encoded(self.signals(image), tuple(image.shape[2:]))

    def signals(self, image: AnyImage) -> Signals:
        """level1, level2, weight1, bias1, weight2, bias2."""
        levels = self.style_encoder(image)
        return levels | self.modulator(levels)

    def transfer(self, content: Encoded, style: Encoded, alpha: float = 1.0) -> Transferred:
        """x4; alpha mixes each AdaIN with its input."""
        check_pair(content, style, "level2")
        return Transferred(
            {"level2": self.decoder.modulate(content.features["level2"], style.features, alpha)}, content.size
        )

    def decode(self, stylised: Transferred) -> Image:
        return crop_to(self.decoder.dec3(stylised.features["level2"]), stylised.size)

    def losses(self, content: Image, style: AnyImage, step: int) -> dict[str, Float[Tensor, ""]]:
        code = self.encode_style(style)
        result = self.decode(self.transfer(self.encode_content(content), code))
        output = self.judged(result)
        terms = {
            "content": mse(output["relu4_1"], self.judged(content)["relu4_1"]),
            "style": statistics_style(output, self.judged(style), STYLE_TAPS),
            "contrast": contrast(self.signals(result), code.features, self.variant.negatives),
        }
        return scale_terms(terms, self.variant)

    layout = Layout(
        {name: name for name in ("content_encoder", "style_encoder", "modulator", "decoder")},
        vgg=False,
    )


def check_size(image: AnyImage) -> None:
    """Raise UserError for a wrong image, or sides under 5 px, which the 9x9 convolution cannot reflect."""
    check_image(image)
    if min(image.shape[2:]) < 5:
        raise UserError(f"image is {image.shape[3]}x{image.shape[2]} px; MicroAST needs at least 5 px on each side")
