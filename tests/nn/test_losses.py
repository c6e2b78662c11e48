"""Every method's training losses against the slow reference, term by term.

The stylised images are the method's own: test_methods.py holds those against the reference. Every test runs twice:
judged by the method's own encoder, and by another one, of other widths.
"""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import reference.adaattn
import reference.adain
import reference.aespanet
import reference.avatarnet
import reference.common
import reference.losses
import reference.microast
import reference.stya2k
import torch
from helpers import models
from helpers.models import images
from helpers.networks import tiny_encoder
from reference.common import arrays, part

from replication.errors import UserError
from replication.methods import METHODS, Method
from replication.methods.adaattn import key_subset
from replication.methods.stya2k import Variant
from replication.nn.encoder import Encoder
from replication.nn.state import trained_state

SMALL = {"content": (24, 20), "style": (18, 26)}
OTHER = (8, 8, 24, 32, 16)  # channels of the other judge, which eight heads divide


# Which encoder judges in the test that runs: the methods' own, or the other one.
JUDGE = {"is": "own"}


@pytest.fixture(autouse=True, params=["own", "other"])
def judge(request):
    JUDGE["is"] = request.param
    yield request.param
    JUDGE["is"] = "own"


def other_encoder() -> Encoder:
    return tiny_encoder(9, channels=OTHER)


def model(name: str, variant: str | None = None) -> Method:
    made = models.model(name, variant)
    if JUDGE["is"] == "other":
        made.judge_by(other_encoder())
    return made.double()


def encode(batch: torch.Tensor) -> list[list[np.ndarray]]:
    """Taps of every image of a batch by the encoder that judges."""
    state = arrays((tiny_encoder() if JUDGE["is"] == "own" else other_encoder()).layers)
    return [reference.common.encode(image.detach().numpy(), state) for image in batch]


def mean(function, *batches) -> float:
    """Mean over the batch of a term of single images."""
    return float(np.mean([function(*items) for items in zip(*batches, strict=True)]))


def terms_of(made, content, style, step=0) -> dict[str, float]:
    torch.manual_seed(3)
    return {name: value.item() for name, value in made.losses(content, style, step).items()}


def four_terms(made, content, style) -> dict[str, float]:
    """SANet's terms, weighted by the variant."""
    result, same = made(content, style), (made(content, content), made(style, style))
    c, s = encode(content), encode(style)
    values = {
        "content": mean(reference.losses.normalised_content, encode(result), c),
        "style": mean(reference.losses.style, encode(result), s),
        "identity_pixels": sum(
            reference.losses.mse(a.detach().numpy(), b.numpy()) for a, b in zip(same, (content, style), strict=True)
        ),
        "identity_features": mean(reference.losses.features, encode(same[0]), c)
        + mean(reference.losses.features, encode(same[1]), s),
    }
    return {name: getattr(made.variant, name) * value for name, value in values.items()}


@pytest.mark.parametrize("variant", ["code", "paper"])
def test_adain(variant):
    made = model("adain", variant)
    content, style = images()
    (c,), (s,), (output,) = encode(content), encode(style), encode(made(content, style))
    options = {} if variant == "code" else {"content_unbiased": False, "style_unbiased": False, "style_eps": 0.0}
    expected = {
        "content": reference.losses.mse(output[3], reference.adain.adain(c[3], s[3], **options)),
        "style": 10 * reference.losses.style(output[:4], s[:4]),
    }
    if variant == "paper":
        expected["style"] = 0.1 * sum(
            len(a) * reference.losses.style([a], [b]) for a, b in zip(output[:4], s[:4], strict=True)
        )
    assert terms_of(made, content, style) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("name", "variant", "weights"),
    [
        ("sanet", "code", (1, 3, 50, 1)),
        ("sanet", "paper", (1, 3, 1, 50)),
        ("stytr2", "code", (7, 10, 70, 1)),
        ("stytr2", "paper", (10, 7, 50, 1)),
        ("dagstyle", "full", (7, 10, 70, 1)),
    ],
)
def test_four_terms(name, variant, weights):
    made = model(name, variant)
    content, style = images(2, **SMALL)
    if name == "dagstyle":
        content, style = images(1, content=(40, 36), style=(36, 40))
    assert terms_of(made, content, style) == pytest.approx(four_terms(made, content, style), rel=1e-9)
    assert (
        tuple(getattr(made.variant, term) for term in ("content", "style", "identity_pixels", "identity_features"))
        == weights
    )


