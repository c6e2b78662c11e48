"""ArtFlow: An et al., "ArtFlow: Unbiased Image Style Transfer via Reversible Neural Flows", CVPR 2021.

arXiv 2103.16877. No VGG and no decoder in a stylisation: one reversible network F is both, so nothing is lost between
coding and decoding, and stylising again and again does not eat the content:

    z_c = F(I_c),  z_s = F(I_s),  z_cs = T(z_c, z_s),  I_cs = F^-1(z_cs);   T is AdaIN or WCT, without parameters
    F = two blocks of: squeeze 2x2, then 8 flows of
        actnorm     y = scale (x + loc)
        1x1 conv    y = W x,  W = P (L + I) (U + diag(s))
        coupling    (a, b) -> (a, b + NN(a)),  NN = conv3x3, ReLU, conv1x1, ReLU, zero conv
    L = 0.1 L_c + L_s:  raw relu4_1 features against the content, channel statistics at relu1_1..4_1 against the style

Notation: z is (48, h/4, w/4), as many numbers as the image. P is a fixed permutation, L and U strictly triangular, s
the diagonal. The zero conv pads with ONES, starts at zero and is scaled by exp(3 scale). The first conv pads with 0.

Truths (pkuanjie/ArtFlow is the code)
  adain        unbiased variance + 1e-5. The default.
  wct          covariance / (N - 1), eigenvalues below 1e-5 left out, no blending; every image by itself.
  wct-batched  the code's WCT, which reads a batch as one image. For one image that is right; for more it mixes images
               and channels. The released training ran on it.
The paper's order of the three layers in a flow differs from the code's, which is taken. The flow takes no part in the
widths of the encoder but for its hidden layers: 512 for VGG-19, as published, and the student's relu4_1 width
otherwise. Sides must be multiples of 4: others are extended by reflection, and the result is cut. Actnorm takes its
start from the first batch of contents (`prepare`); in the published code any first image does that, even in a test, if
a flag in the file is lost. The code clips gradients at a norm of 5; training here clips none.

Public code, read for facts: pkuanjie/ArtFlow@bbc33ec:glow_adain.py, glow_wct.py, train.py.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ..nn.encoder import AnyImage, Encoder, Image, check_image
from ..nn.layers import Feature, full_precision, full_precision_region, pad_to_multiple, whiten_and_colour
from ..nn.losses import mse, statistics_style
from .adain import STYLE_TAPS, adain
from .base import Encoded, Layout, Method, Transferred, check_pair, crop_to, inverse_decay, scale_terms
from .products import Grids, wct_products

FLOOR = 1e-5


@dataclass(frozen=True)
class Variant:
    """One reading of ArtFlow: the transfer operator, "adain", "wct" or "wct-batched"."""

    operator: str = "adain"
    content: float = 0.1
    style: float = 1.0

    def learning_rate(self, step: int, batch: int) -> float:
        """1e-4 / (1 + 5e-5 step), 160 000 steps of batch 4 in the code.

        The paper is remembered as 60 000 of batch 2.
        """
        return inverse_decay(step)


VARIANTS = {name: Variant(name) for name in ("adain", "wct", "wct-batched")}


class ActNorm(nn.Module):
    """Per-channel scale and shift. Training starts by making one batch's output zero mean and unit variance."""

    def __init__(self, channels: int):
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.scale = nn.Parameter(torch.ones(1, channels, 1, 1))
        self.register_buffer("initialized", torch.tensor(0, dtype=torch.uint8))

    def initialise(self, x: Feature) -> None:
        """Set the shift and scale from a batch."""
        self.loc.data.copy_(-x.mean(dim=(0, 2, 3), keepdim=True))
        self.scale.data.copy_(1 / (x.std(dim=(0, 2, 3), keepdim=True) + 1e-6))
        self.initialized.fill_(1)

    def forward(self, x: Feature) -> Feature:
        return self.scale * (x + self.loc)

    def reverse(self, y: Feature) -> Feature:
        """Inverse of `forward`."""
        return y / self.scale - self.loc


