"""SCSA: "A Plug-and-Play Semantic Continuous-Sparse Attention for Arbitrary Semantic Style Transfer", CVPR 2025.

arXiv 2503.04119. No training: the attention of a trained host is replaced by two that stay inside a semantic class.
Content and style come with maps whose equal colours mean equal classes. Maps go through the host's encoder like images.

    S-AdaIN  F_c of class k -> (F_c - mu_k^c) / sigma_k^c * sigma_k^s + mu_k^s,  sigma = sqrt(biased variance + 1e-5)
    SCA      softmax over style positions of the query's class of  f_q(N(F_csem))^T f_k(N(F_ssem)),  times f_v(F_s)
    SSA      the value f_v(F_s) at the arg-max over the same positions of  f_q(N(F_c))^T f_k(N(F_s))
    F_cs = alpha_1 f_o(SCA) + alpha_2 f_o(SSA) + F_c,   F_c after S-AdaIN

Notation: f_q, f_k, f_v, f_o and N are the host's own projections and normalisation. SCA spreads one mixture over a
whole region, because a flat map has no structure; SSA only places style features that exist.

Sources: the paper's body could not be read; constants and order of operations are those of scn-00/SCSA.
Hosts: SANet and StyTr2 as published. AdaAttN and StyA2K are our extension. In AdaAttN both attentions give a mean and a
deviation, S . N(F_c) + M each, weighted by alpha_1 + alpha_2 = 1. In StyA2K SCA takes the place and the projections of
distributed attention and SSA those of progressive attention, each with weight 1, as there.

Where the code is not followed
  * A class that the style lacks divides 0 by 0 in the code's S-AdaIN, and NaN spreads over the whole image. Here such
    positions keep their features and attend everywhere (`Regions.unmatched` counts them).
  * The code masks attention at 4096 and 1024 tokens alone; here every grid is masked.
  * The dense mask and map are never built: a class attends by itself.

Public code, read for facts: scn-00/SCSA, of it StyTr2's settings in @adfe8e5:StyTr2+SCSA/SCSA.py.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..data.maps import Labels, SemanticMap, check_aspect
from ..errors import UserError
from ..nn.attention import Tokens, attend, attend_moments, grid, modulate, split_heads, tokens
from ..nn.encoder import AnyImage, Image
from ..nn.layers import full_precision, normalise
from .adaattn import AdaAttN
from .base import Encoded, Method, Transferred, check_input
from .sanet import SANet
from .stya2k import A2K, StyA2K
from .stytr2 import StyTr2, feed_forward

Map = Float[Tensor, "1 channels _ _"]
# Queries whose scores against a class are in memory at once.
CHUNK = 1024


@dataclass(frozen=True)
class Settings:
    """What SCSA does inside a host.

    sca, ssa  alpha_1 and alpha_2; 0 leaves the attention out
    blend     share of the S-AdaIN features in StyTr2's first residual (b)
    adain     where S-AdaIN's features stand for the content's: "everywhere", in "queries" alone, or "nowhere"
    keys      keys that a query of SSA keeps; None keeps its whole class
    masked    whether attention stays inside the class
    """

    sca: float
    ssa: float
    blend: float = 1.0
    adain: str = "everywhere"
    keys: int | None = 1
    masked: bool = True

    def __post_init__(self):
        if self.adain not in ("everywhere", "queries", "nowhere"):
            raise UserError(f"adain is everywhere, queries or nowhere, not {self.adain!r}")
        if self.keys is not None and self.keys < 1:
            raise UserError(f"SSA keeps at least one key, not {self.keys}")

    def choose(self, plain: Tensor, modulated: Tensor) -> tuple[Tensor, Tensor]:
        """Features for the queries of SSA, and for the residual."""
        return (plain if self.adain == "nowhere" else modulated), (modulated if self.adain == "everywhere" else plain)


class Regions:
    """Which queries may see which keys: those of their own class.

    unmatched  queries whose class the style lacks; they see every key
    """

    def __init__(self, content: Labels, style: Labels, masked: bool = True):
        queries, keys = (
            (content.flatten(), style.flatten())
            if masked
            else (torch.zeros_like(x.flatten()) for x in (content, style))
        )
        everywhere = torch.arange(len(keys), device=keys.device)
        self.groups: list[tuple[Int[Tensor, " queries"], Int[Tensor, " keys"]]] = []
        self.count, self.unmatched = len(queries), 0
        for label in queries.unique().tolist():
            mine, theirs = (queries == label).nonzero()[:, 0], (keys == label).nonzero()[:, 0]
            if len(theirs) == 0:
                theirs, self.unmatched = everywhere, self.unmatched + len(mine)
            self.groups.append((mine, theirs))

    def gather(self, parts: Iterator[Tokens]) -> Tokens:
        """One result per group, put back to where its queries are."""
        results = list(parts)
        out = results[0].new_empty(results[0].shape[0], self.count, results[0].shape[2])
        for (mine, _), result in zip(self.groups, results, strict=True):
            out[:, mine] = result
        return out


def s_adain(content: Map, style: Map, content_labels: Labels, style_labels: Labels) -> Map:
    """S-AdaIN: every class of the content gets the mean and deviation of its class in the style.

    A class with no, or one, position in the style keeps its features.
    """
    out = full_precision(content).clone()
    for label in content_labels.unique().tolist():
        mine, theirs = content_labels == label, style_labels == label
        if theirs.sum() > 1:
            (variance, mean), (target_variance, target) = (
                torch.var_mean(full_precision(x)[0][:, where], dim=1, correction=0, keepdim=True)
                for x, where in ((content, mine), (style, theirs))
            )
            out[0][:, mine] = (out[0][:, mine] - mean) / (variance + 1e-5).sqrt() * (
                target_variance + 1e-5
            ).sqrt() + target
    return out


def continuous(
    q: Float[Tensor, "1 n k"],
    k: Float[Tensor, "1 m k"],
    v: Float[Tensor, "1 m v"],
    regions: Regions,
    scale: float = 1.0,
    heads: int = 1,
) -> Float[Tensor, "1 n v"]:
    """SCA: attention inside the class."""
    return regions.gather(
        attend(q[:, mine], k[:, theirs], v[:, theirs], scale, heads) for mine, theirs in regions.groups
    )


def sparse(
    q: Float[Tensor, "1 n k"],
    k: Float[Tensor, "1 m k"],
    v: Float[Tensor, "1 m v"],
    regions: Regions,
    keep: int | None,
    scale: float = 1.0,
    heads: int = 1,
) -> Float[Tensor, "1 n v"]:
    """SSA: softmax over the `keep` best keys of the class, each head for itself; of equal keys the first counts."""

    def best(mine: Tensor, theirs: Tensor) -> Tokens:
        if keep is None or keep >= len(theirs):
            return attend(q[:, mine], k[:, theirs], v[:, theirs], scale, heads)
        queries, keys, values = (
            split_heads(full_precision(x), heads) for x in (q[:, mine], k[:, theirs], v[:, theirs])
        )
        parts = []
        for part in queries.split(CHUNK, dim=2):
            scores = scale * part @ keys.transpose(2, 3)  # (1, heads, n, d) (1, heads, d, m) -> (1, heads, n, m)
            top, index = scores.max(dim=3, keepdim=True) if keep == 1 else scores.topk(keep, dim=3)
            chosen = values.gather(2, index.flatten(2)[..., None].expand(-1, -1, -1, values.shape[3])).unflatten(
                2, index.shape[2:]
            )
            parts.append((top.softmax(dim=3)[..., None] * chosen).sum(dim=3))
        return torch.cat(parts, dim=2).transpose(1, 2).flatten(2)  # (1, heads, n, d) -> (1, n, heads, d) -> (1, n, c)

    return regions.gather(best(*group) for group in regions.groups)


@dataclass(frozen=True)
class Scene:
    """What a host works on: both images and both maps, encoded, and the classes on any grid."""

    content: Encoded
    style: Encoded
    content_map: Encoded
    style_map: Encoded
    labels: tuple[SemanticMap, SemanticMap]
    settings: Settings

    def classes(self, content: Map, style: Map) -> tuple[Labels, Labels]:
        """The classes on the grids of two feature maps."""
        return tuple(
            semantic.labels(tuple(x.shape[2:])).to(x.device)
            for semantic, x in zip(self.labels, (content, style), strict=True)
        )

    def regions(self, content: Map, style: Map) -> Regions:
        """Who may see whom, on the grids of two feature maps."""
        return Regions(*self.classes(content, style), self.settings.masked)

    def modulated(self, content: Map, style: Map) -> Map:
        """S-AdaIN of two feature maps."""
        return s_adain(content, style, *self.classes(content, style))

    def fuse(
        self,
        base: Tensor,
        regions: Regions,
        both: tuple[tuple[Tokens, ...], tuple[Tokens, ...]],
        out: Callable[[Tokens], Tensor],
        **options,
    ) -> Tensor:
        """alpha_1 f_o(SCA) + alpha_2 f_o(SSA) + base, from (q, k, v) of either."""
        (q1, k1, v1), (q2, k2, v2) = both
        if self.settings.sca:
            base = base + self.settings.sca * out(continuous(q1, k1, v1, regions, **options))
        if self.settings.ssa:
            base = base + self.settings.ssa * out(sparse(q2, k2, v2, regions, self.settings.keys, **options))
        return base


def _sanet(host: SANet, scene: Scene) -> Transferred:
    def level(tap: str, block) -> Map:
        c, s, cm, sm = (x.features[tap] for x in (scene.content, scene.style, scene.content_map, scene.style_map))
        query, base = scene.settings.choose(c, scene.modulated(c, s))
        (q1, k1, _), (q2, k2, v) = block.project(cm, sm), block.project(query, s)
        return scene.fuse(
            base, scene.regions(c, s), ((q1, k1, v), (q2, k2, v)), lambda x: block.out_conv(grid(x, tuple(c.shape[2:])))
        )

    merged = host.transformer.merge(
        level("relu4_1", host.transformer.sanet4_1), level("relu5_1", host.transformer.sanet5_1)
    )
    return Transferred({"relu4_1": merged}, scene.content.size)


def _stytr2(host: StyTr2, scene: Scene) -> Transferred:
    transformer, c, s = host.transformer, scene.content.features["tokens"], scene.style.features["tokens"]
    position = tokens(scene.content.features["position"])
    # The code's statistics are of the style as the content encoder sees it, after the style encoder.
    modulated = tokens(scene.modulated(c, transformer.encode(transformer.encoder_c, s, None)))
    regions, size = scene.regions(c, s), tuple(c.shape[2:])
    c, s, sm = tokens(c), tokens(s), tokens(scene.style_map.features["tokens"])
    # The map's position is the content's.
    embedded = host.embed(scene.labels[0].picture(scene.content.size).to(c))
    cm = tokens(transformer.encode(transformer.encoder_c, embedded, scene.content.features["position"]))
    query, residual = scene.settings.choose(c, modulated)

    def semantic(attention, base: Tokens, y: Tokens) -> Tokens:
        (q1, k1, _), (q2, k2, v) = attention.project(cm + position, sm, s), attention.project(y + position, s, s)
        return scene.fuse(
            base,
            regions,
            ((q1, k1, v), (q2, k2, v)),
            attention.out_proj,
            scale=attention.scale,
            heads=attention.num_heads,
        )

    def plain(attention, base: Tokens, y: Tokens) -> Tokens:
        return base + attention(y + position, s, s)

    for number, layer in enumerate(transformer.decoder.layers):
        base = scene.settings.blend * residual + (1 - scene.settings.blend) * c if number == 0 else query
        steps = (
            (layer.self_attn, layer.norm1, semantic if number == 0 else plain),
            (layer.multihead_attn, layer.norm2, semantic),
        )
        for attention, norm, see in steps:
            query = base = norm(see(attention, base + position if layer.with_position else base, query))
        query = layer.norm3(query + feed_forward(layer, query))
    return Transferred({"tokens": grid(transformer.decoder.norm(query), size)}, scene.content.size)


def _adaattn(host: AdaAttN, scene: Scene) -> Transferred:
    raw = scene.content.features
    modulated = {tap: scene.modulated(raw[tap], scene.style.features[tap]) for tap in raw}
    queries, bases = zip(*(scene.settings.choose(raw[tap], modulated[tap]) for tap in raw), strict=True)
    query, base = (dict(zip(raw, features, strict=True)) for features in (queries, bases))
    given = query, scene.style.features, scene.content_map.features, scene.style_map.features
    c, s, cm, sm = (host.code(Encoded(features, scene.content.size)).features for features in given)

    def level(number: int, block) -> Map:
        tap, key = host.taps[number - 3], f"key{number}"
        regions, v = scene.regions(raw[tap], s[tap]), tokens(block.h(s[tap]))
        q1, k1, q2, k2 = (tokens(f(x[key])) for f, x in ((block.f, cm), (block.g, sm), (block.f, c), (block.g, s)))
        total = torch.zeros_like(base[tap])
        if scene.settings.sca:
            moments = regions.gather(
                torch.cat(attend_moments(q1[:, mine], k1[:, theirs], v[:, theirs]), dim=2)
                for mine, theirs in regions.groups
            )
            total = total + scene.settings.sca * modulate(base[tap], *moments.chunk(2, dim=2))
        if scene.settings.ssa:
            mean, square = sparse(q2, k2, torch.cat([v, v.square()], dim=2), regions, scene.settings.keys).chunk(
                2, dim=2
            )
            deviation = (square - mean.square()).relu().sqrt()
            total = total + scene.settings.ssa * modulate(base[tap], mean, deviation)
        return total

    shallow, *deep = (level(number, block) for number, block in host.blocks().items())
    return Transferred({"relu3_1": shallow, "relu4_1": host.transformer.merge(*deep)}, scene.content.size)


def _stya2k(host: StyA2K, scene: Scene) -> Transferred:
    if host.variant.all_to_all or not (host.variant.distributed and host.variant.progressive):
        raise UserError("SCSA replaces both attentions of StyA2K; use a variant that has both")

    def level(tap: str, block: A2K) -> Map:
        c, s, cm, sm = (x.features[tap] for x in (scene.content, scene.style, scene.content_map, scene.style_map))
        query, base = scene.settings.choose(c, scene.modulated(c, s))
        regions, size, heads = scene.regions(c, s), tuple(c.shape[2:]), block.variant.heads
        if scene.settings.sca:
            spread = continuous(
                tokens(block.q(normalise(cm))), tokens(block.k(normalise(sm))), tokens(block.v(s)), regions, heads=heads
            )
            base = base + scene.settings.sca * block.fusion1(grid(spread, size))
        if scene.settings.ssa:
            placed = sparse(
                tokens(block.q2(normalise(query))),
                tokens(block.k2(normalise(s))),
                tokens(block.v2(s)),
                regions,
                scene.settings.keys,
                heads=heads,
            )
            base = base + scene.settings.ssa * block.fusion2(grid(placed, size))
        return base

    deep = level("relu4_1", host.transform.attn_adain_4_1), level("relu5_1", host.transform.attn_adain_5_1)
    return Transferred(
        {"relu3_1": level("relu3_1", host.A2K), "relu4_1": host.transform.merge(*deep)}, scene.content.size
    )


# By host: how it transfers, whether it needs the raw features of all levels, and its settings.
# The settings of SANet and StyTr2 are published.
HOSTS: dict[type[Method], tuple[Callable[..., Transferred], bool, Settings]] = {
    SANet: (_sanet, False, Settings(0.7, 0.3)),
    StyTr2: (_stytr2, False, Settings(1.2, 0.5, blend=0.7)),
    AdaAttN: (_adaattn, True, Settings(0.7, 0.3)),
    StyA2K: (_stya2k, False, Settings(1.0, 1.0)),
}


# A pair as its host sees it: content, style, content map, style map.
Scenery = tuple[Encoded, Encoded, Encoded, Encoded]


class SCSA:
    """A trained host with semantic attention in place of its own.

    settings  the host's in HOSTS unless given
    Raises UserError for a method that SCSA is not written for.
    """

    def __init__(self, host: Method, settings: Settings | None = None):
        if type(host) not in HOSTS:
            raise UserError(
                f"SCSA works inside {', '.join(kind.title for kind in HOSTS)}; {host.title} has no attention that it"
                " could replace"
            )
        self.host, (self._transfer, self._raw, published) = host, HOSTS[type(host)]
        self.settings = settings or published

    def encode(self, content: Image, style: AnyImage, maps: tuple[SemanticMap, SemanticMap]) -> Scenery:
        """What the host sees of one pair: content, style, and the maps of both as pictures. Settings do not matter.

        Raises UserError for batches, for maps of different palettes, or of another shape than their image.
        """
        if content.shape[0] != 1 or style.shape[0] != 1:
            raise UserError(f"SCSA takes one pair at a time, got batches of {content.shape[0]} and {style.shape[0]}")
        if not torch.equal(maps[0].palette, maps[1].palette):
            raise UserError("both maps need one palette; use maps.find_palette on both together")
        for semantic_map, image, name in zip(maps, (content, style), ("content", "style"), strict=True):
            check_input(self.host, image, name)
            check_aspect(semantic_map, tuple(image.shape[2:]), name)
        images = (
            content,
            style,
            *(m.picture(tuple(x.shape[2:])).to(x) for m, x in zip(maps, (content, style), strict=True)),
        )
        encoders = (self.host.features,) * 4 if self._raw else (self.host.encode_content, self.host.encode_style) * 2
        return tuple(encode(image) for encode, image in zip(encoders, images, strict=True))

    def transfer(self, encoded: Scenery, maps: tuple[SemanticMap, SemanticMap]) -> Transferred:
        """Stylised features of one pair; the maps' classes are brought to every grid."""
        return self._transfer(self.host, Scene(*encoded, maps, self.settings))

    def __call__(self, content: Image, style: AnyImage, maps: tuple[SemanticMap, SemanticMap]) -> Image:
        """The stylised image, unclamped, of the content's size."""
        return self.host.decode(self.transfer(self.encode(content, style, maps), maps))
