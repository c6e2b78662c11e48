"""Scenes made by program, with known regions: where the right answer to "what corresponds to what" is known.

A scene is a plane cut into regions (cells of random points); every region has one material. Two scenes of the same
materials in another arrangement have a right answer for every position: a brick of one belongs to the bricks of the
other.
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.ndimage import gaussian_filter
from torch import Tensor

from ..errors import UserError

Plane = Float[np.ndarray, "h w"]
Colour = tuple[float, float, float]


def _noise(rng: np.random.Generator, shape: tuple[int, int], sigma: float) -> Plane:
    """Smooth noise in about [-1, 1]."""
    smooth = gaussian_filter(rng.standard_normal(shape), sigma, mode="wrap")
    return np.clip(smooth / (2.5 * smooth.std()), -1, 1)


def _mix(a: Colour, b: Colour, t: Plane) -> Float[np.ndarray, "h w 3"]:
    return np.array(a) + (np.array(b) - np.array(a)) * np.clip(t, 0, 1)[..., None]


def _sky(rng: np.random.Generator, y: Plane, x: Plane, dark: Colour, light: Colour) -> np.ndarray:
    return _mix(dark, light, 0.4 + 0.6 * _noise(rng, y.shape, 12.0))


def _grass(rng: np.random.Generator, y: Plane, x: Plane, dark: Colour, light: Colour) -> np.ndarray:
    return _mix(dark, light, 0.5 + 0.5 * _noise(rng, y.shape, 0.8))


def _brick(rng: np.random.Generator, y: Plane, x: Plane, dark: Colour, light: Colour) -> np.ndarray:
    course = np.floor(y / 9)
    joint = (y % 9 < 1.5) | ((x + 9 * (course % 2)) % 18 < 1.5)
    wall = _mix(dark, light, 0.5 + 0.5 * _noise(rng, y.shape, 2.0))
    return np.where(joint[..., None], np.array((0.8, 0.77, 0.72)), wall)


def _water(rng: np.random.Generator, y: Plane, x: Plane, dark: Colour, light: Colour) -> np.ndarray:
    wave = np.sin(y * 0.9 + 3 * _noise(rng, y.shape, 8.0))
    return _mix(dark, light, 0.5 + 0.5 * wave)


def _sand(rng: np.random.Generator, y: Plane, x: Plane, dark: Colour, light: Colour) -> np.ndarray:
    return _mix(dark, light, 0.5 + 0.3 * _noise(rng, y.shape, 0.6) + 0.3 * _noise(rng, y.shape, 10.0))


MATERIALS: dict[str, Callable[[np.random.Generator, Plane, Plane, Colour, Colour], np.ndarray]] = {
    "sky": _sky,
    "grass": _grass,
    "brick": _brick,
    "water": _water,
    "sand": _sand,
}
# The dark and the light colour of every material. No colour matrix takes one look to the other.
# The right transfer is by material.
LOOKS: dict[str, dict[str, tuple[Colour, Colour]]] = {
    "day": {
        "sky": ((0.35, 0.6, 0.9), (0.95, 0.96, 0.98)),
        "grass": ((0.1, 0.3, 0.05), (0.5, 0.75, 0.2)),
        "brick": ((0.55, 0.2, 0.12), (0.75, 0.35, 0.22)),
        "water": ((0.02, 0.12, 0.3), (0.1, 0.45, 0.5)),
        "sand": ((0.75, 0.6, 0.35), (0.98, 0.88, 0.62)),
    },
    "dusk": {
        "sky": ((0.55, 0.15, 0.25), (0.98, 0.6, 0.25)),
        "grass": ((0.3, 0.12, 0.02), (0.85, 0.6, 0.1)),
        "brick": ((0.2, 0.22, 0.3), (0.4, 0.42, 0.5)),
        "water": ((0.05, 0.02, 0.1), (0.5, 0.2, 0.35)),
        "sand": ((0.3, 0.3, 0.42), (0.6, 0.6, 0.7)),
    },
}


def scene(
    seed: int, size: int, materials: tuple[str, ...] = tuple(MATERIALS), look: str = "day"
) -> tuple[Float[Tensor, "3 size size"], Int[Tensor, "size size"]]:
    """An image in [0, 1] and the number of the material (its place in `materials`) at every pixel.

    The result is a function of the arguments.

    Every material has at least one region. Raises UserError for an unknown material or look.
    """
    unknown = set(materials) - MATERIALS.keys()
    if unknown:
        raise UserError(f"unknown materials {sorted(unknown)}; choose among {', '.join(MATERIALS)}")
    if look not in LOOKS:
        raise UserError(f"unknown look {look!r}; choose among {', '.join(LOOKS)}")
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size].astype(np.float64)
    centres = rng.uniform(0, size, (2 * len(materials), 2))
    owner = ((y[..., None] - centres[:, 0]) ** 2 + (x[..., None] - centres[:, 1]) ** 2).argmin(axis=2)
    labels = np.concatenate([rng.permutation(len(materials)) for _ in range(2)])[owner]
    image = np.zeros((size, size, 3))
    for number, name in enumerate(materials):
        image[labels == number] = MATERIALS[name](rng, y, x, *LOOKS[look][name])[labels == number]
    return torch.from_numpy(image).float().movedim(-1, 0).clamp(0, 1), torch.from_numpy(labels)
