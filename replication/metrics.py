"""Metrics by name, one function each, one value per pair.

Images are (batch, 3, height, width), RGB in [0, 1]. A result is clamped to [0, 1] before it is measured, as it would be when
written to a file. Content and style loss always use VGG-19, whatever width the method has. Features are dictionaries of
taps as the encoder returns them; mu and sigma are channel statistics over space, sigma = sqrt(unbiased variance + 1e-5), and
bar F = (F - mu) / sigma.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from . import edges
from .checkpoints import card, load_checkpoint
from .data import to_uint8
from .encoder import TAPS, Image, check_image, load_encoder
from .errors import UserError
from .layers import mean_std, normalise
from .losses import Features

Values = Float[Tensor, " batch"]
CONTENT_TAPS = ("relu4_1", "relu5_1")
SUBSTITUTE = "lpips-substitute"
# Parts a side of the image, for `style_spread`.
TILES = 4


@dataclass(frozen=True)
class Metric:
    """What a metric is: title for tables, better "lower" or "higher" or "" for neither, compared with "content" or "style", definition."""

    title: str
    better: str
    against: str
    definition: str


METRICS = {
    "content_loss": Metric("content loss", "lower", "content", "sum over relu4_1, relu5_1 of MSE of normalised features, 0 to about 4 (StyTr2's code)"),
    "style_loss": Metric("style loss", "lower", "style", "sum over relu1_1..relu5_1 of MSE(mu) + MSE(sigma) (StyTr2's code)"),
    "content_loss_b": Metric("content loss B", "lower", "content", "mean over relu4_1, relu5_1 of MSE of raw features (MicroAST's script, RGB)"),
    "style_loss_b": Metric("style loss B", "lower", "style", "mean over relu1_1..relu5_1 of MSE(mu) + MSE(sigma) (MicroAST's script, RGB)"),
    "ssim_grey": Metric("SSIM", "higher", "content", "8-bit grey, 7x7 uniform window, sample covariance (MicroAST's script); primary"),
    "ssim_rgb": Metric("SSIM RGB", "higher", "content", "8-bit RGB, 7x7 uniform window, mean over channels"),
    "ssim_gaussian": Metric("SSIM Gaussian", "higher", "content", "8-bit grey, 11x11 Gaussian window of 1.5, Wang et al. 2004"),
    "detail": Metric("fine detail", "", "content", "100 x RMS of grey minus its Gaussian of 2 px; neither more nor less is better"),
    "style_spread": Metric("unevenness of style", "lower", "style", "standard deviation over mean of the style loss at relu3_1 of 4x4 tiles"),
    "psnr": Metric("PSNR", "higher", "content", "10 log10(255^2 / MSE) in dB over RGB jointly, 8-bit"),
    "lpips": Metric("LPIPS", "lower", "content", "lpips 0.1, AlexNet"),
    "lpips_vgg_substitute": Metric("LPIPS substitute (VGG)", "lower", "content", "LPIPS formula on VGG-19 normalised, weights fitted to LPIPS-SqueezeNet"),
}  # fmt: skip
# Of semantic_metrics: on pairs with maps alone.
METRICS |= {
    "ssl": Metric("SSL", "lower", "style", "style loss of regions of one class, mean over classes; our reading, the formula could not be read"),
    "ssl_area": Metric("SSL by area", "lower", "style", "the same, classes weighted by their area in the content"),
    "ssl_gram": Metric("SSL, Gram", "lower", "style", "MSE of regions' Gram matrices, sum over relu1_1..relu5_1, mean over classes"),
    "region_colour": Metric("colour of regions", "lower", "style", "distance of mean CIELAB colours of regions of one class, mean over classes"),
    "cfsd_sum": Metric("CFSD substitute, sum", "lower", "content", "StyleID's script on relu3_1 of VGG-19 normalised: divergence of self-similarities, summed over positions"),
    "cfsd_mean": Metric("CFSD substitute x 1000", "lower", "content", "the same, mean over positions, times 1000"),
    "frechet_substitute": Metric("Frechet distance substitute", "lower", "style", "of all results to all styles, 16 random directions of pooled VGG-19 features, shrunk"),
    "kernel_distance": Metric("kernel distance", "lower", "style", "of all results to all styles: KID's unbiased cubic MMD on pooled VGG-19 features"),
}  # fmt: skip
# Of video: on clips alone.
METRICS |= {
    "flow_error": Metric("flow error", "lower", "the frame before", "100 x root mean square of frame minus warped predecessor where visible (Ruder et al.)"),
    "flow_error_lai": Metric("warping error", "lower", "the frame before", "masked mean square of the same difference (Lai et al.'s script)"),
    "adjacent_mean": Metric("adjacent difference x 100", "lower", "the frame before", "mean absolute difference of adjacent frames, no flow (MCCNet)"),
    "adjacent_variance": Metric("its variance", "lower", "the frame before", "variance over pixels of the adjacent difference x 100"),
}  # fmt: skip
for _suffix, (_low, _high) in edges.THRESHOLDS.items():
    _where = f"Canny, sigma {edges.SIGMA}, thresholds {_low:g} and {_high:g}"
    METRICS |= {
        f"edge_f1{_suffix}": Metric("edge F1", "higher", "content", f"harmonic mean of edge precision and recall; {_where}"),
        f"edge_precision{_suffix}": Metric("edge precision", "higher", "content", f"share of the result's edges within 2 px of the content's; {_where}"),
        f"edge_recall{_suffix}": Metric("edge recall", "higher", "content", f"share of the content's edges within 2 px of the result's; {_where}"),
        f"edge_density{_suffix}": Metric("edge density", "", "content", f"edge pixels of the result over the content's; neither more nor less is better; {_where}"),
        f"edge_noise{_suffix}": Metric("edge noise", "lower", "content", f"share of edge pixels farther than 8 px from the content's edges; {_where}"),
    }
METRICS["edge_leakage"] = Metric("edge leakage", "lower", "style", "share of added edges within 2 px of the painting's edges, above chance; Canny as edge F1")
# Why a column is not the metric that the papers print; shown in the table itself.
SUBSTITUTES = {
    "lpips_vgg_substitute": "substitute: not LPIPS; see checkpoints/lpips-substitute.json for its rank correlation with LPIPS",
    "cfsd_sum": "substitute: not the printed CFSD, which uses torchvision's VGG-19",
    "cfsd_mean": "substitute: not the printed CFSD, which uses torchvision's VGG-19",
    "frechet_substitute": "substitute: not FID, which uses an Inception trained on paintings and more images",
    "kernel_distance": "substitute: not FID; unbiased at few images",
}


def check_range(image: Image, name: str) -> Image:
    """Clamp to [0, 1]. Raises UserError for NaN, a wrong shape, or values that look like bytes."""
    check_image(image)
    if image.max() > 8:
        raise UserError(f"{name} has values up to {image.max():.0f}; images are RGB in [0, 1], divide bytes by 255")
    return image.clamp(0, 1)


@torch.inference_mode()
def encode(image: Image) -> Features:
    """VGG-19 features of an image, for the losses below."""
    return load_encoder("vgg19").to(image.device)(check_range(image, "image"))


class Target:
    """An image that results are held against. What every comparison needs of it is computed once, when first asked for.

    Raises UserError for NaN, a wrong shape, or values that look like bytes.
    """

    def __init__(self, image: Image):
        self.image = check_range(image, "image")

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
    def edges(self) -> list[dict[str, edges.Edges]]:
        """Of every image of the batch, by suffix of the thresholds."""
        return find_edges(self.image)


def _mse(a: Tensor, b: Tensor) -> Values:
    return (a - b).square().flatten(1).mean(dim=1)


def content_loss(result: Features, content: Features) -> Values:
    """sum over relu4_1, relu5_1 of MSE(bar F(result), bar F(content)): 0 for equal images, about 2 a layer for unrelated ones."""
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


def _grey(pixels: np.ndarray) -> np.ndarray:
    return (pixels @ np.array([0.299, 0.587, 0.114])).round().astype(np.uint8)


def _each(function, result: Image, content: Image) -> Values:
    values = [function(a, b) for a, b in zip(to_uint8(content), to_uint8(result), strict=True)]
    return torch.tensor(values, dtype=torch.float64)


def ssim_grey(result: Image, content: Image) -> Values:
    """SSIM of 8-bit grey images with scikit-image's defaults, -1 to 1."""
    return _each(lambda a, b: structural_similarity(_grey(a), _grey(b), data_range=255), result, content)


