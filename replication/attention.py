"""Exact attention that never builds the dense map, and the record from which any part of the map can be read.

Tokens are (batch, tokens, channels). Most published style-transfer attention is single-head and unscaled: the weights are
softmax over the style tokens of q . k, without 1/sqrt(channels), so `scale` is 1. Heads split the channels into equal
consecutive groups, each of which attends by itself.

`torch.nn.functional.scaled_dot_product_attention` streams over blocks of keys: memory grows linearly with the number
of tokens, and the result is exact up to rounding. It runs in float32 or better, because unscaled logits of hundreds
of products overflow half precision.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from .errors import UserError
from .layers import full_precision, full_precision_region

Tokens = Float[Tensor, "batch tokens channels"]


def tokens(x: Float[Tensor, "batch channels height width"]) -> Tokens:
    """Flatten a feature map row by row: (batch, height*width, channels)."""
    return x.flatten(2).transpose(1, 2)


def grid(x: Tokens, size: tuple[int, int]) -> Float[Tensor, "batch channels height width"]:
    """Inverse of `tokens`."""
    return x.transpose(1, 2).unflatten(2, size)


def split_heads(x: Tokens, heads: int) -> Float[Tensor, "batch heads tokens _"]:
    """Channels in `heads` consecutive groups."""
    return x.unflatten(2, (heads, -1)).transpose(1, 2)


def attend(
    queries: Float[Tensor, "batch queries channels"],
    keys: Float[Tensor, "batch keys channels"],
    values: Float[Tensor, "batch keys values"],
    scale: float = 1.0,
    heads: int = 1,
    dropout: float = 0.0,
) -> Float[Tensor, "batch queries values"]:
    """softmax(scale * Q K^T) V of every head, exactly, in memory linear in the number of tokens.

    With `dropout`, a share of the weights is zeroed at random and the rest scaled up. That needs the dense map (torch's own
    operator builds it on CPU as well, and takes twice as long), so it is for training on crops.
    """
    q, k, v = (split_heads(full_precision(x), heads) for x in (queries, keys, values))
    return fused(q, k, v, scale, dropout).transpose(1, 2).flatten(2)


def fused(
    q: Float[Tensor, "batch heads queries channels"], k: Float[Tensor, "batch heads keys channels"],
    v: Float[Tensor, "batch heads keys values"], scale: float, dropout: float,
) -> Float[Tensor, "batch heads queries values"]:  # fmt: skip
    """torch's attention, made to take the fused kernel.

    The kernels want keys and values equally wide (zero channels change neither logits nor results) and channels adjacent in
    memory; otherwise torch builds the dense map without a word.
    """
    width = max(k.shape[3], v.shape[3])
    padded = (F.pad(x, (0, width - x.shape[3])).contiguous() for x in (q, k, v))
    with full_precision_region(q):
        if dropout:
            return F.dropout((scale * q @ k.transpose(2, 3)).softmax(dim=3), dropout) @ v
        return F.scaled_dot_product_attention(*padded, scale=scale)[..., : v.shape[3]]


def attend_moments(
    queries: Float[Tensor, "batch queries channels"],
    keys: Float[Tensor, "batch keys channels"],
    values: Float[Tensor, "batch keys values"],
    scale: float = 1.0,
) -> tuple[Float[Tensor, "batch queries values"], Float[Tensor, "batch queries values"]]:
    """Attention-weighted mean and standard deviation of the values (AdaAttN eq. 4 and 5), in one pass.

        M = A V,   S = sqrt(max(0, A V^2 - M^2)),   A = softmax(scale * Q K^T)

    The variance of V equals that of V - c for any constant c. Subtracting the plain mean of the values first leaves
    far less to cancel between the two squares: at 16 384 tokens the error of S falls from 2e-4 to 2e-6.
    """
    values = full_precision(values)
    centre = values.mean(dim=1, keepdim=True)
    centred = values - centre
    first, second = attend(queries, keys, torch.cat([centred, centred.square()], dim=2), scale).chunk(2, dim=2)
    return first + centre, (second - first.square()).relu().sqrt()


@dataclass(frozen=True)
class AttentionRecord:
    """One attention operation as it happened, without its dense map: any row is computed when asked for.

    layer    tap or module, for example "relu4_1"
    queries  (content height * width, channels), of one pair
    keys     (style height * width or fewer, channels)
    content  (height, width) of the query grid
    style    (height, width) of the key grid
    indices  positions of the keys on the style grid, None when all of them are there
    scale    factor on the logits
    head     index of the head
    step     which attention of the layer it is, for methods that have several
    """

    layer: str
    queries: Float[Tensor, "queries channels"]
    keys: Float[Tensor, "keys channels"]
    content: tuple[int, int]
    style: tuple[int, int]
    indices: Int[Tensor, " keys"] | None = None
    scale: float = 1.0
    head: int = 0
    step: str = ""

    def logits(self, y: int, x: int) -> Float[Tensor, "height width"]:
        """Scores of one content position over the style grid, before softmax; -inf where no key was kept.

        Raises UserError when (y, x) is outside the content grid.
        """
        height, width = self.content
        if not (0 <= y < height and 0 <= x < width):
            raise UserError(f"query ({y}, {x}) is outside the content grid of {height}x{width} at {self.layer}")
        scores = self.scale * (self.keys @ self.queries[y * width + x])
        if self.indices is None:
            return scores.reshape(self.style)
        full = scores.new_full((self.style[0] * self.style[1],), -torch.inf)
        full[self.indices] = scores
        return full.reshape(self.style)

    def row(self, y: int, x: int) -> Float[Tensor, "height width"]:
        """Attention of one content position over the style grid: non-negative, sums to 1."""
        scores = self.logits(y, x)
        return scores.flatten().softmax(dim=0).reshape(scores.shape)

    def effective_keys(self, chunk: int = 1024) -> Float[Tensor, "height width"]:
        """exp(entropy) of every content position's attention: 1 is one-hot, the number of keys is uniform.

        Works through `chunk` queries at a time, so memory stays at chunk x keys.
        """
        counts = []
        for queries in self.queries.split(chunk):
            logs = (self.scale * queries @ self.keys.T).log_softmax(dim=1)
            counts.append(-(logs.exp() * logs).sum(dim=1))
        return torch.cat(counts).exp().reshape(self.content)
