"""HistoGAN's colour loss (Afifi et al., CVPR 2021), by which StyleID compares the colours of a result and its painting.

    H_c(u, v) = sum over pixels of |x| k(log(x_c / x_a) - u) k(log(x_c / x_b) - v),  k(d) = 1 / (1 + (d / SIGMA)^2)
    loss = || sqrt(H) - sqrt(H') ||_2 / sqrt(2)

a and b are the two other channels, |x| is the length of the pixel's colour, u and v run over BINS from -3 to 3, and H
is divided by its sum. Constants and the resize are those of StyleID's script
(jiwoogit/StyleID@d541d41:evaluation/eval_histogan.py).
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ..nn.encoder import Image

BINS, SIGMA, LARGEST, EPS = 64, 0.02, 256, 1e-6

Histogram = Float[Tensor, "batch 3 bins bins"]


def colour_histogram(image: Image) -> Histogram:
    """The colour histogram of images in [0, 1]; sides above LARGEST px are resized to a square of that side."""
    if max(image.shape[2:]) > LARGEST:
        image = F.interpolate(image, size=(LARGEST, LARGEST), mode="bilinear", align_corners=False)
    pixels = image.clamp(0, 1).flatten(2)  # (b, 3, h, w) -> (b, 3, n)
    intensity = (pixels.square().sum(dim=1, keepdim=True) + EPS).sqrt()  # (b, 1, n)
    logs = (pixels + EPS).log()
    places = torch.linspace(-3, 3, BINS, dtype=torch.float64, device=image.device).view(1, -1, 1)

    def near(difference: Float[Tensor, "batch n"]) -> Float[Tensor, "batch bins n"]:
        return (1 / (1 + ((difference[:, None].double() - places) / SIGMA).square())).float()

    parts = []
    for channel, (a, b) in enumerate(((1, 2), (0, 2), (0, 1))):
        u, v = (near(logs[:, channel] - logs[:, other]) for other in (a, b))
        parts.append((intensity * u) @ v.transpose(1, 2))  # (b, bins, n) (b, n, bins) -> (b, bins, bins)
    found = torch.stack(parts, dim=1)
    return found / (found.sum(dim=(1, 2, 3), keepdim=True) + EPS)


def colour_loss(result: Histogram, style: Histogram) -> Float[Tensor, " batch"]:
    """Hellinger distance of two colour histograms, 0 to 1."""
    return (result.sqrt() - style.sqrt()).square().sum(dim=(1, 2, 3)).sqrt() / 2**0.5