def ssim_rgb(result: Image, content: Image) -> Values:
    """SSIM of 8-bit RGB images, mean over channels, -1 to 1."""
    return _each(lambda a, b: structural_similarity(a, b, channel_axis=-1, data_range=255), result, content)


def ssim_gaussian(result: Image, content: Image) -> Values:
    """SSIM as in Wang et al. 2004: Gaussian window, population covariance, grey, -1 to 1."""
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    return _each(lambda a, b: structural_similarity(_grey(a), _grey(b), **options), result, content)


def find_edges(image: Image) -> list[dict[str, edges.Edges]]:
    """Edges of the 8-bit grey images of a batch, by suffix of the thresholds."""
    return [{suffix: edges.find(_grey(x), *thresholds) for suffix, thresholds in edges.THRESHOLDS.items()} for x in to_uint8(image)]


def edge_scores(result: Image, content: list[dict[str, edges.Edges]], style: list[dict[str, edges.Edges]]) -> dict[str, Values]:
    """`edges.compare` at every pair of thresholds, names end in the suffix of the thresholds; `edges.leakage` at the middle one.

    content, style  `find_edges` of the photographs and of the paintings
    """
    found: dict[str, list[float]] = {"edge_leakage": []}
    for a, b, c in zip(find_edges(result), content, style, strict=True):
        found["edge_leakage"].append(edges.leakage(a[""], b[""], c[""]))
        for suffix in edges.THRESHOLDS:
            for name, value in edges.compare(a[suffix], b[suffix]).items():
                found.setdefault(f"{name}{suffix}", []).append(value)
    return {name: torch.tensor(values, dtype=torch.float64) for name, values in found.items()}


