"""Exact attention: against the dense definition, in linear memory, with records that tell the same."""

import sys
from dataclasses import replace

import pytest
import torch
from helpers.models import images, model
from helpers.networks import tiny_encoder
from helpers.records import kinds, record

from replication import build
from replication.errors import UserError
from replication.evaluation import benchmark
from replication.methods import METHODS, avatarnet, mst, stya2k
from replication.methods.adain import adain
from replication.methods.base import Method
from replication.methods.dagstyle import REDUCTIONS
from replication.nn import attention
from replication.nn.attention import AttentionRecord, attend, attend_moments, grid, tokens
from replication.nn.layers import normalise


def qkv(n=50, m=70, k=12, c=9, seed=0):
    generator = torch.Generator().manual_seed(seed)
    sizes = ((2, n, k), (2, m, k), (2, m, c))
    return [torch.randn(*size, generator=generator, dtype=torch.float64, requires_grad=True) for size in sizes]


def dense_moments(q, k, v):
    weights = (q @ k.transpose(1, 2)).softmax(dim=2)
    mean = weights @ v
    variance = torch.einsum("bnm,bnmc->bnc", weights, (v[:, None] - mean[:, :, None]).square())
    return mean, variance.sqrt()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
def test_attend_is_the_dense_definition(dtype, tolerance):
    inputs = qkv()
    expected = dense_moments(*inputs)[0]
    got = attend(*(x.to(dtype) for x in inputs))
    assert torch.allclose(got.double(), expected, rtol=tolerance, atol=tolerance)
    for a, b in zip(
        torch.autograd.grad(got.double().square().sum(), inputs),
        torch.autograd.grad(expected.square().sum(), inputs),
        strict=True,
    ):
        assert torch.allclose(a, b, rtol=100 * tolerance, atol=100 * tolerance)


@pytest.mark.parametrize("most", [1, 12, 13])
@torch.inference_mode()
def test_queries_strip_by_strip_find_the_same(monkeypatch, most):
    made, (content, style) = model("adaattn"), images()
    expected = made(content, style)
    monkeypatch.setattr(attention, "QUERIES", most)
    assert len(attention.strips(torch.zeros(1, 1, 5, 6))) == {1: 5, 12: 3, 13: 3}[most]
    assert torch.allclose(made(content, style), expected, rtol=1e-10, atol=1e-10)


def test_attention_that_drops_weights_is_the_dense_definition_when_none_falls():
    q, k, v = (x.detach() for x in qkv())
    expected = (0.3 * q @ k.transpose(1, 2)).softmax(dim=2) @ v
    assert torch.allclose(attend(q, k, v, scale=0.3), expected)
    assert torch.allclose(attend(q, k, v, scale=0.3, dropout=1e-9), expected)
    torch.manual_seed(0)
    assert not torch.allclose(attend(q, k, v, scale=0.3, dropout=0.5), expected)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_moments_are_the_dense_definition(dtype, tolerance):
    inputs = qkv(k=6)
    expected = dense_moments(*inputs)
    got = attend_moments(*(x.to(dtype) for x in inputs))
    for a, b in zip(got, expected, strict=True):
        assert (a.double() - b).norm() / b.norm() < tolerance
    gradients = [torch.autograd.grad(sum(x.double().sum() for x in pair), inputs) for pair in (got, expected)]
    for a, b in zip(*gradients, strict=True):
        assert (a - b).norm() / b.norm() < 100 * tolerance


def test_centring_keeps_the_deviation_accurate():
    """Values far from zero cancel in E[x^2] - E[x]^2; the centred form does not notice the offset."""
    q, k, v = (x.detach() for x in qkv(k=4))
    expected = dense_moments(q, k, v)[1]
    far = [x.float() for x in (q, k, v + 1000)]
    centred = attend_moments(*far)[1]
    mean, square = attend(*far), attend(far[0], far[1], far[2].square())
    naive = (square - mean.square()).relu().sqrt()
    assert (centred - expected).norm() / expected.norm() < 1e-3 < (naive - expected).norm() / expected.norm()


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak memory as Linux reports it")
@pytest.mark.parametrize("name", benchmark.operators())
def test_memory_grows_linearly(name):
    """At 16 channels a dense map would take over ten times what is allowed here.

    An allocator hands memory out in pieces, so the exponent only has to be nearer to linear than to quadratic.
    """
    counts = [4096, 16384]
    line = benchmark.operator_peaks(counts, [name]).loc[name]
    assert line.exponent < 1.5, line
    assert line[counts[1]] < 0.1 * counts[1] ** 2 * 4, line


