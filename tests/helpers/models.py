"""Small models with weights away from special points, and the slow reference of every method as a whole."""

import importlib

import numpy as np
import torch
from reference.common import arrays, encode

from helpers.networks import tiny_encoder
from replication import build
from replication.methods import METHODS
from replication.nn.encoder import Encoder

VARIANTS = [(name, variant) for name, kind in METHODS.items() for variant in kind.variants]
SIZES = {"content": (40, 36), "style": (33, 47)}


def images(batch: int = 1, **sizes: tuple[int, int]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [
        torch.rand(batch, 3, *size, generator=generator, dtype=torch.float64) for size in ({**SIZES, **sizes}).values()
    ]


def random(*size: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def model(name: str, variant: str | None = None):
    torch.manual_seed(1)
    made = build(name, tiny_encoder(), variant).double()
    with torch.no_grad():  # away from special points: biases that are not zero, attention neither uniform nor one-hot
        for key, parameter in made.named_parameters():
            if key.endswith(("actnorm.scale", "sim_alpha")) or ("norm" in key and key.endswith("weight")):
                parameter.normal_(1, 0.1)
            elif parameter.requires_grad and "invconv" not in key:  # drawn as a rotation, which keeps the flow tame
                gain = 0.3 if "coupling" in key or key.endswith(("f.weight", "g.weight")) else 1
                parameter.normal_(0, gain / parameter[0].numel() ** 0.5 if parameter.ndim > 1 else 0.1)
    return made


def error(got: torch.Tensor, expected: np.ndarray) -> float:
    got = got.detach().double().numpy()
    assert got.shape == expected.shape
    return float(np.linalg.norm(got - expected) / np.linalg.norm(expected))


def check(function, expected, made, *inputs) -> None:
    """float64 to 1e-10 and float32 to 1e-5, relative."""
    assert error(function(made, *inputs), expected) < 1e-10
    single = made.float()
    assert error(function(single, *(x.float() for x in inputs)), expected) < 1e-5
    made.double()


def taps(image: torch.Tensor, encoder: Encoder) -> list[np.ndarray]:
    return encode(image[0].double().numpy(), arrays(encoder.layers))


def reference_output(made, name: str, variant: str, content: torch.Tensor, style: torch.Tensor) -> np.ndarray:
    """The stylised image by the slow reference, (3, h, w)."""
    image = importlib.import_module(f"reference.{name}").stylise(made, made.variants[variant], content, style)
    return image[:, : content.shape[2], : content.shape[3]]