class InvertibleConv(nn.Module):
    """1x1 convolution by a matrix kept as its LU factors. The buffers are drawn once and belong to the weights."""

    def __init__(self, channels: int):
        super().__init__()
        rotation = torch.linalg.qr(torch.randn(channels, channels))[0]
        permutation, lower, upper = torch.linalg.lu(rotation)
        diagonal = upper.diagonal()
        self.w_l, self.w_u = nn.Parameter(lower.clone()), nn.Parameter(upper.triu(1))
        self.w_s = nn.Parameter(diagonal.abs().log())
        self.register_buffer("w_p", permutation)
        self.register_buffer("u_mask", torch.ones(channels, channels).triu(1))
        self.register_buffer("l_mask", torch.ones(channels, channels).tril(-1))
        self.register_buffer("s_sign", diagonal.sign())
        self.register_buffer("l_eye", torch.eye(channels))

    def matrix(self) -> Float[Tensor, "c c"]:
        """W = P (L + I) (U + diag(s))."""
        lower = self.w_l * self.l_mask + self.l_eye
        return self.w_p @ lower @ (self.w_u * self.u_mask + torch.diag(self.s_sign * self.w_s.exp()))

    def forward(self, x: Feature, inverse: bool = False) -> Feature:
        # Half precision would end reversibility here; in the coupling's function it does no harm.
        with full_precision_region(x):
            matrix = torch.linalg.inv(self.matrix()) if inverse else self.matrix()
            return F.conv2d(full_precision(x), matrix[:, :, None, None])

    def reverse(self, y: Feature) -> Feature:
        """Inverse of `forward`."""
        return self(y, inverse=True)


