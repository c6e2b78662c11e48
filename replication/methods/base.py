"""The four steps every method shares: encode content, encode style, transfer, decode.

Encodings are computed once per image, transfer and decode once per pair. `Encoded` keeps the image size beside the
features because ceil-mode pooling forgets it, and the result is cut to the content's size.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..data.images import check_values
from ..errors import UserError
from ..nn.attention import AttentionRecord
from ..nn.encoder import AnyImage, Encoder, Image, check_image
from ..nn.layers import fit_convolution
from ..nn.losses import Features, content_style_identity
from .products import Grids


@dataclass(frozen=True)
class Encoded:
    """Features of an image by tap, and the (height, width) of the image."""

    features: Features
    size: tuple[int, int]


@dataclass(frozen=True)
class Transferred:
    """Stylised features by name, and the (height, width) of the image to decode."""

    features: Features
    size: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Layout:
    """Files of one method as its authors published them; `replication.official.load` reads them.

    roles    sub-module that each file fills; "" is the whole method without its encoder's file
    variant  whose structure the files have
    vgg      the files come beside a separate `vgg_normalised.pth`; else they hold the encoder, or need none
    rename   prefixes of published keys and what they are called here
    preset   tensors by key that are no part of the files
    """

    roles: dict[str, str]
    variant: str = "code"
    vgg: bool = True
    rename: Mapping[str, str] = field(default_factory=dict)
    preset: Mapping[str, Tensor] = field(default_factory=dict)


Operator = Callable[[list[Float[Tensor, "1 c h w"]]], object]


class Method(nn.Module):
    """Base of all methods: a frozen encoder, and the four steps.

    Subclasses build their trainable modules in `__init__` and write `transfer`, `decode` and `losses`; attention
    methods also write `attention`; methods with an encoder of their own overwrite `encode_content` and `encode_style`.
    A method without trained parameters needs neither losses nor weights.

    title      as the papers print it
    last       deepest tap of the frozen encoder that training reads
    taps       taps that a stylisation keeps, the deepest last; none when the frozen encoder serves the losses alone
    variants   readings and ablation arms by name; the first is the default
    mirrored   `decoder` mirrors the encoder, so training starts it from the shared auto-encoder
    examples   photographs that `begin` is fitted to
    layout     files that the authors published; None when there are none
    operators  attention operators of its own by name, on maps of queries, keys and values, for the benchmark of memory
    counts_depend_on_pixels
               what is multiplied depends on the pictures, not on their sizes alone
    """

    title: str
    last: str = "relu5_1"
    taps: tuple[str, ...] = ("relu4_1",)
    variants: dict[str, object] = {"default": None}
    mirrored: bool = True
    examples: int = 60
    layout: Layout | None = None
    operators: dict[str, Operator] = {}
    counts_depend_on_pixels: bool = False

    def __init__(self, encoder: Encoder, variant: object):
        super().__init__()
        self.encoder, self.variant = encoder if encoder.last == self.last else encoder.like(self.last), variant
        self.judge: Encoder | None = None

    def judge_by(self, encoder: Encoder) -> None:
        """Compute the losses on this encoder's features from now on, not on those that the method transfers."""
        self.judge = encoder.like(self.last)

    def begin(self, photographs: Sequence[AnyImage]) -> None:
        """Start from the method's form without parameters, its decoder an auto-encoder's; nothing by default.

        photographs  one at a time, of any size
        """

    def prepare(self, content: Image) -> None:
        """Called once before the first step of a training, with its first batch of contents; nothing by default."""

    def encode_content(self, image: Image) -> Encoded:
        """Features of the content image. Raises UserError for a wrong shape, NaN, or sides that are too small."""
        return Encoded(self.encoder(image, self.taps), tuple(image.shape[2:]))

    def features(self, image: AnyImage) -> Encoded:
        """All taps up to `last`, which the losses need."""
        return Encoded(self.encoder(image), tuple(image.shape[2:]))

    def judged(self, image: AnyImage, own: Encoded | None = None) -> Features:
        """All taps up to `last` of the network that judges: the encoder, unless `judge_by` named another.

        own  the encoder's features of the image, where they are known already
        """
        if self.judge is not None:
            return self.judge(image)
        return self.encoder(image) if own is None else own.features

    def encode_style(self, image: Image) -> Encoded:
        """Features of the style image; its size is free."""
        return self.encode_content(image)

    def transfer(self, content: Encoded, style: Encoded) -> Transferred:
        """Stylised features. Batches must match, or the style's must be 1."""
        raise NotImplementedError

    def decode(self, stylised: Transferred) -> Image:
        """Stylised image, not clamped, of the content's size; by default `decoder` on relu4_1 features."""
        return crop_to(self.decoder(stylised.features["relu4_1"]), stylised.size)

    def losses(self, content: Image, style: AnyImage, step: int) -> dict[str, Float[Tensor, ""]]:
        """Weighted training loss terms of a batch; their sum is minimised."""
        raise NotImplementedError

    def attention(self, content: Encoded, style: Encoded) -> list[AttentionRecord]:
        """What the first pair of the batch attends to, one record per attention operation; none by default."""
        return []

    def products(self, grids: Grids) -> int:
        """Multiply-adds of a stylisation beside those of convolutions and linear layers; none by default."""
        return 0

    def forward(self, content: Image, style: AnyImage) -> Image:
        """Stylise `content` (batch, 3, h, w) with `style` (batch or 1, 3, any, any).

        Returns (batch, 3, h, w), unclamped.
        Raises UserError for another shape, another floating-point type than the weights', and values not in [0, 1].
        """
        check_input(self, content, "content")
        check_input(self, style, "style")
        if style.shape[0] not in (1, content.shape[0]):
            raise UserError(
                f"batch of {content.shape[0]} contents and {style.shape[0]} styles; give one style, or one for each"
                " content"
            )
        code = self.encode_style(style)
        if style.shape[0] != content.shape[0]:
            code = Encoded({tap: f.expand(content.shape[0], -1, -1, -1) for tap, f in code.features.items()}, code.size)
        return self.decode(self.transfer(self.encode_content(content), code))

    def published_learning_rate(self, step: int, batch: int) -> float:
        """Learning rate of the authors' training at a 0-based step; AdaIN's for a variant that has none."""
        known = getattr(self.variant, "learning_rate", None)
        return inverse_decay(step) if known is None else known(step, batch)


