"""Small models with weights away from special points, and the slow reference of every method as a whole."""

import numpy as np
import reference
import torch

from helpers.networks import tiny_encoder
from replication import build
from replication.methods import METHODS
from replication.nn.encoder import TAPS, Encoder

VARIANTS = [(name, variant) for name, kind in METHODS.items() for variant in kind.variants]
SIZES = {"content": (40, 36), "style": (33, 47)}


def images(batch: int = 1, **sizes: tuple[int, int]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [
        torch.rand(batch, 3, *size, generator=generator, dtype=torch.float64) for size in ({**SIZES, **sizes}).values()
    ]


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


def arrays(module: torch.nn.Module) -> dict[str, np.ndarray]:
    return {key: value.detach().double().numpy() for key, value in module.state_dict().items()}


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
    return reference.encode(image[0].double().numpy(), arrays(encoder.layers))


def reference_output(made, name: str, variant: str, content: torch.Tensor, style: torch.Tensor) -> np.ndarray:
    """The stylised image by the slow reference, (3, h, w)."""
    image = REFERENCES[name](made, made.variants[variant], content, style)
    return image[:, : content.shape[2], : content.shape[3]]


def part(made, name: str) -> dict[str, np.ndarray]:
    return arrays(made.get_submodule(name))


def by_relu4(transfer):
    """Reference of a method that maps features to relu4_1 features and decodes them with the mirrored decoder."""

    def paint(made, variant, content, style):
        c, s = taps(content, tiny_encoder()), taps(style, tiny_encoder())
        return reference.mirrored_decoder(transfer(made, variant, c, s), part(made, "decoder"))

    return paint


def reference_adain(made, variant, c, s):
    options = {} if variant.style == 10 else {"content_unbiased": False, "style_unbiased": False, "style_eps": 0.0}
    return reference.adain(c[3], s[3], **options)


def reference_adaattn(made, variant, content, style):
    c, s = taps(content, tiny_encoder()), taps(style, tiny_encoder())
    if getattr(variant, "channel_attention", False):
        c, s = (
            [
                reference.eca(f, made.eca[tap].conv.weight[0, 0].detach().numpy())
                for tap, f in zip(TAPS, code, strict=True)
            ]
            for code in (c, s)
        )
    features = reference.adaattn(c, s, part(made, "adaattn_3"), part(made, "transformer"), variant.key_resize)
    return reference.skip_decoder(*features, part(made, "decoder"))


def reference_a2k(state, c, s, tap, variant):
    if variant.all_to_all:
        q, k, v = (
            reference.linear(reference.normalise(c), state, "q"),
            reference.linear(reference.normalise(s), state, "k"),
            reference.linear(s, state, "v"),
        )
        return c + reference.linear(reference.attention(q, k, v, variant.heads), state, "fusion1").reshape(c.shape)
    sides, out = sides_of(variant, tap, c), c
    maps = [reference.normalise(c), reference.normalise(s), s]
    if variant.distributed:
        q, k, v = (reference.layer(x, state, n) for x, n in zip(maps, ("q", "k", "v"), strict=True))
        attended = reference.distributed(q, k, v, sides, variant.heads, state["sim_alpha"][0], state["sim_beta"][0])
        out = out + reference.layer(attended, state, "fusion1")
    if variant.progressive:
        q, k, v = (reference.layer(x, state, n) for x, n in zip(maps, ("q2", "k2", "v2"), strict=True))
        out = out + reference.layer(
            reference.progressive(q, k, v, sides, variant.heads, variant.coarse), state, "fusion2"
        )
    return out


def sides_of(variant, tap, c):
    """16, 8, 8, 4: pixels a side in the code, blocks a side in the paper."""
    block = {"relu2_1": 16, "relu3_1": 8, "relu4_1": 8, "relu5_1": 4}[tap]
    return tuple(-(-n // block) for n in c.shape[1:]) if variant.fixed_count else (block, block)


def reference_stya2k(made, variant, content, style):
    c, s = taps(content, tiny_encoder()), taps(style, tiny_encoder())
    names = {2: "A2K", 3: "transform.attn_adain_4_1", 4: "transform.attn_adain_5_1"}
    attended = {i: reference_a2k(part(made, module), c[i], s[i], TAPS[i], variant) for i, module in names.items()}
    merged = reference.layer(
        attended[3] + reference.double(attended[4], c[3].shape[1:]), part(made, "transform"), "merge_conv"
    )
    return reference.skip_decoder(merged, attended[2], part(made, "decoder"))


def reference_artflow(made, variant, content, style):
    state = part(made, "glow")
    c, s = (reference.flow(reference.extend(x[0].numpy(), 4), state) for x in (content, style))
    if variant.operator == "adain":
        return reference.reverse_flow(reference.adain(c, s), state)
    return reference.reverse_flow(reference.wct(c.reshape(48, -1), s.reshape(48, -1)).reshape(c.shape), state)


def reference_microast(made, variant, content, style):
    c = reference.micro_encode(content[0].numpy(), part(made, "content_encoder"))
    s = reference.micro_encode(style[0].numpy(), part(made, "style_encoder"))
    return reference.micro_decode(
        c[1], s, reference.micro_modulation(s, part(made, "modulator")), part(made, "decoder")
    )


def reference_stytr2(made, variant, content, style):
    c, s = (reference.extend(x[0].numpy(), 8) for x in (content, style))
    features = reference.stytr2(
        c, s, part(made, "embedding"), part(made, "transformer"), variant.residual_with_position
    )
    return reference.mirrored_decoder(features, part(made, "decoder"))


def reference_avatarnet(made, variant, content, style):
    c, s = (
        reference.encode(reference.extend(x[0].numpy(), 8), arrays(made.encoder.layers), variant.pooling, "zeros")
        for x in (content, style)
    )
    mode = {"reflect": "reflect", "constant": "zeros"}[variant.content_pad]
    features = reference.decorate(c[3], s[3], variant.patch, mode, variant.mix_whitened, variant.strength)
    return reference.avatar_decode(features, s, part(made, "decoder"), official=not variant.mirrored)


def reference_mst(made, variant, content, style):
    """With the method's own clusters and labels: those have tests of their own."""
    c, s = (
        reference.encode(reference.extend(x[0].numpy(), 8), arrays(made.encoder.layers), variant.pooling)[3]
        for x in (content, style)
    )
    clusters = made.encode_style(style).features["labels"].flatten().long().numpy()
    centres = np.stack([s.reshape(len(s), -1)[:, clusters == k].mean(axis=1) for k in range(3)])
    labels = made.assign(torch.from_numpy(c), torch.from_numpy(centres)).flatten().numpy()
    image = reference.mirrored_decoder(reference.mst(c, s, clusters, labels), part(made, "decoder"))
    return np.maximum(image, 0) if variant.relu else image


def reference_dagstyle(made, variant, content, style):
    c, s = (reference.extend(x[0].numpy(), 64) for x in (content, style))
    return reference.dagstyle(c, s, arrays(made), variant.middle, variant.rebuild)


REFERENCES = {
    "adain": by_relu4(reference_adain),
    "sanet": by_relu4(lambda made, variant, c, s: reference.sanet(c, s, part(made, "transformer"))),
    "manet": by_relu4(lambda made, variant, c, s: reference.manet(c[3], s[3], part(made, "ma_module"))),
    "mccnet": by_relu4(lambda made, variant, c, s: reference.mccnet(c[3], s[3], part(made, "mcc_module"))),
    "adaattn": reference_adaattn,
    "datnet": reference_adaattn,
    "stya2k": reference_stya2k,
    "artflow": reference_artflow,
    "microast": reference_microast,
    "stytr2": reference_stytr2,
    "avatarnet": reference_avatarnet,
    "mst": reference_mst,
    "dagstyle": reference_dagstyle,
}
