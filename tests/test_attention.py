"""Exact attention: against the dense definition, in linear memory, with records that tell the same."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import tiny_encoder

from replication import METHODS, build
from replication.attention import AttentionRecord, attend, attend_moments, grid, tokens
from replication.errors import UserError


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
    for a, b in zip(torch.autograd.grad(got.double().square().sum(), inputs), torch.autograd.grad(expected.square().sum(), inputs), strict=True):
        assert torch.allclose(a, b, rtol=100 * tolerance, atol=100 * tolerance)


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


MEMORY = """
import resource, sys, torch
from replication.attention import attend_moments
torch.set_num_threads(1)
n = int(sys.argv[1])
q, k, v = (torch.randn(1, n, 16) for _ in range(3))
attend_moments(q[:, :64], k[:, :64], v[:, :64])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
attend_moments(q, k, v)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak memory as Linux reports it, in KiB")
def test_memory_grows_linearly():
    counts = [4096, 8192, 16384]
    peaks = [int(subprocess.run([sys.executable, "-c", MEMORY, str(n)], capture_output=True, text=True, check=True).stdout) for n in counts]
    # The smallest size disappears in the allocator's granularity: bound it from below by its own inputs and outputs.
    floor = [n * 16 * 4 * 8 / 1024 for n in counts]
    exponent = np.polyfit(np.log(counts), np.log(np.maximum(peaks, floor)), 1)[0]
    assert exponent < 1.3, (peaks, exponent)
    assert peaks[-1] < 0.1 * counts[-1] ** 2 * 4 / 1024, peaks  # a dense map would be ten times larger


def record(n=(5, 7), m=(4, 6), subset=None):
    generator = torch.Generator().manual_seed(1)
    keys = torch.randn(m[0] * m[1], 3, generator=generator, dtype=torch.float64)
    queries = torch.randn(n[0] * n[1], 3, generator=generator, dtype=torch.float64)
    return AttentionRecord("relu4_1", queries, keys if subset is None else keys[subset], n, m, indices=subset)


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


def test_effective_keys_run_from_one_to_all():
    r = record()
    keys = r.effective_keys(chunk=4)
    assert keys.shape == (5, 7) and (keys >= 1).all() and (keys <= 24).all()
    assert torch.allclose(keys, r.effective_keys(chunk=1000))
    uniform = AttentionRecord("x", torch.zeros(2, 3), torch.randn(24, 3), (1, 2), (4, 6))
    assert torch.allclose(uniform.effective_keys(), torch.full((1, 2), 24.0))
    sharp = AttentionRecord("x", 1e3 * torch.eye(3), torch.eye(3), (1, 3), (1, 3))
    assert torch.allclose(sharp.effective_keys(), torch.ones(1, 3))


@pytest.mark.parametrize("name", [name for name, kind in METHODS.items() if "attention" in vars(kind)])
def test_records_are_what_the_method_did(name):
    torch.manual_seed(0)
    made = build(name, tiny_encoder()).double()
    content, style = torch.rand(1, 3, 48, 40).double(), torch.rand(1, 3, 36, 52).double()
    c, s = made.encode_content(content), made.encode_style(style)
    before = made.transfer(c, s).features["relu4_1"]
    for r in made.attention(c, s):
        values = tokens(s.features[r.layer])
        got = grid(attend(r.queries[None], r.keys[None], values), r.content)[0, :, 1, 2]
        assert torch.allclose(got, r.row(1, 2).flatten() @ values[0]), r.layer
        assert r.content == tuple(c.features[r.layer].shape[2:]) and r.style == tuple(s.features[r.layer].shape[2:])
    assert torch.equal(made.transfer(c, s).features["relu4_1"], before)  # looking changes nothing


def test_sanet_output_is_made_of_its_records():
    torch.manual_seed(0)
    made = build("sanet", tiny_encoder()).double()
    c, s = made.encode_content(torch.rand(1, 3, 48, 40).double()), made.encode_style(torch.rand(1, 3, 36, 52).double())
    block, r = made.transformer.sanet4_1, made.attention(c, s)[0]
    f, g = c.features["relu4_1"], s.features["relu4_1"]
    rows = torch.stack([r.row(y, x).flatten() for y in range(r.content[0]) for x in range(r.content[1])])
    expected = block.out_conv(grid((rows @ tokens(block.h(g))[0])[None], r.content)) + f
    assert torch.allclose(block(f, g), expected)