def test_a_peak_that_was_not_measured_is_blank(monkeypatch):
    monkeypatch.setattr(benchmark, "_apart", lambda function, name, count: None if count == 64 else 1 << 30)
    line = benchmark.operator_peaks([64, 256], ["attention"]).loc["attention"]
    assert line.isna().tolist() == [True, False, True]


def test_rows_of_a_record():
    r = record()
    row = r.row(2, 3)
    assert row.shape == (4, 6) and row.sum().item() == pytest.approx(1)
    expected = (r.queries @ r.keys.T).softmax(dim=1)[2 * 7 + 3]
    assert torch.allclose(row.flatten(), expected)
    for y, x in ((5, 0), (0, 7), (-1, 0)):
        with pytest.raises(UserError, match="outside the content grid of 5x7"):
            r.row(y, x)


def test_dropped_keys_get_nothing():
    subset = torch.tensor([3, 8, 20])
    r = record(subset=subset)
    row = r.row(0, 0).flatten()
    assert row.sum().item() == pytest.approx(1) and set(row.nonzero().flatten().tolist()) == set(subset.tolist())
    assert torch.isinf(r.logits(0, 0)).sum() == 24 - 3


def test_effective_keys_run_from_one_to_all(monkeypatch):
    r = record()
    keys = r.effective_keys()
    assert keys.shape == (5, 7) and (keys >= 1).all() and (keys <= 24).all()
    dense = (r.queries @ r.keys.T).softmax(dim=1)
    assert torch.allclose(keys.flatten(), (-(dense * dense.log()).sum(dim=1)).exp())
    for chunk in (1, 4, 1000):
        monkeypatch.setattr(attention, "CHUNK", chunk)
        assert torch.allclose(torch.cat(list(r.walk())), dense) and torch.allclose(r.effective_keys(), keys)
    uniform = AttentionRecord("x", torch.zeros(2, 3), torch.randn(24, 3), (1, 2), (4, 6))
    assert torch.allclose(uniform.effective_keys(), torch.full((1, 2), 24.0))
    sharp = AttentionRecord("x", 1e3 * torch.eye(3), torch.eye(3), (1, 3), (1, 3))
    assert torch.allclose(sharp.effective_keys(), torch.ones(1, 3))


def dense_map(r: AttentionRecord) -> torch.Tensor:
    """(queries, style positions), by the definition, one number after the other."""
    out = torch.zeros(len(r.queries), r.style[0] * r.style[1], dtype=torch.float64)
    for i, q in enumerate(r.queries):
        seen = [j for j in range(len(r.keys)) if r.query_group is None or r.query_group[i] == r.key_group[j]]
        weights = {j: (q @ r.keys[j]).exp().item() for j in seen}
        total = sum(weights.values())
        for j in seen:
            weight = weights[j] / total if r.matches is None else float(r.matches[i] == j)
            if r.regions is not None:
                out[i, r.regions == j] += weight / (r.regions == j).sum()
            else:
                out[i, j if r.indices is None else r.indices[j]] += weight
    return out


@pytest.mark.parametrize("kind", kinds())
def test_rows_columns_and_statistics_are_those_of_the_dense_map(kind):
    r = kinds()[kind]
    dense = dense_map(r)
    assert torch.allclose(rows([r])[0], dense)
    columns = torch.stack([r.column(y, x).flatten() for y in range(r.style[0]) for x in range(r.style[1])], dim=1)
    assert torch.allclose(columns, dense)
    places = (
        torch.stack(torch.meshgrid((torch.arange(4) + 0.5) / 4, (torch.arange(6) + 0.5) / 6, indexing="ij"), dim=-1)
        .flatten(0, 1)
        .double()
    )
    centre, spread = r.centre_and_spread()
    assert torch.allclose(centre.flatten(0, 1), dense @ places)
    if r.regions is None:  # a region is a point at its centre for the spread and the match
        squares = (dense[:, :, None] * (places - (dense @ places)[:, None]).square()).sum(dim=(1, 2))
        assert torch.allclose(spread.flatten(), squares.sqrt(), atol=1e-6)
        assert kind == "repeated" or torch.allclose(r.matched().flatten(0, 1), places[dense.argmax(dim=1)])
    else:
        assert torch.allclose(r.matched()[0, 0], places[r.regions == r.weights(slice(1)).argmax()].mean(dim=0))
    with pytest.raises(UserError, match="outside the style grid of 4x6"):
        r.column(4, 0)


