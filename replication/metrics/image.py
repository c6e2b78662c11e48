"""Metrics by name, one function each, one value per pair.

Images are (batch, 3, height, width), RGB in [0, 1]. A result is clamped to [0, 1] before it is measured, as it would be
when written to a file. Content and style loss always use VGG-19, whatever width the method has. Features are
dictionaries of taps as the encoder returns them; mu and sigma are channel statistics over space, sigma = sqrt(unbiased
variance + 1e-5), and bar F = (F - mu) / sigma.
"""

from functools import cached_property, lru_cache

import numpy as np
import torch
from jaxtyping import Float
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from ..data.images import check_values, grey, to_uint8
from ..errors import UserError
from ..nn.encoder import TAPS, Image, check_image, load_encoder
from ..nn.layers import mean_std, normalise
from ..nn.losses import Features
from ..weights.backbones import backbone_hashes, find_backbone
from ..weights.shipped import load_checkpoint, model_card
from .backbones import lpips_distance
from .edges import THRESHOLDS, EdgeMap, compare_edges, find_canny_edges, leakage

Values = Float[Tensor, " batch"]
CONTENT_TAPS = ("relu4_1", "relu5_1")
SUBSTITUTE = "lpips-substitute"
# Parts a side of the image, for `style_spread`.
TILES = 4


# How far the values of a picture that comes from a file may lie outside of [0, 1]: rounding of a resize, not more.
OVERSHOOT = 0.02


def check_range(image: Image, name: str, from_file: bool = False) -> Image:
    """Clamp to [0, 1], in float32.

    from_file  the image is a content or a style, not a model's result, which may lie a little outside of [0, 1]

    Raises UserError for NaN, a wrong shape, or values that look like bytes or like [-1, 1].
    """
    check_image(image)
    check_values(image, name)
    if from_file and (image.min() < -OVERSHOOT or image.max() > 1 + OVERSHOOT):
        raise UserError(
            f"{name} has values from {image.min():.2f} to {image.max():.2f}; contents and styles are RGB in [0, 1]:"
            " bring [-1, 1] there with (image + 1) / 2, bytes by dividing by 255"
        )
    return image.float().clamp(0, 1)


@torch.inference_mode()
def encode(image: Image) -> Features:
    """VGG-19 features of an image, for the losses below."""
    return load_encoder("vgg19").to(image.device)(check_range(image, "image"))


class Target:
    """An image that results are held against. What every comparison needs of it is computed once, when first asked for.

    Raises UserError for NaN, a wrong shape, or values outside of [0, 1].
    """

    def __init__(self, image: Image):
        self.image = check_range(image, "content or style", from_file=True)

    @cached_property
    def features(self) -> Features:
        """VGG-19's."""
        return encode(self.image)

    @cached_property
    def statistics(self) -> list[Tensor]:
        """mu and sigma of every tap."""
        return statistics(self.features)

    @cached_property
    def directions(self) -> Features:
        """Features of unit length at every position."""
        return directions(self.features)

    @cached_property
    def edges(self) -> list[dict[str, EdgeMap]]:
        """Of every image of the batch, by suffix of the thresholds."""
        return find_edges(self.image)


def _mse(a: Tensor, b: Tensor) -> Values:
    return (a - b).square_().mean(dim=(1, 2, 3))


def content_loss(result: Features, content: Features) -> Values:
    """sum over relu4_1, relu5_1 of MSE(bar F(result), bar F(content)).

    0 for equal images, about 2 per layer for unrelated ones.
    """
    return sum(_mse(normalise(result[tap]), normalise(content[tap])) for tap in CONTENT_TAPS)


def content_loss_b(result: Features, content: Features) -> Values:
    """mean over relu4_1, relu5_1 of MSE(F(result), F(content)), raw features."""
    return sum(_mse(result[tap], content[tap]) for tap in CONTENT_TAPS) / len(CONTENT_TAPS)


def statistics(features: Features) -> list[Tensor]:
    """mu and sigma of every tap, one after the other."""
    return [part for tap in TAPS for part in mean_std(features[tap])]


def style_loss(result: Features, style: list[Tensor]) -> Values:
    """sum over relu1_1..relu5_1 of MSE(mu) + MSE(sigma): at least 0; sizes may differ, positions do not matter.

    style  `statistics` of the painting's features
    """
    return sum(_mse(a, b) for a, b in zip(statistics(result), style, strict=True))


def _each(function, result: Image, content: Image) -> Values:
    values = [function(a, b) for a, b in zip(to_uint8(content), to_uint8(result), strict=True)]
    return torch.tensor(values, dtype=torch.float64)


def ssim_grey(result: Image, content: Image) -> Values:
    """SSIM of 8-bit grey images with scikit-image's defaults, -1 to 1."""
    return _each(lambda a, b: structural_similarity(grey(a), grey(b), data_range=255), result, content)


def ssim_rgb(result: Image, content: Image) -> Values:
    """SSIM of 8-bit RGB images, mean over channels, -1 to 1."""
    return _each(lambda a, b: structural_similarity(a, b, channel_axis=-1, data_range=255), result, content)


def ssim_gaussian(result: Image, content: Image) -> Values:
    """SSIM as in Wang et al. 2004: Gaussian window, population covariance, grey, -1 to 1."""
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    return _each(lambda a, b: structural_similarity(grey(a), grey(b), **options), result, content)


def find_edges(image: Image) -> list[dict[str, EdgeMap]]:
    """Edges of the 8-bit grey images of a batch, by suffix of the thresholds."""
    return [
        {suffix: EdgeMap(find_canny_edges(grey(x), *thresholds)) for suffix, thresholds in THRESHOLDS.items()}
        for x in to_uint8(image)
    ]


