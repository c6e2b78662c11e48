"""StyTr2: Deng et al., "StyTr2: Image Style Transfer with Transformers", CVPR 2022.

arXiv 2105.14576. Patches instead of VGG-19: content and style are token sequences, each with its own transformer
encoder, and a transformer decoder rewrites the content tokens with attention to the style tokens:

    E = conv 8x8, stride 8 (I),  P = resize( W_pos AvgPool_18x18(E_c) )             content-aware position (CAPE)
    Y_c = Enc_c(E_c, P),  Y_s = Enc_s(E_s),  Y = Dec(Y_c + P, Y_s),  image = D(Y)
    layer    X <- LN(X + MHA(Q, K, V)),  X <- LN(X + W_2 relu(W_1 X));  three layers each, 8 heads, logits over sqrt(64)
    encoder  Q = K = X + P, V = X;     decoder  twice Q = X + P, K = V = Y_s, no self-attention; one LN at the end
    L = 7 L_c + 10 L_s + 70 L_id1 + L_id2:  SANet's terms

Notation: tokens are 512 channels at h/8; LN layer normalisation; D the decoder of the AdaIN family. Dropout 0.1 in
training. The style has no positions, so shuffling its tokens changes nothing.

Two truths (diyiiyiii/StyTR-2 is the code)
  code   weights above, residual X without P. The default.
  paper  weights 10 (content), 7 (style), 50, 1; residual Q, that is X + P.
Rate: the code warms up from 5e-5 to 2e-4 in 10 000 steps and then decays; the paper prints 5e-4.

Any size: the published code wants equal squares, because CAPE is resized to the STYLE's grid and the result reshaped to
a square. Here CAPE has the content's grid; equal squares give equal numbers. Sides that are no multiple of 8 are
extended by reflection, and the result is cut. Width and hidden layers follow the encoder of the losses: 512 and 2048
for VGG-19.

Public code, read for facts: diyiiyiii/StyTR-2@c11ea32:models/StyTR.py, models/transformer.py, train.py.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ..nn.attention import AttentionRecord, Tokens, attend, grid, split_heads, tokens
from ..nn.encoder import AnyImage, Encoder, Image, check_image
from ..nn.layers import decoder, pad_to_multiple
from ..nn.losses import content_style_identity
from .base import Encoded, Layout, Method, Transferred, check_pair, conv1x1, crop_to, scale_terms
from .products import Grids

PATCH, HEADS, LAYERS, DROPOUT, CAPE_SIDE = 8, 8, 3, 0.1, 18
Positions = Float[Tensor, "batch tokens channels"] | None


@dataclass(frozen=True)
class Variant:
    """One reading of StyTr2.

    residual_with_position  residuals add the query, position included
    """

    residual_with_position: bool = False
    content: float = 7.0
    style: float = 10.0
    identity_pixels: float = 70.0
    identity_features: float = 1.0

    def learning_rate(self, step: int, batch: int) -> float:
        """5e-5 to 2e-4 over 10 000 steps, then 2e-4 / (1 + 1e-5 (step - 10 000)); 160 000 steps of batch 8."""
        return 5e-5 * (1 + 3e-4 * step) if step < 10_000 else 2e-4 / (1 + 1e-5 * (step - 10_000))


CODE = Variant()
PAPER = Variant(residual_with_position=True, content=10.0, style=7.0, identity_pixels=50.0)


class MultiHeadAttention(nn.MultiheadAttention):
    """torch's parameters and names; its forward builds a dense map in evaluation, this one never does there."""

    def __init__(self, channels: int):
        super().__init__(channels, HEADS, batch_first=True)
        self.scale = (channels // HEADS) ** -0.5

    def project(self, queries: Tokens, keys: Float[Tensor, "b m c"], values: Float[Tensor, "b m c"]) -> list[Tensor]:
        """Projected queries, keys and values; heads are consecutive channel groups."""
        parts = zip((queries, keys, values), self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3), strict=True)
        return [F.linear(x, weight, bias) for x, weight, bias in parts]

    def forward(self, queries: Tokens, keys: Float[Tensor, "b m c"], values: Float[Tensor, "b m c"]) -> Tokens:
        dropout = DROPOUT if self.training else 0.0
        return self.out_proj(
            attend(*self.project(queries, keys, values), scale=self.scale, heads=HEADS, dropout=dropout)
        )