def test_a_query_without_keys_attends_to_nothing():
    r = replace(record(), query_group=torch.zeros(35, dtype=torch.int64), key_group=torch.ones(24, dtype=torch.int64))
    assert (r.row(0, 0) == 0).all() and (r.column(0, 0) == 0).all() and torch.isinf(r.logits(0, 0)).all()


ATTENTIVE = [
    (name, variant)
    for name, kind in METHODS.items()
    for variant in kind.variants
    if kind.attention is not Method.attention
]


@pytest.mark.parametrize(("name", "variant"), ATTENTIVE)
def test_records_are_distributions_and_change_nothing(name, variant):
    made = model(name, variant)
    content, style = images(content=(64, 48), style=(52, 72))
    c, s = made.encode_content(content), made.encode_style(style)
    before = made.decode(made.transfer(c, s))
    records = made.attention(c, s)
    for r in records:
        row = r.row(r.content[0] - 1, 0)
        assert (
            row.shape == r.style
            and row.sum().item() == pytest.approx(1)
            and r.queries.shape[0] == r.content[0] * r.content[1]
        )
    assert len({(r.layer, r.step, r.head) for r in records}) == len(records)
    assert torch.equal(made.decode(made.transfer(c, s)), before)
    assert bool(records) == (
        getattr(made.variant, "middle", "gdp") == "gdp"
    )  # arms of DAG-Style without GDPAttention have none


def rows(records) -> torch.Tensor:
    """Dense maps of the heads of one attention: (heads, queries, keys)."""
    return torch.stack(
        [
            torch.stack([r.row(y, x).flatten() for y in range(r.content[0]) for x in range(r.content[1])])
            for r in records
        ]
    )


def mixed(records, values: torch.Tensor) -> torch.Tensor:
    """Values (1, keys, channels) mixed by the recorded maps, head by head: (1, queries, channels)."""
    return torch.cat(
        [dense @ part for dense, part in zip(rows(records), values[0].chunk(len(records), dim=1), strict=True)], dim=1
    )[None]


def of(made, images_, layer: str, step: str) -> list[AttentionRecord]:
    codes = made.encode_content(images_[0]), made.encode_style(images_[1])
    return [r for r in made.attention(*codes) if (r.layer, r.step) == (layer, step)]


def test_distributed_attention_is_made_of_its_records():
    made = model("stya2k")
    pair = images()
    c, s = (made.encode_content(image).features["relu4_1"] for image in pair)
    block = made.transform.attn_adain_4_1
    _, values = stya2k.distil_keys(
        stya2k.cut(block.k(normalise(s)), (8, 8)),
        stya2k.cut(block.v(s), (8, 8)),
        8,
        block.sim_alpha[0],
        block.sim_beta[0],
    )
    expected = stya2k.attend_keys(
        block.q(normalise(c)), block.k(normalise(s)), block.v(s), (8, 8), 8, block.sim_alpha[0], block.sim_beta[0]
    )
    assert torch.allclose(mixed(of(made, pair, "relu4_1", "DA"), values), tokens(expected))


def test_regional_keys_are_divided_as_the_variant_says():
    keys, values = torch.randn(1, 3, 16, 8), torch.randn(1, 3, 16, 8)
    for divisor, factor in (("points + 1", 1), ("points", 17 / 16), ("side", 17 / 4)):
        found = stya2k.distil_keys(keys, values, 2, divisor=divisor)
        for x, usual in zip(found, stya2k.distil_keys(keys, values, 2), strict=True):
            assert torch.allclose(x, factor * usual)
    pair, default = images(), model("stya2k")
    other = model("stya2k")
    for block in (other.A2K, other.transform.attn_adain_4_1, other.transform.attn_adain_5_1):
        block.variant = replace(block.variant, divisor="side")
    assert not torch.equal(other(*pair), default(*pair))
    other.variant = replace(other.variant, divisor="side")
    records = [of(made, pair, "relu4_1", "DA")[0].keys for made in (other, default)]
    assert torch.allclose(records[0], records[1] * 65 / 8)


def test_the_blocks_that_match_are_those_of_the_records():
    made = model("stya2k")
    pair = images(content=(80, 64), style=(64, 96))
    c, s = (made.encode_content(image).features["relu3_1"] for image in pair)
    q, k = (
        stya2k.cut(x, (8, 8)).unflatten(3, (8, -1)).movedim(3, 1)
        for x in (made.A2K.q2(normalise(c)), made.A2K.k2(normalise(s)))
    )
    assert torch.equal(rows(of(made, pair, "relu3_1", "PA 1")).argmax(dim=2), stya2k.best_blocks(q, k)[0])


