"""Attention records of every kind, with random queries and keys."""

from dataclasses import replace

import torch

from replication.nn.attention import AttentionRecord


def record(n=(5, 7), m=(4, 6), subset=None):
    generator = torch.Generator().manual_seed(1)
    keys = torch.randn(m[0] * m[1], 3, generator=generator, dtype=torch.float64)
    queries = torch.randn(n[0] * n[1], 3, generator=generator, dtype=torch.float64)
    return AttentionRecord("relu4_1", queries, keys if subset is None else keys[subset], n, m, indices=subset)


def kinds() -> dict[str, AttentionRecord]:
    """A record of every kind: all keys, some keys, positions with several keys, groups, a single match, regions."""
    generator, plain = torch.Generator().manual_seed(2), record()
    groups = [torch.randint(0, 3, (n,), generator=generator) for n in (35, 24)]
    clusters = torch.randint(0, 4, (24,), generator=generator)
    return {
        "plain": plain,
        "some": record(subset=torch.tensor([3, 8, 20])),
        "repeated": record(subset=torch.tensor([3, 8, 8, 20, 3])),
        "groups": replace(plain, query_group=groups[0], key_group=groups[1]),
        "match": replace(plain, matches=torch.randint(0, 24, (35,), generator=generator)),
        "regions": replace(
            plain, keys=plain.keys[:4], regions=clusters, matches=torch.randint(0, 4, (35,), generator=generator)
        ),
        "soft regions": replace(plain, keys=plain.keys[:4], regions=clusters),
    }