def disentangled(made, content, style, content_1, style_1) -> dict[str, float]:
    """With the permutations that the seed of `terms_of` draws, in the order of the terms."""
    of_content, of_style = encode(made(content_1, style)), encode(made(content, style_1))
    torch.manual_seed(3)
    values = {"disentangled_content": 0.0, "disentangled_style": 0.0}
    for name, features, taps in (
        ("disentangled_content", of_content, (3, 4)),
        ("disentangled_style", of_style, range(5)),
    ):
        for tap in taps:
            first, second = torch.randperm(len(content)), torch.randperm(len(content))
            for i, j in zip(first, second, strict=True):
                a, b = features[i][tap], features[j][tap]
                if name == "disentangled_content":
                    values[name] += reference.losses.mse(
                        reference.common.normalise(a), reference.common.normalise(b)
                    ) / len(content)
                else:
                    values[name] += reference.losses.style([a], [b]) / len(content)
    return values


def test_manet_paper():
    made = model("manet", "paper")
    content, style = images(3, **SMALL)
    expected = four_terms(made, content, style) | disentangled(
        made, content, style, content[:1].expand_as(content), style[:1].expand_as(style)
    )
    assert terms_of(made, content, style) == pytest.approx(expected, rel=1e-9)


def test_manet_code_counts_disentanglement_behind_its_gate(monkeypatch):
    made = model("manet", "code")
    content, style = images(3, **SMALL)
    assert terms_of(made, content, style) == pytest.approx(four_terms(made, content, style), rel=1e-9)
    monkeypatch.setattr("replication.methods.manet.GATE", 1e9)
    expected = four_terms(made, content, style) | disentangled(
        made, content, style, content.roll(1, 0), style.roll(1, 0)
    )
    assert terms_of(made, content, style) == pytest.approx(expected, rel=1e-9)
    alone = terms_of(made, content[:1], style[:1])
    assert alone["disentangled_content"] == alone["disentangled_style"] == 0


@pytest.mark.parametrize(
    ("variant", "weights"), [("code", (3, 10, 70, 1, 3000, 1e-4)), ("paper", (4, 15, 70, 1, 3000, 0))]
)
def test_mccnet(variant, weights):
    made = model("mccnet", variant)
    content, style = images(2, **SMALL)
    torch.manual_seed(3)
    noise = (0.01 + 0.01 * torch.rand(())) * torch.randn(content.shape)
    result, other = made(content, style), made(content + noise.double(), style)
    expected = four_terms(made, content, style) | {
        "illumination": 3000 * reference.losses.mse(other.detach().numpy(), result.detach().numpy())
    }
    if variant == "code":
        x = result.detach().numpy()
        expected["total_variation"] = 1e-4 * float(np.abs(np.diff(x, axis=2)).sum() + np.abs(np.diff(x, axis=3)).sum())
    assert terms_of(made, content, style) == pytest.approx(expected, rel=1e-6)  # the noise is drawn in single precision
    names = ("content", "style", "identity_pixels", "identity_features", "illumination", "total_variation")
    assert tuple(getattr(made.variant, name) for name in names) == weights


@pytest.mark.parametrize("operator", ["adain", "wct"])
def test_artflow(operator):
    made = model("artflow", operator)
    content, style = images(2, **SMALL)
    output, c, s = encode(made(content, style)), encode(content), encode(style)
    expected = {
        "content": 0.1 * mean(lambda a, b: reference.losses.mse(a[3], b[3]), output, c),
        "style": mean(lambda a, b: reference.losses.style(a[:4], b[:4]), output, s),
    }
    assert terms_of(made, content, style) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize(("variant", "negatives"), [("code", "results"), ("paper", "styles")])
def test_microast(variant, negatives):
    made = model("microast", variant)
    content, style = images(3, **SMALL)
    result = made(content, style)

    def signals(batch):
        levels = [
            reference.microast.micro_encode(image.detach().numpy(), part(made, "style_encoder")) for image in batch
        ]
        modulation = [reference.microast.micro_modulation(pair, part(made, "modulator")) for pair in levels]
        return [{"level1": a, "level2": b, **m} for (a, b), m in zip(levels, modulation, strict=True)]

    expected = {
        "content": mean(lambda a, b: reference.losses.mse(a[3], b[3]), encode(result), encode(content)),
        "style": 3 * mean(lambda a, b: reference.losses.style(a[:4], b[:4]), encode(result), encode(style)),
        "contrast": 3 * reference.microast.micro_contrast(signals(result), signals(style), negatives),
    }
    assert terms_of(made, content, style) == pytest.approx(expected, rel=1e-8)
    with pytest.raises(UserError, match="batch of at least 2"):
        made.losses(content[:1], style[:1], 0)