@pytest.mark.parametrize("variant", ["code", "no-da", "no-pa-step-1", "one-head"])
def test_progressive_attention_is_made_of_its_records(variant):
    """At sizes that blocks do not divide, where border blocks repeat positions."""
    made = model("stya2k", variant)
    pair = images(content=(80, 72), style=(72, 104))
    c, s = (made.encode_content(image).features["relu3_1"] for image in pair)
    q, k, v = made.A2K.q2(normalise(c)), made.A2K.k2(normalise(s)), made.A2K.v2(s)
    expected = stya2k.attend_blocks(q, k, v, (8, 8), made.variant.heads, made.variant.coarse)
    assert torch.allclose(mixed(of(made, pair, "relu3_1", "PA 2"), tokens(v)), tokens(expected))


def test_mst_takes_the_clusters_of_its_record():
    made = model("mst")
    c, s = (encode(image) for encode, image in zip((made.encode_content, made.encode_style), images(), strict=True))
    (r,) = made.attention(c, s)
    style = s.features["relu4_1"][0].flatten(1)
    means = torch.stack([style[:, r.regions == j].mean(dim=1) for j in range(len(r.keys))])
    assert torch.equal(made.assign(c.features["relu4_1"][0], means).flatten(), r.matches)
    assert torch.allclose(
        1 - r.scores(), torch.from_numpy(mst.data_cost(c.features["relu4_1"][0].flatten(1).T, means)).to(r.keys)
    )
    assert r.row(0, 0)[r.regions.view(r.style) == r.matches[0]].sum().item() == pytest.approx(1)


def test_the_decoder_of_stytr2_is_made_of_its_records():
    made = model("stytr2")
    pair = images()
    c, s = made.encode_content(pair[0]), made.encode_style(pair[1])
    memory, layer = tokens(s.features["tokens"]), made.transformer.decoder.layers[0]
    query = tokens(c.features["tokens"] + c.features["position"])
    _, _, values = layer.self_attn.project(query, memory, memory)
    got = layer.self_attn.out_proj(mixed(of(made, pair, "decoder 1", "a"), values))
    assert torch.allclose(got, layer.self_attn(query, memory, memory))


def test_gdp_attention_is_made_of_its_records():
    made = model("dagstyle")
    pair = images()
    c, s = made.encode_content(pair[0]).features, made.encode_style(pair[1]).features
    x = made.fusion(torch.cat([c["x3"], adain(c["x3"], s["x3"])], dim=1))
    block = made.middle[0]
    x = x + block.position(x)
    for group, (q, k, v) in enumerate(block.project(x, s["x3"])):
        got = mixed(of(made, pair, "block 1", f"1/{REDUCTIONS[group]}"), tokens(v))
        assert torch.allclose(got, attend(tokens(q), tokens(k), tokens(v), scale=block.scale, heads=2))


def test_avatarnet_takes_the_patches_that_its_record_prefers():
    made = model("avatarnet")
    pair = images()
    c, s = (made.encode_content(image).features["relu4_1"] for image in pair)
    flat = [avatarnet.whiten(x)[0][0].float() for x in (c, s)]
    assert torch.equal(
        rows(of(made, pair, "relu4_1", "match"))[0].argmax(dim=1), avatarnet.match(*flat, 5, "reflect").flatten()
    )


@pytest.mark.parametrize("name", ["sanet", "adaattn", "datnet"])
def test_records_mix_values(name):
    made = model(name)
    content, style = images(content=(48, 40), style=(36, 52))
    c, s = made.encode_content(content), made.encode_style(style)
    for r in made.attention(c, s):
        values = tokens(s.features[r.layer])
        got = grid(attend(r.queries[None], r.keys[None], values), r.content)[0, :, 1, 2]
        assert torch.allclose(got, r.row(1, 2).flatten() @ values[0]), r.layer
        assert r.content == tuple(c.features[r.layer].shape[2:]) and r.style == tuple(s.features[r.layer].shape[2:])


def test_sanet_output_is_made_of_its_records():
    torch.manual_seed(0)
    made = build("sanet", tiny_encoder()).double()
    c, s = made.encode_content(torch.rand(1, 3, 48, 40).double()), made.encode_style(torch.rand(1, 3, 36, 52).double())
    block, r = made.transformer.sanet4_1, made.attention(c, s)[0]
    f, g = c.features["relu4_1"], s.features["relu4_1"]
    rows = torch.stack([r.row(y, x).flatten() for y in range(r.content[0]) for x in range(r.content[1])])
    expected = block.out_conv(grid((rows @ tokens(block.h(g))[0])[None], r.content)) + f
    assert torch.allclose(block(f, g), expected)
