"""Semantic maps of equal stripes."""

import torch

from replication.data.maps import SemanticMap

PALETTE = torch.tensor([[0.9, 0.0, 0.0], [0.0, 0.9, 0.0], [0.0, 0.0, 0.9]])


def stripes(size: int, across: bool, classes: int = 3) -> SemanticMap:
    """Equal stripes of the first classes."""
    labels = (torch.arange(size) * classes // size).expand(size, size)
    return SemanticMap(PALETTE[labels.T if across else labels].movedim(2, 0), PALETTE)
