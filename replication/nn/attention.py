"""Exact attention that never builds the dense map, and the record from which any part of the map can be read.

Tokens are (batch, tokens, channels). Most published style-transfer attention is single-head and unscaled: the weights
are softmax over the style tokens of q . k, without 1/sqrt(channels), so `scale` is 1. Heads split the channels into
equal consecutive groups, each of which attends by itself.

`torch.nn.functional.scaled_dot_product_attention` streams over blocks of keys: memory grows linearly with the number
of tokens, and the result is exact up to rounding. It runs in float32 or better, because unscaled logits of hundreds
of products overflow half precision.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from ..errors import UserError
from .layers import full_precision, full_precision_region, normalise

Tokens = Float[Tensor, "batch tokens channels"]
Heads = Float[Tensor, "batch heads tokens _"]
# From queries, keys and values of every head, scale and dropout to the attended values.
FusedOperator = Callable[[Heads, Heads, Heads, float, float], Heads]
# Queries that attend at once where a method makes them part by part.
QUERIES = 1 << 15
# Queries of a record whose weights exist at once.
CHUNK = 256
_operator: ContextVar[FusedOperator | None] = ContextVar("operator", default=None)


@contextmanager
def attention_by(operator: FusedOperator) -> Iterator[None]:
    """While it is open, `attend` calls this operator in place of `fused`: to count, or to compare."""
    token = _operator.set(operator)
    try:
        yield
    finally:
        _operator.reset(token)


def tokens(x: Float[Tensor, "batch channels height width"]) -> Tokens:
    """Flatten a feature map row by row: (batch, height*width, channels)."""
    return x.flatten(2).transpose(1, 2)  # (b, c, h, w) -> (b, c, hw) -> (b, hw, c)


def grid(x: Tokens, size: tuple[int, int]) -> Float[Tensor, "batch channels height width"]:
    """Inverse of `tokens`."""
    return x.transpose(1, 2).unflatten(2, size)  # (b, n, c) -> (b, c, n) -> (b, c, h, w)


def strips(x: Float[Tensor, "batch channels height width"]) -> tuple[Float[Tensor, "batch channels _ width"], ...]:
    """Rows of a feature map, at most `QUERIES` positions at a time, but at least a row."""
    return x.split(max(1, QUERIES // x.shape[3]), dim=2)


def split_heads(x: Tokens, heads: int) -> Float[Tensor, "batch heads tokens _"]:
    """Channels in `heads` consecutive groups."""
    return x.unflatten(2, (heads, -1)).transpose(1, 2)  # (b, n, heads d) -> (b, n, heads, d) -> (b, heads, n, d)


def attend(
    queries: Float[Tensor, "batch queries channels"],
    keys: Float[Tensor, "batch keys channels"],
    values: Float[Tensor, "batch keys values"],
    scale: float = 1.0,
    heads: int = 1,
    dropout: float = 0.0,
) -> Float[Tensor, "batch queries values"]:
    """softmax(scale * Q K^T) V of every head, exactly, in memory linear in the number of tokens.

    With `dropout`, a share of the weights is zeroed at random and the rest scaled up. That needs the dense map (torch's
    own operator builds it on CPU as well, and takes twice as long), so it is for training on crops.
    """
    q, k, v = (split_heads(full_precision(x), heads) for x in (queries, keys, values))
    operator = _operator.get() or fused
    return operator(q, k, v, scale, dropout).transpose(1, 2).flatten(2)  # (b, heads, n, v) to (b, n, heads * v)


def fused(
    q: Float[Tensor, "batch heads queries channels"],
    k: Float[Tensor, "batch heads keys channels"],
    v: Float[Tensor, "batch heads keys values"],
    scale: float,
    dropout: float,
) -> Float[Tensor, "batch heads queries values"]:
    """torch's attention, made to take the fused kernel.

    The kernels want keys and values equally wide (zero channels change neither logits nor results) and channels
    adjacent in memory; otherwise torch builds the dense map without a word.
    """
    with full_precision_region(q):
        if dropout:
            # (b, heads, n, d) (b, heads, d, m) -> (b, heads, n, m)
            return F.dropout((scale * q @ k.transpose(2, 3)).softmax(dim=3), dropout) @ v
        width = max(k.shape[3], v.shape[3])
        widened = (_widened(x, width) for x in (q, k, v))
        return F.scaled_dot_product_attention(*widened, scale=scale)[..., : v.shape[3]]


def _widened(x: Heads, width: int) -> Heads:
    """Zero channels up to `width`, channels adjacent; the tensor itself where it is so, since torch would copy it."""
    return (x if x.shape[3] == width else F.pad(x, (0, width - x.shape[3]))).contiguous()


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
    first, second = attend(queries, keys, _with_squares(values - centre), scale).chunk(2, dim=2)
    return first + centre, (second - first.square()).relu().sqrt()


def _with_squares(x: Tokens) -> Float[Tensor, "batch tokens _"]:
    return torch.cat([x, x.square()], dim=2)  # (b, n, c) -> (b, n, 2 c)


def modulate(
    content: Float[Tensor, "b c h w"], mean: Float[Tensor, "b n c"], deviation: Float[Tensor, "b n c"]
) -> Float[Tensor, "b c h w"]:
    """S . N(F_c) + M of attention's moments (AdaAttN eq. 6): every content position gets its own mean and deviation."""
    size = tuple(content.shape[2:])
    return grid(deviation, size) * normalise(content) + grid(mean, size)


