"""MST: Zhang et al., "Multimodal Style Transfer via Graph Cuts", ICCV 2019.

arXiv 1904.04443. A painting has several styles: cluster its features, give every content position one cluster by a
graph cut, and transfer each group with WCT. Only the decoder is trained.

    K-means of relu4_1(I_s) into K = 3 sub-styles with centres m_k
    labels = argmin  sum_p 1 - cos(F_c(p), m_l(p))  +  lambda sum over neighbours of V(l_p, l_q),  lambda = 0.1
    F_cs on label k = WCT(F_c on label k, F_s of cluster k),   F = alpha F_cs + (1 - alpha) F_c,   image = D(F)
    L = L_c + L_s:  raw relu4_1 features against the content, channel statistics at relu1_1..4_1 against the style

The energy is minimised by alpha-expansion: one exact minimum cut per label and cycle, from the cheapest labels.

Two truths
  official  yulunzhang/MST (TensorFlow, testing only): neighbours are a raster CHAIN that joins the end of a row to the
            start of the next, V = |l_p - l_q| on arbitrary label numbers, three cycles; floor pooling; a ReLU behind
            the last convolution. The default.
  paper     four neighbours on the image, V = 1 if l_p != l_q (Potts), until nothing improves; otherwise as
            irasin/Pytorch_MST, the layout of whose file it loads: ceil pooling, no last ReLU. That port also divides
            the content's mean by all positions instead of the group's, which is not taken over.
The authors published no training: the loss is the port's, on the paper's description; its rate is 1e-5.
WCT: covariances over n - 1 with 1e-8 on the diagonal, eigenvalues up to 1e-5 left out; a group of one gets the
cluster's mean.

Public code, read for facts: yulunzhang/MST@4b1c6c3:test_MST.py, src/nn.py, src/norm.py (official),
irasin/Pytorch_MST@0ad5548:feature_transfer.py, model.py, train.py (port).
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, maximum_flow
from sklearn.cluster import KMeans
from torch import Tensor

from ..nn.attention import AttentionRecord
from ..nn.encoder import AnyImage, Encoder, Image, check_image
from ..nn.layers import decoder, full_precision, pad_to_multiple, whiten_and_colour
from ..nn.losses import mse, statistics_style
from .adain import STYLE_TAPS
from .base import Encoded, Layout, Method, Transferred, check_pair, crop_to, inverse_decay, scale_terms
from .products import Grids, wct_products

CLUSTERS, SMOOTHNESS = 3, 0.1
# scipy's maximum flow takes 32-bit integers; costs are at most a few units.
UNIT = 10_000_000


@dataclass(frozen=True)
class Variant:
    """One reading of MST.

    chain    neighbours in raster order and a penalty linear in label numbers, else the four neighbours and Potts
    cycles   most cycles of alpha-expansion; None goes on until nothing improves
    pooling  of the encoder
    relu     behind the decoder's last convolution
    """

    chain: bool = True
    cycles: int | None = 3
    pooling: str = "max-floor"
    relu: bool = True
    content: float = 1.0
    style: float = 1.0

    def learning_rate(self, step: int, batch: int) -> float:
        """Constant 1e-5, the port's; one epoch of batch 16."""
        return inverse_decay(step, rate=1e-5, decay=0.0)


OFFICIAL = Variant()
PAPER = Variant(chain=False, cycles=None, pooling="max", relu=False)


def cluster(style: Float[Tensor, "n c"]) -> Int[Tensor, " n"]:
    """K-means labels of style positions, from ten seeded starts; fewer clusters when fewer vectors differ."""
    points = style.detach().cpu().double().numpy()
    distinct = len(np.unique(points, axis=0))
    means = KMeans(min(CLUSTERS, distinct), n_init=10, random_state=0).fit(points)
    return torch.from_numpy(means.labels_.astype(np.int64)).to(style.device)


def data_cost(content: Float[Tensor, "n c"], centres: Float[Tensor, "k c"]) -> np.ndarray:
    """1 - cosine of every position to every centre, (n, k) in float64; a zero vector costs 1."""

    def unit(x: Tensor) -> Tensor:
        norm = x.norm(dim=1, keepdim=True)
        return x / torch.where(norm > 0, norm, 1.0)

    return (1 - unit(content.double()) @ unit(centres.double()).T).cpu().numpy()