class FeatureTransfer(Method):
    """SANet and its kin: features in, relu4_1 features out, the mirrored decoder, SANet's loss terms.

    Subclasses write `transform`, the method's equation.
    """

    def transform(self, content: Encoded, style: Encoded) -> Float[Tensor, "b c h w"]:
        """Stylised relu4_1 features."""
        raise NotImplementedError

    def transfer(self, content: Encoded, style: Encoded, alpha: float = 1.0) -> Transferred:
        """T(c, s); alpha below 1 mixes in T(c, c), the content stylised with itself."""
        check_pair(content, style, "relu4_1")
        stylised = self.transform(content, style)
        if alpha != 1.0:
            stylised = alpha * stylised + (1 - alpha) * self.transform(content, content)
        return Transferred({"relu4_1": stylised}, content.size)

    def shared_terms(
        self, images: tuple[Image, AnyImage], c: Encoded, s: Encoded
    ) -> tuple[Image, dict[str, Float[Tensor, ""]]]:
        """The stylised image and SANet's four terms, unweighted, from images and the encoder's features of them."""
        result, *same = (self.decode(self.transfer(*pair)) for pair in ((c, s), (c, c), (s, s)))
        features = tuple(self.judged(image, own) for image, own in zip(images, (c, s), strict=True))
        return result, content_style_identity(self.judged, images, features, result, tuple(same))


def crop_to(image: AnyImage, size: tuple[int, int]) -> AnyImage:
    """Cut the decoder's output, which is a multiple of 8, to the content's size."""
    return image[..., : size[0], : size[1]]