def edge_scores(result: Image, content: list[dict[str, EdgeMap]], style: list[dict[str, EdgeMap]]) -> dict[str, Values]:
    """`compare_edges` at every pair of thresholds, and `leakage` at the middle one.

    Names end in the suffix of the thresholds.

    content, style  `find_edges` of the photographs and of the paintings
    """
    found: dict[str, list[float]] = {"edge_leakage": []}
    for a, b, c in zip(find_edges(result), content, style, strict=True):
        found["edge_leakage"].append(leakage(a[""], b[""], c[""]))
        for suffix in THRESHOLDS:
            for name, value in compare_edges(a[suffix], b[suffix]).items():
                found.setdefault(f"{name}{suffix}", []).append(value)
    return {name: torch.tensor(values, dtype=torch.float64) for name, values in found.items()}


def detail(image: Image) -> Values:
    """100 x root mean square of the grey image, in [0, 1], minus its Gaussian of 2 px.

    How much fine texture there is.
    """
    luma = [grey(x) / 255 for x in to_uint8(image)]
    return torch.tensor(
        [100 * np.sqrt(np.square(x - gaussian_filter(x, 2.0)).mean()) for x in luma], dtype=torch.float64
    )


def style_spread(result: Features, style: list[Tensor]) -> Values:
    """Standard deviation over mean of the style loss at relu3_1 of TILES x TILES parts of the result.

    0 when every part is as near to the style.
    """
    at = 2 * TAPS.index("relu3_1")
    rows = (row for line in result[TAPS[at // 2]].tensor_split(TILES, dim=2) for row in line.tensor_split(TILES, dim=3))
    losses = torch.stack(
        [sum(_mse(a, b) for a, b in zip(mean_std(part), style[at : at + 2], strict=True)) for part in rows]
    )
    return losses.std(dim=0, correction=0) / losses.mean(dim=0)


def psnr(result: Image, content: Image) -> Values:
    """Peak signal-to-noise ratio in dB; 100 stands for equal images, whose ratio is infinite."""
    return _each(
        lambda a, b: 100.0 if np.array_equal(a, b) else peak_signal_noise_ratio(a, b, data_range=255), result, content
    )


def directions(features: Features) -> Features:
    """Features of unit length at every position."""
    return {tap: torch.nn.functional.normalize(features[tap], dim=1, eps=1e-10) for tap in TAPS}


def channel_differences(result: Features, content: Features) -> Float[Tensor, "batch channels"]:
    """Squared differences of two `directions`, mean over space, all taps concatenated: what LPIPS weighs and sums."""
    # Squared in place: a second map of this size costs more than the arithmetic.
    return torch.cat([(result[tap] - content[tap]).square_().mean(dim=(2, 3)) for tap in TAPS], dim=1)


@lru_cache
def _substitute_weights() -> Tensor:
    return load_checkpoint(SUBSTITUTE)["weights"]


def lpips_vgg_substitute(result: Features, content: Features) -> Values:
    """sum over channels of w (difference of `directions`)^2 with our fitted w >= 0.

    At least 0, symmetric. Not LPIPS.
    """
    return channel_differences(result, content) @ _substitute_weights().to(result[TAPS[0]].device)


def perceptual_column() -> str:
    """The column to fill: "lpips" when AlexNet's weights are on this machine, else "lpips_vgg_substitute".

    Nothing is downloaded.
    """
    return "lpips" if find_backbone("alexnet") else "lpips_vgg_substitute"


def lpips(result: Image, content: Image) -> Values:
    """LPIPS with AlexNet, at least 0. Raises UserError when the weights are absent."""
    return lpips_distance("alexnet", result, content)


def lpips_vgg(result: Image, content: Image) -> Values:
    """LPIPS with VGG-16, at least 0. Raises UserError when the weights are absent."""
    return lpips_distance("vgg16", result, content)


@torch.inference_mode()
def measure_image(result: Image, content: Target, style: Target) -> dict[str, Values]:
    """All metrics of a batch of results against their contents and styles.

    Raises UserError when the result holds NaN, is not in [0, 1] even roughly, or differs from the content in size.
    """
    if result.shape != content.image.shape:
        raise UserError(
            f"result has shape {tuple(result.shape)}, content {tuple(content.image.shape)}; metrics against the content"
            " need equal sizes"
        )
    if len(style.image) != len(result):
        raise UserError(
            f"a batch of {len(result)} results and {len(style.image)} styles; give one style for each result"
        )
    result, image = check_range(result, "result"), content.image
    features = encode(result)
    to_style = style_loss(features, style.statistics)
    values = {
        "content_loss": content_loss(features, content.features),
        "style_loss": to_style,
        "content_loss_b": content_loss_b(features, content.features),
        "style_loss_b": to_style / len(TAPS),
        "ssim_grey": ssim_grey(result, image),
        "ssim_rgb": ssim_rgb(result, image),
        "ssim_gaussian": ssim_gaussian(result, image),
        "psnr": psnr(result, image),
        **edge_scores(result, content.edges, style.edges),
        "detail": detail(result),
        "style_spread": style_spread(features, style.statistics),
    }
    column = perceptual_column()
    values[column] = (
        lpips(result, image) if column == "lpips" else lpips_vgg_substitute(directions(features), content.directions)
    )
    if find_backbone("vgg16"):
        values["lpips_vgg"] = lpips_vgg(result, image)
    return values


def metrics_version() -> dict[str, str]:
    """What determines a measured value besides the code: the perceptual columns and their weights."""
    column, hashes = perceptual_column(), backbone_hashes()
    own = {"perceptual": column, "weights": hashes.get("alexnet") or model_card(SUBSTITUTE)["sha256"]}
    return own | ({"lpips_vgg": hashes["vgg16"]} if "vgg16" in hashes else {})