@pytest.mark.parametrize("variant", ["official", "port"])
def test_avatarnet(variant):
    """The decoder's own reconstruction, in each code's colours; features by the encoder with each code's pooling."""
    made = model("avatarnet", variant)
    content, style = images(1, **SMALL)
    state, chosen = arrays(made.encoder.layers), made.variant
    source = content[0].numpy()
    features = reference.common.encode(reference.common.extend(source, 8), state, chosen.pooling, "zeros")
    result = reference.avatarnet.avatar_decode(
        features[3], features, part(made, "decoder"), official=variant == "official"
    )[:, :24, :20]

    def judged(image):
        if JUDGE["is"] == "other":  # as it is, with its own pooling and padding
            (found,) = encode(torch.from_numpy(reference.common.extend(image, 8))[None])
            return found
        return reference.common.encode(reference.common.extend(image, 8), state, chosen.pooling, "zeros")

    scale = 255.0 if variant == "official" else 1 / np.array([0.229, 0.224, 0.225])[:, None, None]
    y = result * scale
    squares = {"official": (623, 16900, 16800, 253000), "port": (1, 1, 1, 1)}[variant]
    expected = {
        "pixels": chosen.pixels * reference.losses.mse(y, source * scale),
        "features": chosen.features
        * sum(a * reference.losses.mse(x, y) for a, x, y in zip(squares, judged(result), judged(source), strict=False)),
        "total_variation": chosen.total_variation
        * float(np.abs(np.diff(y, axis=1)).mean() + np.abs(np.diff(y, axis=2)).mean()),
    }
    assert terms_of(made, content, style) == pytest.approx(expected, rel=1e-8)
    assert (chosen.pixels, chosen.features, chosen.total_variation) == {"official": (10, 1, 10), "port": (1, 0.1, 1)}[
        variant
    ]


@pytest.mark.parametrize("variant", ["official", "paper"])
def test_mst(variant):
    made = model("mst", variant)
    content, style = images(1, **SMALL)
    own = JUDGE["is"] == "own"
    state = arrays((made.encoder if own else other_encoder()).layers)
    result, c, s = (
        reference.common.encode(
            reference.common.extend(x[0].detach().numpy(), 8), state, made.variant.pooling if own else "max"
        )
        for x in (made(content, style), content, style)
    )
    expected = {"content": reference.losses.mse(result[3], c[3]), "style": reference.losses.style(result[:4], s[:4])}
    assert terms_of(made, content, style) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("name", ["adaattn", "datnet"])
def test_adaattn_and_datnet(name):
    made = model(name)
    content, style = images(**SMALL)
    (c,), (s,), (output,) = encode(content), encode(style), encode(made(content, style))
    limit, local = s[1][0].size // 4, 0.0
    for level in range(2, 6):
        subset = key_subset(s[level - 1][0].size, limit, 3)
        kept = None if subset is None else subset.tolist()
        target = reference.adaattn.adaattn_local_target(
            c, s, level, kept, "nearest" if name == "adaattn" else "bilinear"
        )
        local += reference.losses.mse(output[level - 1], target)
    expected = {"global_style": 10 * reference.losses.style(output[1:], s[1:]), "local_feature": 3 * local}
    if name == "datnet":
        (same,) = encode(made(content, content))
        expected["restoration"] = 5 * reference.losses.features(same, c)
    assert terms_of(made, content, style, 3) == pytest.approx(expected, rel=1e-9)
    assert "restoration" not in terms_of(model("datnet", "dual"), content, style)


def stya2k_pictures():
    return images(content=(40, 36), style=(33, 47))


@cache
def stya2k_targets(chosen: Variant, judge: str) -> list[np.ndarray]:
    """What the local loss compares with at relu2_1 to relu5_1: the slow part, once for arms whose targets are alike.

    judge  who encodes in the test that runs
    """
    (c,), (s,) = map(encode, stya2k_pictures())
    targets = []
    for level in range(2, 6):
        if chosen.single_level:
            q, k = (reference.common.normalise(x[level - 1]) for x in (c, s))
        else:
            q, k = (reference.adaattn.adaattn_key(x, level, "nearest") for x in (c, s))
        v = s[level - 1]
        target, sides = c[level - 1], reference.stya2k.sides_of(chosen, level - 1, c[level - 1])
        if chosen.all_to_all:
            flat = (x.reshape(len(x), -1) for x in (q, k, v))
            target = target + reference.common.attention(*flat, chosen.heads).reshape(target.shape)
        elif chosen.distributed:
            more = reference.stya2k.more_than_points(chosen)
            target = target + reference.stya2k.distributed(q, k, v, sides, chosen.heads, more=more)
        if chosen.progressive and not chosen.all_to_all:
            target = target + reference.stya2k.progressive(q, k, v, sides, chosen.heads, chosen.coarse)
        targets.append(target)
    return targets