class ZeroConv(nn.Module):
    """3x3 convolution behind a border of ones, times exp(3 scale); all zero at the start."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3)
        self.scale = nn.Parameter(torch.zeros(1, outputs, 1, 1))
        nn.init.zeros_(self.conv.weight)
        nn.init.zeros_(self.conv.bias)

    def forward(self, x: Float[Tensor, "b _ h w"]) -> Float[Tensor, "b _ h w"]:
        return self.conv(F.pad(x, (1, 1, 1, 1), value=1.0)) * (3 * self.scale).exp()


class Coupling(nn.Module):
    """Adds a function of the first half of the channels to the second half."""

    def __init__(self, channels: int, hidden: int):
        super().__init__()
        half = channels // 2
        self.net = nn.Sequential(
            nn.Conv2d(half, hidden, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(hidden, hidden, 1),
            nn.ReLU(),
            ZeroConv(hidden, half),
        )
        for layer in (self.net[0], self.net[2]):
            nn.init.normal_(layer.weight, 0.0, 0.05)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Feature, sign: int = 1) -> Feature:
        a, b = x.chunk(2, dim=1)
        return torch.cat([a, b + sign * self.net(a)], dim=1)

    def reverse(self, y: Feature) -> Feature:
        """Inverse of `forward`."""
        return self(y, sign=-1)


class Flow(nn.Module):
    """Actnorm, 1x1 convolution, coupling."""

    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.actnorm, self.invconv, self.coupling = (
            ActNorm(channels),
            InvertibleConv(channels),
            Coupling(channels, hidden),
        )

    def forward(self, x: Feature) -> Feature:
        return self.coupling(self.invconv(self.actnorm(x)))

    def reverse(self, y: Feature) -> Feature:
        """Inverse of `forward`."""
        return self.actnorm.reverse(self.invconv.reverse(self.coupling.reverse(y)))


class Block(nn.Module):
    """Squeeze 2x2 pixels into channels, then the flows."""

    def __init__(self, channels: int, hidden: int, flows: int = 8):
        super().__init__()
        self.flows = nn.ModuleList(Flow(4 * channels, hidden) for _ in range(flows))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b _ _ _"]:
        x = F.pixel_unshuffle(x, 2)
        for flow in self.flows:
            x = flow(x)
        return x

    def reverse(self, y: Float[Tensor, "b c h w"]) -> Float[Tensor, "b _ _ _"]:
        """Inverse of `forward`."""
        for flow in reversed(self.flows):
            y = flow.reverse(y)
        return F.pixel_shuffle(y, 2)


class Glow(nn.Module):
    """The reversible network.

    Names are those of the published checkpoint. 6 463 616 parameters with 512 hidden channels.
    """

    def __init__(self, hidden: int):
        super().__init__()
        self.blocks = nn.ModuleList([Block(3, hidden), Block(12, hidden)])

    def forward(self, image: AnyImage) -> Float[Tensor, "b 48 _ _"]:
        for block in self.blocks:
            image = block(image)
        return image

    @torch.no_grad()
    def initialise(self, image: AnyImage) -> None:
        """Set every actnorm from a batch, front to back."""
        for block in self.blocks:
            image = F.pixel_unshuffle(image, 2)
            for flow in block.flows:
                flow.actnorm.initialise(image)
                image = flow(image)

    def reverse(self, code: Float[Tensor, "b 48 _ _"]) -> AnyImage:
        """Inverse of `forward`."""
        for block in reversed(self.blocks):
            code = block.reverse(code)
        return code


def wct(content: Float[Tensor, "b c h w"], style: Float[Tensor, "b c _ _"], batched: bool) -> Float[Tensor, "b c h w"]:
    """WCT of codes; `batched` reshapes the whole batch to (c, everything), as the published code does."""
    if batched:
        # (b, c, h, w) -> (c, b hw), whose order the published code mixes up
        c, s = (full_precision(x).reshape(x.shape[1], -1) for x in (content, style))
    else:
        c, s = (full_precision(x).flatten(2) for x in (content, style))  # (b, c, h, w) -> (b, c, hw)
    return whiten_and_colour(c, s, FLOOR).reshape(content.shape)  # -> (b, c, h, w)


class ArtFlow(Method):
    """ArtFlow with AdaIN or WCT in the middle.

    6 463 616 trainable parameters at VGG-19 width, none else in a stylisation.
    """

    title = "ArtFlow"
    last, taps, mirrored = "relu4_1", (), False
    variants = VARIANTS

    def __init__(self, encoder: Encoder, variant: Variant = VARIANTS["adain"]):
        super().__init__(encoder, variant)
        self.glow = Glow(encoder.channels[3])

    def prepare(self, content: Image) -> None:
        """Start actnorm from the first batch of contents."""
        self.glow.initialise(pad_to_multiple(content, 4))

    def encode_content(self, image: Image) -> Encoded:
        """The code z as feature "z"."""
        check_image(image)
        return Encoded({"z": self.glow(pad_to_multiple(image, 4))}, tuple(image.shape[2:]))

    def transfer(self, content: Encoded, style: Encoded) -> Transferred:
        """z_cs."""
        check_pair(content, style, "z")
        z_c, z_s = content.features["z"], style.features["z"]
        if self.variant.operator == "adain":
            return Transferred({"z": adain(z_c, z_s)}, content.size)
        return Transferred({"z": wct(z_c, z_s, batched=self.variant.operator == "wct-batched")}, content.size)

    def decode(self, stylised: Transferred) -> Image:
        return crop_to(self.glow.reverse(stylised.features["z"]), stylised.size)

    def losses(self, content: Image, style: AnyImage, step: int) -> dict[str, Float[Tensor, ""]]:
        output = self.judged(self(content, style))
        terms = {
            "content": mse(output["relu4_1"], self.judged(content)["relu4_1"]),
            "style": statistics_style(output, self.judged(style), STYLE_TAPS),
        }
        return scale_terms(terms, self.variant)

    def products(self, grids: Grids) -> int:
        """Of the 1x1 convolutions: content and style one way, the result back; and of WCT."""
        n, m = grids.patches(4)

        def one_pass(codes: int) -> int:  # 8 flows a block: W made of three matrices, and applied
            return sum(8 * (count * c * c + 2 * c**3) for c, count in ((12, 4 * codes), (48, codes)))

        total = 2 * one_pass(n) + one_pass(m)
        return total if self.variant.operator == "adain" else total + wct_products(48, n, m)

    layout = Layout({"glow": "glow"}, variant="adain", vgg=False)
