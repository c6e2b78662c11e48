"""SCSA: its parts against loops, its identities, and every host."""

import pytest
import torch
from helpers.maps import PALETTE, stripes
from helpers.networks import tiny_encoder

from replication.data.images import write_image
from replication.data.maps import SemanticMap, find_palette, read_folder_of_maps, read_maps
from replication.errors import UserError
from replication.methods import METHODS, scsa
from replication.methods.base import Transferred
from replication.methods.scsa import SCSA, Regions, Settings, continuous, s_adain, sparse
from replication.nn.attention import attend, grid, tokens
from replication.nn.layers import mean_std

HOSTS = ("sanet", "stytr2", "adaattn", "stya2k")


def host(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    kind = METHODS[name]
    return kind(tiny_encoder(), kind.variants[next(iter(kind.variants))]).eval().requires_grad_(False)


@pytest.fixture(params=HOSTS)
def any_host(request):
    return host(request.param)


def pair(size: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return tuple(torch.rand(1, 3, size, size, generator=generator) for _ in range(2))


MAPS = stripes(64, True), stripes(64, False)


def reference_s_adain(content, style, a, b):
    """By loops over classes and channels, in float64."""
    out = content.double().clone()
    for label in range(int(max(a.max(), b.max())) + 1):
        mine, theirs = a == label, b == label
        if mine.sum() == 0 or theirs.sum() < 2:
            continue
        for channel in range(content.shape[1]):
            x, y = content[0, channel][mine].double(), style[0, channel][theirs].double()
            spread = [((z - z.mean()).square().sum() / len(z) + 1e-5).sqrt() for z in (x, y)]
            out[0, channel][mine] = (x - x.mean()) / spread[0] * spread[1] + y.mean()
    return out


def test_s_adain_is_the_loop_and_gives_every_class_the_styles_statistics():
    content, style = torch.randn(1, 5, 9, 12), 2 + 3 * torch.randn(1, 5, 12, 9)
    a, b = (m.labels(size) for m, size in zip(MAPS, ((9, 12), (12, 9)), strict=True))
    found = s_adain(content, style, a, b)
    assert torch.allclose(found.double(), reference_s_adain(content, style, a, b), atol=1e-5)
    for label in range(3):
        x, y = found[0][:, a == label], style[0][:, b == label]
        assert torch.allclose(x.mean(1), y.mean(1), atol=1e-3) and torch.allclose(
            x.std(1, correction=0), y.std(1, correction=0), atol=1e-3
        )


def test_s_adain_of_one_class_is_adain():
    content, style = torch.randn(1, 5, 20, 20), 2 + 3 * torch.randn(1, 5, 20, 20)
    one = torch.zeros(20, 20, dtype=torch.long)
    (mean, std), (to_mean, to_std) = mean_std(content, correction=0), mean_std(style, correction=0)
    assert torch.allclose(s_adain(content, style, one, one), (content - mean) / std * to_std + to_mean, atol=1e-5)


def test_a_class_that_the_style_lacks_keeps_its_features_and_gives_no_nan():
    content, style = torch.randn(1, 4, 6, 6), torch.randn(1, 4, 6, 6)
    a, b = stripes(64, True).labels((6, 6)), stripes(64, False, 2).labels((6, 6))
    found = s_adain(content, style, a, b)
    assert torch.equal(found[0][:, a == 2], content[0][:, a == 2]) and torch.isfinite(found).all()
    regions = Regions(a, b)
    assert regions.unmatched == (a == 2).sum()
    q, k, v = (tokens(torch.randn(1, 4, 6, 6)) for _ in range(3))
    everywhere = attend(q, k, v)
    assert torch.allclose(
        continuous(q, k, v, regions)[:, (a == 2).flatten()], everywhere[:, (a == 2).flatten()], atol=1e-6
    )


def dense(q, k, v, a, b, keep=None, heads=1, scale=1.0):
    """Attention with a mask and, for SSA, all but the best keys masked, in float64."""
    parts = []
    for part in zip(*(x.double().unflatten(2, (heads, -1)).unbind(2) for x in (q, k, v)), strict=True):
        scores = scale * part[0] @ part[1].transpose(1, 2)
        scores = scores.masked_fill(a.flatten()[:, None] != b.flatten(), -torch.inf)
        if keep is not None:
            least = scores.topk(keep, dim=2).values[..., -1:]
            scores = scores.masked_fill(scores < least, -torch.inf)
        parts.append(scores.softmax(dim=2) @ part[2])
    return torch.cat(parts, dim=2)


@pytest.mark.parametrize("heads", [1, 2])
def test_both_attentions_are_the_masked_dense_ones(heads, monkeypatch):
    a, b = stripes(64, True).labels((6, 7)), stripes(64, False).labels((8, 5))
    q, k, v = (torch.randn(1, n, 8) for n in (42, 40, 40))
    regions = Regions(a, b)
    assert torch.allclose(
        continuous(q, k, v, regions, 0.7, heads).double(), dense(q, k, v, a, b, None, heads, 0.7), atol=1e-5
    )
    monkeypatch.setattr(scsa, "CHUNK", 4)
    for keep in (1, 3):
        assert torch.allclose(
            sparse(q, k, v, regions, keep, 0.7, heads).double(), dense(q, k, v, a, b, keep, heads, 0.7), atol=1e-5
        ), keep
    assert torch.allclose(
        sparse(q, k, v, regions, None, 0.7, heads), continuous(q, k, v, regions, 0.7, heads), atol=1e-6
    )


def test_sparse_attention_places_only_vectors_of_the_class_and_the_first_of_equals():
    a, b = stripes(64, True).labels((6, 6)), stripes(64, False).labels((6, 6))
    q, k, v = (torch.randn(1, 36, 4) for _ in range(3))
    found = sparse(q, k, v, Regions(a, b), 1)[0]
    match = (found[:, None] == v[0]).all(dim=2)
    assert match.any(dim=1).all() and torch.equal(b.flatten()[match.int().argmax(dim=1)], a.flatten())
    equal = sparse(q, torch.zeros_like(k), v, Regions(a, b), 1)[0]
    assert all(torch.equal(equal[i], v[0][(b.flatten() == a.flatten()[i]).nonzero()[0, 0]]) for i in range(36))


def test_without_mask_all_is_one_class_and_the_plain_attention():
    q, k, v = (torch.randn(1, 36, 4) for _ in range(3))
    a, b = stripes(64, True).labels((6, 6)), stripes(64, False).labels((6, 6))
    regions = Regions(a, b, masked=False)
    assert len(regions.groups) == 1 and torch.allclose(continuous(q, k, v, regions), attend(q, k, v), atol=1e-6)


def test_shuffled_style_positions_change_nothing():
    a, b = stripes(64, True).labels((6, 6)), stripes(64, False).labels((6, 6))
    q, k, v = (torch.randn(1, 36, 4) for _ in range(3))
    order = torch.randperm(36)
    for function in (continuous, lambda *x: sparse(*x, 1)):
        before = function(q, k, v, Regions(a, b))
        after = function(q, k[:, order], v[:, order], Regions(a, b.flatten()[order].view(6, 6)))
        assert torch.allclose(before, after, atol=1e-6)


def test_every_host_paints_and_obeys_its_settings(any_host):
    content, style = pair()
    model = SCSA(any_host)
    result = model(content, style, MAPS)
    assert result.shape == content.shape and torch.isfinite(result).all()
    published = model.settings
    for change in (
        {"sca": 0.0},
        {"ssa": 0.0},
        {"adain": "nowhere"},
        {"adain": "queries"},
        {"masked": False},
        {"keys": 4},
        {"keys": None},
    ):
        settings = Settings(**{**vars(published), **change})
        other = SCSA(any_host, settings)(content, style, MAPS)
        assert torch.isfinite(other).all() and not torch.equal(other, result), change
    assert torch.equal(model(content, style, MAPS), result)


@pytest.mark.parametrize("name", ["sanet", "adaattn"])
def test_with_the_images_for_maps_sca_is_the_hosts_attention(name):
    """One class and no S-AdaIN. Not so in StyTr2, whose later layers ask with the running state."""
    content, style = pair()
    maps = tuple(SemanticMap(x[0], PALETTE[:1]) for x in (content, style))
    found = SCSA(host(name), Settings(1.0, 0.0, adain="nowhere"))(content, style, maps)
    assert torch.allclose(found, host(name)(content, style), atol=1e-4)


@pytest.mark.parametrize("name", ["sanet", "stytr2", "adaattn"])
def test_without_mask_and_with_all_keys_ssa_is_the_hosts_attention(name):
    content, style = pair()
    found = SCSA(host(name), Settings(0.0, 1.0, adain="nowhere", masked=False, keys=None))(content, style, MAPS)
    assert torch.allclose(found, host(name)(content, style), atol=1e-4)


@pytest.mark.parametrize(
    ("name", "weights"), [("sanet", (0.7, 0.3, 1.0)), ("stytr2", (1.2, 0.5, 0.7)), ("adaattn", (0.7, 0.3, 1.0))]
)
def test_the_weights_of_both_attentions_are_the_published_ones(name, weights):
    settings = SCSA(host(name)).settings
    assert (settings.sca, settings.ssa, settings.blend) == weights


def test_without_attention_sanet_decodes_the_modulated_content():
    model, (content, style) = host("sanet"), pair()
    features = {}
    for tap in ("relu4_1", "relu5_1"):
        c, s = (model.encode_content(x).features[tap] for x in (content, style))
        features[tap] = s_adain(c, s, *(m.labels(tuple(x.shape[2:])) for m, x in zip(MAPS, (c, s), strict=True)))
    expected = model.decode(
        Transferred({"relu4_1": model.transformer.merge(features["relu4_1"], features["relu5_1"])}, (64, 64))
    )
    assert torch.allclose(SCSA(model, Settings(0.0, 0.0))(content, style, MAPS), expected, atol=1e-5)


def test_a_flat_map_gives_one_mixture_a_region():
    """SCA's queries of one region are alike but for the borders, so its output hardly varies inside it."""
    model, (content, style) = host("sanet"), pair(128)
    block, maps = model.transformer.sanet4_1, (stripes(128, True), stripes(128, False))
    c, s, cm, sm = (
        model.encode_content(x).features["relu4_1"] for x in (content, style, *(m.picture((128, 128)) for m in maps))
    )
    (q1, k1, _), (q2, k2, v) = block.project(cm, sm), block.project(c, s)
    regions, labels = Regions(*(m.labels((16, 16)) for m in maps)), maps[0].labels((16, 16))
    spread = [
        grid(continuous(q, k, v, regions), (16, 16))[0][:, labels == 1].std(dim=1).mean()
        for q, k in ((q1, k1), (q2, k2))
    ]
    assert spread[0] < 0.5 * spread[1]


def test_labels_are_the_nearest_colour_and_bilinear_mixes():
    image = torch.cat([PALETTE[0].view(3, 1, 1).expand(3, 6, 3), PALETTE[1].view(3, 1, 1).expand(3, 6, 3)], dim=2)
    assert SemanticMap(image, PALETTE, "nearest").labels((2, 2)).tolist() == [[0, 1], [0, 1]]
    between = torch.stack([PALETTE[0], PALETTE[1], (PALETTE[0] + PALETTE[1]) / 2 + torch.tensor([0.0, 0.0, 0.1])])
    assert SemanticMap(image, between, "bilinear").labels((6, 3)).tolist() == [[0, 2, 1]] * 6
    assert SemanticMap(image, between, "nearest").labels((6, 3)).tolist()[0] in ([0, 0, 1], [0, 1, 1])


def test_palettes_are_frequent_colours_and_photographs_have_none(tmp_path):
    image = stripes(60, True).image.clone()
    image[:, 0, 0] = torch.tensor([1.0, 1.0, 1.0])
    image[:, :3] += 0.02
    palette = find_palette([image])
    assert palette.shape == (3, 3) and torch.cdist(palette, PALETTE).min(dim=1).values.max() < 0.05
    with pytest.raises(UserError, match="flat colours"):
        find_palette([torch.rand(3, 64, 64)])


def test_the_published_layout_is_read_and_a_missing_file_named(tmp_path):
    for end in (".jpg", "_paint.jpg", "_sem.png", "_paint_sem.png"):
        write_image(tmp_path / "7" / f"7{end}", stripes(40, True).image if "sem" in end else torch.rand(3, 40, 40))
    (found,) = read_folder_of_maps(tmp_path)
    maps = read_maps(found.content_map, found.style_map)
    assert torch.equal(*(m.labels((5, 5)) for m in maps)) and found.reversed().content == found.style
    (tmp_path / "7" / "7_sem.png").unlink()
    with pytest.raises(UserError, match="7_sem.png is missing"):
        read_folder_of_maps(tmp_path)
    with pytest.raises(UserError, match="holds no pairs"):
        read_folder_of_maps(tmp_path / "7")


def test_mistakes_are_named():
    model, (content, style) = host("sanet"), pair()
    with pytest.raises(UserError, match="works inside"):
        SCSA(host("adain"))
    with pytest.raises(UserError, match="one pair"):
        SCSA(model)(content.expand(2, -1, -1, -1), style, MAPS)
    with pytest.raises(UserError, match="one palette"):
        SCSA(model)(content, style, (MAPS[0], SemanticMap(MAPS[1].image, PALETTE[:2])))
    with pytest.raises(UserError, match="unknown resize"):
        SemanticMap(MAPS[0].image, PALETTE, "cubic")
    with pytest.raises(UserError, match="everywhere"):
        Settings(1.0, 1.0, adain="sometimes")
    with pytest.raises(UserError, match="at least one"):
        Settings(1.0, 1.0, keys=0)