@pytest.mark.parametrize("variant", METHODS["stya2k"].variants)
def test_stya2k(variant, judge):
    made, (content, style) = model("stya2k", variant), stya2k_pictures()
    (s,), (output,) = encode(style), encode(made(content, style))
    targets = stya2k_targets(replace(made.variant, local_feature=1.25), judge)
    local = sum(reference.losses.mse(x, target) for x, target in zip(output[1:], targets, strict=True))
    weight = float(variant.removeprefix("lambda-")) if variant.startswith("lambda") else 1.25
    expected = {"global_style": 10 * reference.losses.style(output[:4], s[:4]), "local_feature": weight * local}
    assert terms_of(made, content, style) == pytest.approx(expected, rel=1e-9)


def test_aespanet():
    """Of a batch, because every picture has a share, a centre and windows of its own."""
    made, slow = model("aespanet"), reference.aespanet
    content, style = images(2, **SMALL)
    contents, paintings = ([reference.common.extend(x.numpy(), 16) for x in batch] for batch in (content, style))
    own, judge = arrays(made.encoder.layers), arrays((made.judge or made.encoder).layers)
    expected = dict.fromkeys(("content", "identity", "attended", "global_style", "patches", "colour"), 0.0)
    for photograph, painting in zip(contents, paintings, strict=True):
        own_c, own_s, grey_c, grey_s = (
            reference.common.encode(x, own) for x in (photograph, painting, slow.grey(photograph), slow.grey(painting))
        )
        share = slow.share(own_s, grey_s)
        result = slow.paint(made, own_c, grey_c, own_s, grey_s)
        again = slow.paint(made, grey_c, grey_c, own_c, grey_c, 1.0), slow.paint(made, grey_s, grey_s, own_s, grey_s)
        c, s, output, *same = (reference.common.encode(x, judge) for x in (photograph, painting, result, *again))
        attended = slow.both_levels(own_c, own_s, part(made, "transformer"))
        on_own = reference.common.encode(result, own)[3:]
        side = min(256, 2 ** int((9 / 8 - share) * 8 + 4), 32)
        cuts = [
            [reference.common.encode(window, judge) for window in slow.windows(x, side, side)]
            for x in (result, painting)
        ]
        pictures = {
            "content": reference.losses.normalised_content(output, c),
            "identity": sum(reference.losses.features(a[1:], b[1:]) for a, b in zip(same, (c, s), strict=True)),
            "attended": 100
            * share
            * sum(reference.losses.mse(slow.gram(a), slow.gram(b)) for a, b in zip(attended, on_own, strict=True)),
            "global_style": 10
            * (1 - share)
            * sum(slow.centred_gram_error(a, b) for a, b in zip(output[3:], s[3:], strict=True)),
            "patches": 0.2 * np.mean([slow.patch_error(*([taps[x] for taps in cut] for cut in cuts)) for x in (3, 4)]),
            "colour": 1.5 * slow.hellinger(slow.histogram(result, 64), slow.histogram(painting, 64)),
        }
        expected = {name: value + pictures[name] / 2 for name, value in expected.items()}
    assert terms_of(made, content, style) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", METHODS)
def test_the_judge_is_neither_trained_nor_stored(name, judge):
    """Gradients pass through it to the method and stay away from it; what is stored is the same with it and without."""
    made = model(name)
    before = {key: value.clone() for key, value in made.encoder.state_dict().items()}
    content, style = images(2, content=(40, 36), style=(36, 40))
    sum(made.losses(content, style, 0).values()).backward()
    frozen = [made.encoder, *([made.judge] if judge == "other" else [])]
    assert len(frozen) == 1 + (judge == "other")
    assert all(p.grad is None and not p.requires_grad for network in frozen for p in network.parameters())
    trained = [p for p in made.parameters() if p.requires_grad]
    assert trained and all(p.grad is not None for p in trained) and sum(p.grad.abs().sum() for p in trained) > 0
    assert trained_state(made).keys() == trained_state(models.model(name)).keys()
    assert all(torch.equal(value, before[key]) for key, value in made.encoder.state_dict().items())


@pytest.mark.parametrize("name", [name for name in METHODS if name not in ("avatarnet", "mst")])
def test_judged_by_itself_a_method_has_the_same_losses(name):
    """Bit for bit, which the deviating pooling of Avatar-Net and MST rules out for these."""
    made = models.model(name)
    content, style = images(2, content=(40, 36), style=(36, 40))
    alone = terms_of(made, content, style)
    made.judge_by(made.encoder)
    assert terms_of(made.double(), content, style) == alone