def detail(image: Image) -> Values:
    """100 x root mean square of the grey image, in [0, 1], minus its Gaussian of 2 px: how much fine texture there is."""
    grey = [_grey(x) / 255 for x in to_uint8(image)]
    return torch.tensor([100 * np.sqrt(np.square(x - gaussian_filter(x, 2.0)).mean()) for x in grey], dtype=torch.float64)


def style_spread(result: Features, style: list[Tensor]) -> Values:
    """Standard deviation over mean of the style loss at relu3_1 of TILES x TILES parts of the result: 0 when every part is as near to the style."""
    at = 2 * TAPS.index("relu3_1")
    rows = (row for line in result[TAPS[at // 2]].tensor_split(TILES, dim=2) for row in line.tensor_split(TILES, dim=3))
    losses = torch.stack([sum(_mse(a, b) for a, b in zip(mean_std(part), style[at : at + 2], strict=True)) for part in rows])
    return losses.std(dim=0, correction=0) / losses.mean(dim=0)


def psnr(result: Image, content: Image) -> Values:
    """Peak signal-to-noise ratio in dB; 100 stands for equal images, whose ratio is infinite."""
    return _each(lambda a, b: 100.0 if np.array_equal(a, b) else peak_signal_noise_ratio(a, b, data_range=255), result, content)


def directions(features: Features) -> Features:
    """Features of unit length at every position."""
    return {tap: torch.nn.functional.normalize(features[tap], dim=1, eps=1e-10) for tap in TAPS}


def channel_differences(result: Features, content: Features) -> Float[Tensor, "batch channels"]:
    """Squared differences of two `directions`, mean over space, all taps concatenated: what LPIPS weighs and sums."""
    return torch.cat([(result[tap] - content[tap]).square().mean(dim=(2, 3)) for tap in TAPS], dim=1)


@lru_cache
def _substitute_weights() -> Tensor:
    return load_checkpoint(SUBSTITUTE)["weights"]


def lpips_vgg_substitute(result: Features, content: Features) -> Values:
    """sum over channels of w (difference of `directions`)^2 with our fitted w >= 0: at least 0, symmetric. Not LPIPS."""
    return channel_differences(result, content) @ _substitute_weights().to(result[TAPS[0]].device)


def alexnet_file() -> Path:
    """Where torchvision keeps the AlexNet weights that LPIPS needs."""
    return Path(torch.hub.get_dir()) / "checkpoints" / "alexnet-owt-7be5be79.pth"


def perceptual_column() -> str:
    """The column to fill: "lpips" when AlexNet's weights are on this machine, else "lpips_vgg_substitute". Nothing is downloaded."""
    return "lpips" if alexnet_file().is_file() else "lpips_vgg_substitute"


@lru_cache
def _lpips_alexnet() -> torch.nn.Module:
    import lpips as package

    return package.LPIPS(net="alex", verbose=False).eval()


def lpips(result: Image, content: Image) -> Values:
    """LPIPS with AlexNet on images scaled to [-1, 1], at least 0. Raises UserError when the weights are absent."""
    if not alexnet_file().is_file():
        raise UserError(f"LPIPS needs AlexNet's weights at {alexnet_file()}; the table's substitute is lpips_vgg_substitute")
    return _lpips_alexnet().to(result.device)(result * 2 - 1, content * 2 - 1).flatten()


@torch.inference_mode()
def measure(result: Image, content: Target, style: Target) -> dict[str, Values]:
    """All metrics of a batch of results against their contents and styles.

    Raises UserError when the result holds NaN, is not in [0, 1] even roughly, or differs from the content in size.
    """
    if result.shape != content.image.shape:
        raise UserError(f"result has shape {tuple(result.shape)}, content {tuple(content.image.shape)}; metrics against the content need equal sizes")
    result, image = check_range(result, "result"), content.image
    features = encode(result)
    to_style = style_loss(features, style.statistics)
    values = {
        "content_loss": content_loss(features, content.features), "style_loss": to_style,
        "content_loss_b": content_loss_b(features, content.features), "style_loss_b": to_style / len(TAPS),
        "ssim_grey": ssim_grey(result, image), "ssim_rgb": ssim_rgb(result, image), "ssim_gaussian": ssim_gaussian(result, image),
        "psnr": psnr(result, image), **edge_scores(result, content.edges, style.edges),
        "detail": detail(result), "style_spread": style_spread(features, style.statistics),
    }  # fmt: skip
    column = perceptual_column()
    values[column] = lpips(result, image) if column == "lpips" else lpips_vgg_substitute(directions(features), content.directions)
    return values


def version() -> dict[str, str]:
    """What determines a measured value besides the code: the perceptual column and its weights."""
    column = perceptual_column()
    return {"perceptual": column, "weights": card(SUBSTITUTE)["sha256"] if column in SUBSTITUTES else "lpips 0.1 AlexNet"}