def feed_forward(layer: nn.Module, x: Tokens) -> Tokens:
    """W_2 relu(W_1 x) of an encoder or decoder layer."""
    return layer.linear2(layer.dropout(layer.linear1(x).relu()))


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward, normalised after each; names as published."""

    def __init__(self, channels: int, with_position: bool):
        super().__init__()
        self.with_position = with_position
        self.self_attn = MultiHeadAttention(channels)
        self.linear1, self.linear2 = nn.Linear(channels, 4 * channels), nn.Linear(4 * channels, channels)
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, x: Tokens, position: Positions) -> Tokens:
        q = x if position is None else x + position
        x = self.norm1((q if self.with_position else x) + self.dropout(self.self_attn(q, q, x)))
        return self.norm2(x + self.dropout(feed_forward(self, x)))


class DecoderLayer(nn.Module):
    """Two attentions to the style and feed-forward; names as published, where the first is called self_attn."""

    def __init__(self, channels: int, with_position: bool):
        super().__init__()
        self.with_position = with_position
        self.self_attn, self.multihead_attn = MultiHeadAttention(channels), MultiHeadAttention(channels)
        self.linear1, self.linear2 = nn.Linear(channels, 4 * channels), nn.Linear(4 * channels, channels)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(channels) for _ in range(3))
        self.dropout = nn.Dropout(DROPOUT)

    def forward(
        self,
        y: Tokens,
        memory: Float[Tensor, "b m c"],
        position: Tokens,
        see: Callable[[MultiHeadAttention, Tensor], None],
    ) -> Tokens:
        for attention, norm in ((self.self_attn, self.norm1), (self.multihead_attn, self.norm2)):
            q = y + position
            see(attention, q)
            y = norm((q if self.with_position else y) + self.dropout(attention(q, memory, memory)))
        return self.norm3(y + self.dropout(feed_forward(self, y)))


class Stack(nn.Module):
    """Layers that start as copies of one, so that their biases are alike, as in the published code."""

    def __init__(self, layer: nn.Module, norm: nn.Module | None = None):
        super().__init__()
        self.layers = nn.ModuleList(deepcopy(layer) for _ in range(LAYERS))
        if norm is not None:
            self.norm = norm


class Transformer(nn.Module):
    """Both encoders, the decoder and CAPE's convolution. 31 790 080 parameters at 512 channels."""

    def __init__(self, channels: int, with_position: bool):
        super().__init__()
        self.encoder_c = Stack(EncoderLayer(channels, with_position))
        self.encoder_s = Stack(EncoderLayer(channels, with_position))
        self.decoder = Stack(DecoderLayer(channels, with_position), nn.LayerNorm(channels))
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)
        self.new_ps = conv1x1(channels, channels)

    def position(self, embedding: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """CAPE: the pooled content, resized to its own grid."""
        pooled = self.new_ps(F.adaptive_avg_pool2d(embedding, CAPE_SIDE))
        return F.interpolate(pooled, tuple(embedding.shape[2:]), mode="bilinear", align_corners=False)

    def encode(
        self, stack: Stack, embedding: Float[Tensor, "b c h w"], position: Float[Tensor, "b c h w"] | None
    ) -> Float[Tensor, "b c h w"]:
        """A map through one of the encoders."""
        x, p = tokens(embedding), None if position is None else tokens(position)
        for layer in stack.layers:
            x = layer(x, p)
        return grid(x, tuple(embedding.shape[2:]))

    def decode(
        self,
        content: Float[Tensor, "b c h w"],
        style: Float[Tensor, "b c _ _"],
        position: Float[Tensor, "b c h w"],
        see: Callable[[MultiHeadAttention, Tensor], None] = lambda attention, queries: None,
    ) -> Float[Tensor, "b c h w"]:
        """Content tokens rewritten with the style's; `see` is shown every attention and its queries."""
        y, memory, p = tokens(content), tokens(style), tokens(position)
        for layer in self.decoder.layers:
            y = layer(y, memory, p, see)
        return grid(self.decoder.norm(y), tuple(content.shape[2:]))


class PatchEmbedding(nn.Module):
    """8x8 patches to tokens, shared by content and style."""

    def __init__(self, channels: int):
        super().__init__()
        self.proj = nn.Conv2d(3, channels, PATCH, PATCH)


class StyTr2(Method):
    """StyTr2. 35 394 115 trainable parameters at VGG-19 width, none else in a stylisation."""

    title = "StyTr2"
    taps = ()
    variants = {"code": CODE, "paper": PAPER}

    def __init__(self, encoder: Encoder, variant: Variant = CODE):
        super().__init__(encoder, variant)
        channels = encoder.channels[3]
        self.embedding = PatchEmbedding(channels)
        self.transformer = Transformer(channels, variant.residual_with_position)
        self.decoder = decoder(encoder.channels)

    def embed(self, image: AnyImage) -> Float[Tensor, "b c _ _"]:
        """Tokens of an image as a map."""
        check_image(image)
        return self.embedding.proj(pad_to_multiple(image, PATCH))

    def encode_content(self, image: Image) -> Encoded:
        """The content encoder's "tokens" and their "position"."""
        embedding = self.embed(image)
        position = self.transformer.position(embedding)
        encoded = self.transformer.encode(self.transformer.encoder_c, embedding, position)
        return Encoded({"tokens": encoded, "position": position}, tuple(image.shape[2:]))

    def encode_style(self, image: AnyImage) -> Encoded:
        """The style encoder's "tokens"."""
        return Encoded(
            {"tokens": self.transformer.encode(self.transformer.encoder_s, self.embed(image), None)},
            tuple(image.shape[2:]),
        )

    def transfer(self, content: Encoded, style: Encoded) -> Transferred:
        """The transformer decoder's output."""
        check_pair(content, style, "tokens")
        c = content.features
        return Transferred(
            {"tokens": self.transformer.decode(c["tokens"], style.features["tokens"], c["position"])}, content.size
        )

    def decode(self, stylised: Transferred) -> Image:
        return crop_to(self.decoder(stylised.features["tokens"]), stylised.size)

    def losses(self, content: Image, style: AnyImage, step: int) -> dict[str, Float[Tensor, ""]]:
        """Dropout draws from torch's global generator."""
        c, s = ((self.encode_content(image), self.encode_style(image)) for image in (content, style))
        result, *same = (self.decode(self.transfer(*pair)) for pair in ((c[0], s[1]), c, s))
        features = self.judged(content), self.judged(style)
        return scale_terms(
            content_style_identity(self.judged, (content, style), features, result, tuple(same)), self.variant
        )

    def attention(self, content: Encoded, style: Encoded) -> list[AttentionRecord]:
        """Both attentions of the three decoder layers, every head."""
        c, memory = {name: f[:1] for name, f in content.features.items()}, style.features["tokens"][:1]
        grids = tuple(c["tokens"].shape[2:]), tuple(memory.shape[2:])
        records: list[AttentionRecord] = []

        def see(attention: MultiHeadAttention, queries: Tensor) -> None:
            q, k, _ = attention.project(queries, tokens(memory), tokens(memory))
            layer, part = divmod(len(records) // HEADS, 2)
            heads = zip(split_heads(q, HEADS)[0], split_heads(k, HEADS)[0], strict=True)
            records.extend(
                AttentionRecord(f"decoder {layer + 1}", a, b, *grids, scale=attention.scale, head=head, step="ab"[part])
                for head, (a, b) in enumerate(heads)
            )

        self.transformer.decode(c["tokens"], memory, c["position"], see)
        return records

    def products(self, grids: Grids) -> int:
        """Of the encoders' self-attention, and of the decoder's attention to the style, twice a layer.

        Projections count here: torch's attention module keeps them as bare matrices, not as layers.
        """
        c, (n, m) = grids.channels[3], grids.patches(PATCH)
        encoders = sum(LAYERS * (3 * c * c * count + 2 * c * count * count) for count in (n, m))
        return encoders + 2 * LAYERS * (c * c * (n + 2 * m) + 2 * c * n * m)

    layout = Layout({name: name for name in ("embedding", "transformer", "decoder")}, vgg=False)