def neighbours(size: tuple[int, int], chain: bool) -> np.ndarray:
    """Pairs of neighbouring positions (edges, 2)."""
    index = np.arange(size[0] * size[1]).reshape(size)  # (hw,) -> (h, w)
    if chain:
        return np.stack([index.ravel()[:-1], index.ravel()[1:]], axis=1)
    pairs = [(index[:, :-1], index[:, 1:]), (index[:-1], index[1:])]
    return np.concatenate([np.stack([a.ravel(), b.ravel()], axis=1) for a, b in pairs])


def penalties(labels: int, chain: bool) -> np.ndarray:
    """lambda V of every pair of labels: linear in the difference of their numbers on the chain, Potts on the grid."""
    distance = np.abs(np.arange(labels)[:, None] - np.arange(labels)).astype(np.float64)
    return SMOOTHNESS * (distance if chain else distance.clip(max=1))


def energy(labels: np.ndarray, cost: np.ndarray, edges: np.ndarray, penalty: np.ndarray) -> float:
    """Data cost of the labels plus the penalty of every pair of neighbours."""
    return float(cost[np.arange(len(labels)), labels].sum() + penalty[labels[edges[:, 0]], labels[edges[:, 1]]].sum())


def expand(labels: np.ndarray, label: int, cost: np.ndarray, edges: np.ndarray, penalty: np.ndarray) -> np.ndarray:
    """The best labelling in which every position keeps its label or takes `label`: one minimum cut.

    Positions on the sink's side take the label. For neighbours p, q with A, B, C the penalties when none, q or p takes
    it, the pair costs A + (C - A) x_p - C x_q + (B + C - A) (1 - x_p) x_q (Kolmogorov and Zabih 2004); B + C >= A in a
    metric.
    """
    count, (p, q) = len(labels), edges.T
    none, second, first = penalty[labels[p], labels[q]], penalty[labels[p], label], penalty[label, labels[q]]
    take = cost[:, label] - cost[np.arange(count), labels]
    np.add.at(take, p, first - none)
    np.add.at(take, q, -first)
    source, sink, everyone = count, count + 1, np.arange(count)
    tails = np.concatenate([np.full(count, source), everyone, p])
    heads = np.concatenate([everyone, np.full(count, sink), q])
    capacity = np.concatenate([take.clip(min=0), (-take).clip(min=0), second + first - none])
    graph = csr_array((np.rint(capacity * UNIT).astype(np.int32), (tails, heads)), shape=(count + 2, count + 2))
    rest = graph - maximum_flow(graph, source, sink).flow
    rest.data = (rest.data > 0).astype(np.int8)
    rest.eliminate_zeros()
    keeps = np.zeros(count + 2, dtype=bool)
    keeps[breadth_first_order(rest, source, return_predecessors=False)] = True
    return np.where(keeps[:count], labels, label)


def graph_cut(cost: np.ndarray, size: tuple[int, int], variant: Variant) -> np.ndarray:
    """Labels (n,) of low energy by alpha-expansion."""
    count = cost.shape[1]
    penalty = penalties(count, variant.chain)
    edges, labels = neighbours(size, variant.chain), cost.argmin(axis=1)
    best, cycle, improved = energy(labels, cost, edges, penalty), 0, True
    while improved and (variant.cycles is None or cycle < variant.cycles):
        improved, cycle = False, cycle + 1
        for label in range(count):
            candidate = expand(labels, label, cost, edges, penalty)
            lower = energy(candidate, cost, edges, penalty)
            if lower < best - 1 / UNIT:
                labels, best, improved = candidate, lower, True
    return labels