@dataclass(frozen=True)
class AttentionRecord:
    """One attention operation as it happened, without its dense map.

    What is asked for is computed from queries and keys.
    Whole maps are walked through in parts, so memory stays at CHUNK x keys whatever the number of positions.

    layer    tap or module, for example "relu4_1"
    queries  (content height * width, channels), of one pair
    keys     (keys, channels): of every style position, of some (`indices`), or of regions of the style (`regions`)
    content  (height, width) of the query grid
    style    (height, width) of the key grid
    indices  position of each key on the style grid, when not every position has one; several keys may have the same
    scale    factor on the logits
    head     index of the head
    step     which attention of the layer it is, for methods that have several
    query_group, key_group
             a query sees the keys of its own group alone; None when it sees all
    matches  the key that each query takes, where one alone is taken (arg-max, graph cut); None for softmax
    regions  the key that stands for each style position, when keys stand for regions of the grid
    within   the keys are of the content itself; "style" is then the content's grid
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
    query_group: Int[Tensor, " queries"] | None = None
    key_group: Int[Tensor, " keys"] | None = None
    matches: Int[Tensor, " queries"] | None = None
    regions: Int[Tensor, " positions"] | None = None
    within: bool = False

    def _query(self, y: int, x: int) -> int:
        height, width = self.content
        if not (0 <= y < height and 0 <= x < width):
            raise UserError(f"query ({y}, {x}) is outside the content grid of {height}x{width} at {self.layer}")
        return y * width + x

    def scores(self, part: slice | Int[Tensor, " part"] = slice(None)) -> Float[Tensor, "_ keys"]:
        """Logits of some queries; -inf where a query does not see a key."""
        scores = (self.queries[part] @ self.keys.T).mul_(self.scale)  # in place: it is the largest tensor there is
        if self.query_group is None:
            return scores
        return scores.masked_fill(self.query_group[part][:, None] != self.key_group, -torch.inf)

    def weights(self, part: slice | Int[Tensor, " part"] = slice(None)) -> Float[Tensor, "_ keys"]:
        """Attention of some queries: non-negative, rows sum to 1, or to 0 for a query that sees no key."""
        if self.matches is None:
            weights = self.scores(part).softmax(dim=1)
            return weights if self.query_group is None else weights.nan_to_num(0.0)
        return F.one_hot(self.matches[part], len(self.keys)).to(self.keys.dtype)

    def walk(self) -> Iterator[Float[Tensor, "part keys"]]:
        """The weights of all queries, CHUNK at a time."""
        for start in range(0, len(self.queries), CHUNK):
            yield self.weights(slice(start, start + CHUNK))

    def of_queries(self, read: Callable[[Float[Tensor, "part keys"]], Tensor]) -> Shaped[Tensor, "height width *_"]:
        """What `read` makes of the weights of each query, over the content grid.

        It goes into one tensor: small tensors that outlive their part would lie between the parts in memory, which an
        allocator could then not hand out again, and all parts together are the dense map.
        """
        found = None
        for start in range(0, len(self.queries), CHUNK):
            got = read(self.weights(slice(start, start + CHUNK)))
            if found is None:
                found = got.new_empty(len(self.queries), *got.shape[1:])
            found[start : start + CHUNK] = got
        return found.unflatten(0, self.content)  # (n, ...) -> (h, w, ...) of the content

    def on_style(self, values: Float[Tensor, "part keys"], spread: bool) -> Float[Tensor, "part height width"]:
        """Values of keys on the style grid.

        spread  of weights: a region's weight is shared by its positions, and weights of one position add up.
                Otherwise of logits: every position has its region's, a position of several keys the largest, one of
                none -inf
        """
        positions = self.style[0] * self.style[1]
        if self.regions is not None:
            count = torch.bincount(self.regions, minlength=len(self.keys)).clamp_min(1)
            values = (values / count if spread else values)[:, self.regions]
        elif self.indices is not None:
            index = self.indices.expand(len(values), -1)
            empty = values.new_full((len(values), positions), 0.0 if spread else -torch.inf)
            values = empty.scatter_reduce(1, index, values, "sum" if spread else "amax")
        return values.unflatten(1, self.style)  # (k, m) -> (k, h, w) of the style

    def logits(self, y: int, x: int) -> Float[Tensor, "height width"]:
        """Scores of one content position over the style grid, before softmax or arg-max.

        -inf where there is no key for a position.
        Raises UserError when (y, x) is outside the content grid.
        """
        query = self._query(y, x)
        return self.on_style(self.scores(slice(query, query + 1)), spread=False)[0]

    def row(self, y: int, x: int) -> Float[Tensor, "height width"]:
        """Attention of one content position over the style grid: non-negative, sums to 1."""
        query = self._query(y, x)
        return self.on_style(self.weights(slice(query, query + 1)), spread=True)[0]

    def column(self, y: int, x: int) -> Float[Tensor, "height width"]:
        """What every content position takes from one style position, over the content grid.

        Raises UserError when (y, x) is outside the style grid.
        """
        height, width = self.style
        if not (0 <= y < height and 0 <= x < width):
            raise UserError(f"key ({y}, {x}) is outside the style grid of {height}x{width} at {self.layer}")
        return self.of_queries(lambda part: self.on_style(part, spread=True)[:, y, x])

    def effective_keys(self) -> Float[Tensor, "height width"]:
        """exp(entropy) of every content position's attention: 1 is one-hot, the number of keys is uniform."""
        return self.of_queries(lambda part: torch.special.entr(part).sum(dim=1).exp())

    def key_positions(self) -> Float[Tensor, "keys 2"]:
        """(y, x) of every key's centre as fractions of the style's height and width."""
        height, width = self.style
        grid_y, grid_x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        # (h, w) twice -> (m, 2)
        places = torch.stack([(grid_y.flatten() + 0.5) / height, (grid_x.flatten() + 0.5) / width], dim=1).to(self.keys)
        if self.regions is not None:
            total = places.new_zeros(len(self.keys), 2).index_add(0, self.regions, places)
            return total / torch.bincount(self.regions, minlength=len(self.keys)).clamp_min(1)[:, None]
        return places if self.indices is None else places[self.indices]

    def matched(self) -> Float[Tensor, "height width 2"]:
        """(y, x) of the key with the largest weight for every content position, as fractions of the style's sides."""
        return self.key_positions()[self.of_queries(lambda part: part.argmax(dim=1))]

    def centre_and_spread(self) -> tuple[Float[Tensor, "height width 2"], Float[Tensor, "height width"]]:
        """Weighted mean position of the keys that every content position attends to, and the root mean square distance
        from it, as fractions of the style's sides.
        """
        places = self.key_positions()

        def moments(part: Float[Tensor, "part keys"]) -> Float[Tensor, "part 3"]:
            mean = part @ places
            spread = (part @ places.square() - mean.square()).sum(dim=1, keepdim=True).clamp_min(0).sqrt()
            return torch.cat([mean, spread], dim=1)

        found = self.of_queries(moments)
        return found[..., :2], found[..., 2]