def scale_terms(terms: dict[str, Float[Tensor, ""]], variant: object) -> dict[str, Float[Tensor, ""]]:
    """Multiply each loss term by the variant's field of its name; terms of weight 0 are left out."""
    weights = {name: getattr(variant, name) for name in terms}
    return {name: weights[name] * term for name, term in terms.items() if weights[name]}


def inverse_decay(step: int, rate: float = 1e-4, decay: float = 5e-5) -> float:
    """rate / (1 + decay * step), the schedule of AdaIN and of the code built on it."""
    return rate / (1 + decay * step)


def initialise_normal(module: nn.Module, std: float = 0.02) -> None:
    """Weights N(0, std), biases 0: the initial state of AdaAttN and of the code built on it."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, 0.0, std)
            nn.init.zeros_(layer.bias)


def identities(module: nn.Module) -> None:
    """Every linear map of tokens that is trained and keeps their channels becomes the identity."""
    for layer in module.modules():
        if not isinstance(layer, nn.Conv2d) or not layer.weight.requires_grad:
            continue
        if layer.kernel_size == (1, 1) and layer.in_channels == layer.out_channels:
            nn.init.dirac_(layer.weight)
            nn.init.zeros_(layer.bias)


@torch.no_grad()
def fit_merge(model: Method, merge: nn.Conv2d, photographs: Sequence[AnyImage]) -> None:
    """Fit the convolution that merges relu4_1 and relu5_1 by least squares.

    Of a photograph stylised with itself it should give back relu4_1.
    """
    seen: list[Tensor] = []
    handle = merge.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    wanted = []
    for photograph in photographs:
        code = model.encode_content(photograph)
        model.transfer(code, model.encode_style(photograph))
        wanted.append(code.features["relu4_1"])
    handle.remove()
    fit_convolution(merge, seen, wanted, seed=0, rows=500)


# Parts of style to one part of F_c before the first step of a method that adds the style's share to F_c.
START_STRENGTH = 3.0


def weaken_input(target: nn.Sequential) -> None:
    """Divide what a decoder reads by START_STRENGTH and one, for features that begin so much larger."""
    first = next(layer for layer in target if isinstance(layer, nn.Conv2d))
    first.weight.data.div_(1 + START_STRENGTH)


def conv1x1(inputs: int, outputs: int) -> nn.Conv2d:
    """A 1x1 convolution with bias: a linear map of every token."""
    return nn.Conv2d(inputs, outputs, 1)


def check_input(model: nn.Module, image: Tensor, name: str) -> None:
    """Raise UserError unless `image` is a batch of pictures in [0, 1] of the weights' type."""
    check_image(image)
    check_values(image, name)
    weights = next((p.dtype for p in model.parameters() if p.is_floating_point()), image.dtype)
    kind, own = (str(dtype).removeprefix("torch.") for dtype in (image.dtype, weights))
    if weights not in (torch.float32, torch.float64):
        raise UserError(
            f"the model's weights are {own}, which its statistics cannot be computed in; take model.float(), and"
            f" torch.autocast(device, torch.{own}) for speed"
        )
    if image.dtype != weights:
        raise UserError(f"{name} is {kind} and the model's weights are {own}; give {name}.to(torch.{own})")


def check_pair(content: Encoded, style: Encoded, tap: str) -> None:
    """Raise UserError unless both encodings hold `tap` with equal batch and channels."""
    a, b = content.features[tap].shape, style.features[tap].shape
    if a[:2] != b[:2]:
        raise UserError(
            f"content has batch {a[0]} and {a[1]} channels at {tap}, style {b[0]} and {b[1]}; encode both with one"
            " model"
        )


def parameter_count(module: nn.Module, trainable: bool = True) -> int:
    """Number of parameters; the trainable ones alone by default."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad or not trainable)


def stylisation_parameters(model: Method) -> int:
    """Parameters that a stylisation reads: the method's own, and the encoder's up to the deepest tap that it reads."""
    own = parameter_count(model, trainable=False) - parameter_count(model.encoder, trainable=False)
    return own + (parameter_count(model.encoder.like(model.taps[-1]), trainable=False) if model.taps else 0)
