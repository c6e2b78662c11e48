"""How close the student encoder is to VGG-19 in what style transfer uses: statistics and nearest-neighbour matches.

The two encoders have different channels, so features are not compared one by one. Compared are the distances between
images' statistics (what AdaIN and the style loss see) and the matches between positions (what attention sees).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from safetensors.torch import load_file
from scipy.stats import spearmanr
from torch import Tensor

from ..errors import UserError
from ..nn.attention import tokens
from ..nn.encoder import CONVOLUTIONS, SCALES_FILE, TAPS, Encoder
from ..nn.layers import mean_std, normalise
from ..nn.state import read_state


@torch.inference_mode()
def statistics_distances(encoder: Encoder, images: Sequence[Tensor]) -> dict[str, np.ndarray]:
    """Style distance of every pair of images at each tap, each (pairs,).

    It is the squared distance of the channels' means plus that of their deviations, summed over the channels.
    """
    vectors: dict[str, list[Tensor]] = {tap: [] for tap in TAPS}
    for image in images:
        for tap, features in encoder(image[None]).items():
            vectors[tap].append(torch.cat(mean_std(features), dim=1).flatten())
    upper = np.triu_indices(len(images), 1)
    return {tap: torch.cdist(torch.stack(v), torch.stack(v)).square().numpy()[upper] for tap, v in vectors.items()}


def statistics_agreement(a: Encoder, b: Encoder, images: Sequence[Tensor]) -> dict[str, float]:
    """Spearman correlation, tap by tap, between the style distances that two encoders see; 1 is the same order."""
    first, second = statistics_distances(a, images), statistics_distances(b, images)
    return {tap: float(spearmanr(first[tap], second[tap]).statistic) for tap in TAPS}


def _similarity(encoder: Encoder, content: Tensor, style: Tensor, tap: str) -> Float[Tensor, "content style"]:
    c, s = (tokens(normalise(encoder(image[None], (tap,))[tap]))[0] for image in (content, style))
    return torch.nn.functional.normalize(c, dim=1) @ torch.nn.functional.normalize(s, dim=1).T


@torch.inference_mode()
def match_agreement(
    a: Encoder, b: Encoder, pairs: Sequence[tuple[Tensor, Tensor]], tap: str = "relu4_1"
) -> dict[str, float]:
    """Where the student's nearest style position ranks among the teacher's, over all content positions of all pairs.

    a  the teacher, b the student; similarity is the cosine of normalised features.
    Returns the share of content positions whose student match is the teacher's first, among its first five, among its
    first one per cent; and the mean relative rank (0 best, 0.5 chance).
    """
    ranks, relative = [], []
    for content, style in pairs:
        teacher, student = (_similarity(encoder, content, style, tap) for encoder in (a, b))
        chosen = teacher.gather(1, student.argmax(dim=1, keepdim=True))
        ranks.append((teacher > chosen).sum(dim=1).double())
        relative.append(ranks[-1] / teacher.shape[1])
    rank, share = torch.cat(ranks), torch.cat(relative)
    return {
        "first": float((rank == 0).double().mean()),
        "among first 5": float((rank < 5).double().mean()),
        "among first 1 %": float((share < 0.01).double().mean()),
        "mean relative rank": float(share.mean()),
    }


def scale_agreement(path: str | Path) -> pd.DataFrame:
    """Our per-channel scales against the official ones.

    These are in a safetensors file keyed by Keras layer name (block1_conv1 …).

    Columns: Spearman correlation over the channels of each layer, and quantiles of the ratio ours / official.
    Raises UserError when the file is missing or lacks a layer.
    """
    official = read_state(path)
    missing = sorted(set(CONVOLUTIONS.values()) - official.keys())
    if missing:
        raise UserError(
            f"{path} lacks the layers {', '.join(missing)}; give per-channel scales keyed by Keras layer name"
        )
    ours = load_file(SCALES_FILE)
    lines = {}
    for index, layer in CONVOLUTIONS.items():
        ratio = (ours[str(index)] / official[layer]).numpy()
        rank = float(spearmanr(ours[str(index)], official[layer]).statistic)
        lines[layer] = {
            "rank correlation": rank,
            "ratio 5 %": np.quantile(ratio, 0.05),
            "ratio median": np.median(ratio),
            "ratio 95 %": np.quantile(ratio, 0.95),
        }
    return pd.DataFrame(lines).T
