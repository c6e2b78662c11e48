"""MST, slow."""

import numpy as np
import torch

from .common import encoded, mirrored_decoder, part, wct


def mst(c: np.ndarray, s: np.ndarray, clusters: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """WCT group by group, for given style clusters and content labels."""
    flat, style = c.reshape(len(c), -1), s.reshape(len(s), -1)
    out = np.empty_like(flat)
    for k in range(clusters.max() + 1):
        if (labels == k).any():
            out[:, labels == k] = wct(flat[:, labels == k], style[:, clusters == k], jitter=1e-8)
    return out.reshape(c.shape)


def stylise(made, variant, content, style) -> np.ndarray:
    """With the method's own clusters and labels: those have tests of their own."""
    c, s = (encoded(made, x, 8, pooling=variant.pooling)[3] for x in (content, style))
    clusters = made.encode_style(style).features["labels"].flatten().long().numpy()
    centres = np.stack([s.reshape(len(s), -1)[:, clusters == k].mean(axis=1) for k in range(3)])
    labels = made.assign(torch.from_numpy(c), torch.from_numpy(centres)).flatten().numpy()
    image = mirrored_decoder(mst(c, s, clusters, labels), part(made, "decoder"))
    return np.maximum(image, 0) if variant.relu else image