class MST(Method):
    """MST at relu4_1. 3 505 219 trainable parameters at VGG-19 width, in the decoder alone."""

    title = "MST"
    last = "relu4_1"
    variants = {"official": OFFICIAL, "paper": PAPER}

    def __init__(self, encoder: Encoder, variant: Variant = OFFICIAL):
        super().__init__(encoder.like(self.last, variant.pooling), variant)
        self.decoder = decoder(encoder.channels)

    def encode_content(self, image: Image) -> Encoded:
        """relu1_1..4_1 of the image, extended to a multiple of 8."""
        check_image(image)
        return Encoded(self.encoder(pad_to_multiple(image, 8)), tuple(image.shape[2:]))

    def encode_style(self, image: AnyImage) -> Encoded:
        """Likewise, with the "labels" of the clusters as a map of one channel."""
        code = self.encode_content(image)
        style = code.features["relu4_1"]
        # (c, h, w) -> (hw, c), labels (hw,) -> (1, h, w)
        labels = torch.stack([cluster(x.flatten(1).T).view(1, *x.shape[1:]) for x in full_precision(style)])
        return Encoded({**code.features, "labels": labels.to(style.dtype)}, code.size)

    @torch.no_grad()
    def transfer(self, content: Encoded, style: Encoded, alpha: float = 1.0) -> Transferred:
        """F; alpha mixes with the content features."""
        check_pair(content, style, "relu4_1")
        c, s = full_precision(content.features["relu4_1"]), full_precision(style.features["relu4_1"])
        items = zip(c, s, style.features["labels"].flatten(1).long(), strict=True)  # (b, 1, h, w) -> (b, hw)
        stylised = torch.stack([self._transfer_one(*item) for item in items])
        return Transferred({"relu4_1": alpha * stylised + (1 - alpha) * c}, content.size)

    def _transfer_one(
        self, content: Float[Tensor, "c h w"], style: Float[Tensor, "c _ _"], clusters: Int[Tensor, " n"]
    ) -> Float[Tensor, "c h w"]:
        c, s = content.flatten(1), style.flatten(1)  # (c, h, w) -> (c, hw)
        groups = [s[:, clusters == k] for k in range(int(clusters.max()) + 1)]
        labels = self.assign(content, torch.stack([group.mean(dim=1) for group in groups])).flatten()  # (h, w) -> (hw,)
        result = torch.empty_like(c)
        for k, group in enumerate(groups):
            chosen = labels == k
            if chosen.any():
                result[:, chosen] = whiten_and_colour(c[:, chosen], group, floor=1e-5, jitter=1e-8)
        return result.view_as(content)

    def assign(self, content: Float[Tensor, "c h w"], centres: Float[Tensor, "k c"]) -> Int[Tensor, "h w"]:
        """The cluster of every content position."""
        size = tuple(content.shape[1:])
        labels = graph_cut(data_cost(content.flatten(1).T, centres), size, self.variant)  # (c, h, w) -> (hw, c)
        return torch.from_numpy(labels).to(content.device).view(size)  # (hw,) -> (h, w)

    def decode(self, stylised: Transferred) -> Image:
        image = self.decoder(stylised.features["relu4_1"])
        return crop_to(image.relu() if self.variant.relu else image, stylised.size)

    def losses(self, content: Image, style: AnyImage, step: int) -> dict[str, Float[Tensor, ""]]:
        c, s = self.encode_content(content), self.encode_style(style)
        output = self.judged(pad_to_multiple(self.decode(self.transfer(c, s)), 8))
        wanted = self.judged(pad_to_multiple(content, 8), c)
        terms = {
            "content": mse(output["relu4_1"], wanted["relu4_1"]),
            "style": statistics_style(output, self.judged(pad_to_multiple(style, 8), s), STYLE_TAPS),
        }
        return scale_terms(terms, self.variant)

    def attention(self, content: Encoded, style: Encoded) -> list[AttentionRecord]:
        """Matching: cosine of content positions to the centres of style clusters; the graph cut decides."""
        c, s = (full_precision(code.features["relu4_1"][0]) for code in (content, style))
        clusters = style.features["labels"][0].flatten().long()
        centres = torch.stack([s.flatten(1)[:, clusters == k].mean(dim=1) for k in range(int(clusters.max()) + 1)])
        queries, keys = F.normalize(c.flatten(1).T, dim=1), F.normalize(centres, dim=1)  # (c, h, w) -> (hw, c)
        grids = tuple(c.shape[1:]), tuple(s.shape[1:])
        return [
            AttentionRecord(
                "relu4_1",
                queries,
                keys,
                *grids,
                step="match",
                matches=self.assign(c, centres).flatten(),
                regions=clusters,
            )
        ]

    def products(self, grids: Grids) -> int:
        """Cosines of content positions to the centres, and WCT of every group.

        As if every cluster found a place in the content: the statistics of one that does not are never needed.
        """
        c, (n, m) = grids.channels[3], grids.tokens(4, multiple=8)
        return n * c * CLUSTERS + wct_products(c, n, m, groups=CLUSTERS)

    counts_depend_on_pixels = True
    layout = Layout(
        {"model_state": ""},
        variant="paper",
        vgg=False,
        rename={
            **{f"vgg_encoder.block{number}.": "encoder.layers." for number in range(1, 5)},
            "decoder.net.": "decoder.",
        },
    )
