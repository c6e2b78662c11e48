"""The field's metrics, with backbones of random weights in files of the published names: against the packages that
define them, and against slow formulas of their own.
"""

import lpips as lpips_package
import numpy as np
import pytest
import torch
import torch_fidelity.metric_fid
import torch_fidelity.metric_kid
from scipy.linalg import sqrtm
from torchvision import models

from replication.data.images import contents, styles
from replication.errors import UserError
from replication.evaluation import sets
from replication.metrics import backbones
from replication.metrics.backbones import art_inception, cfsd, inception, load_lpips, lpips_distance, vgg19_features
from replication.metrics.colour import colour_histogram, colour_loss
from replication.metrics.image import Target, measure_image, metrics_version, perceptual_column
from replication.metrics.semantic import inception_distance, kernel_distance
from replication.weights.backbones import BACKBONES, find_backbone

# torchvision warns that weights are random, which is meant.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def pair():
    return contents(1)[0].tensor(96)[None], styles(2)[1].tensor(96)[None]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of official weights without any, and an empty cache of torchvision's."""
    monkeypatch.setenv("REPLICATION_OFFICIAL", str(tmp_path / "official"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    (tmp_path / "official" / "deep").mkdir(parents=True)
    return tmp_path


def keep(folder, name: str, network: torch.nn.Module, cached: bool = False):
    """Save a network under a backbone's name."""
    place = folder / "hub" / "checkpoints" if cached else folder / "official" / "deep"
    place.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), place / BACKBONES[name])
    return place / BACKBONES[name]


def slow_alexnet_lpips(network: torch.nn.Module, a: torch.Tensor, b: torch.Tensor) -> float:
    """LPIPS 0.1 by its formula: unit features after every ReLU, weighted squares, mean over space, sum over layers."""
    weights = torch.load(f"{lpips_package.__path__[0]}/weights/v0.1/alex.pth", map_location="cpu", weights_only=True)
    shift = torch.tensor([-0.030, -0.088, -0.188]).view(3, 1, 1)
    scale = torch.tensor([0.458, 0.448, 0.450]).view(3, 1, 1)
    x, y, layer, total = (2 * a - 1 - shift) / scale, (2 * b - 1 - shift) / scale, 0, 0.0
    for module in network.features[:12]:
        x, y = (module(each).clone() for each in (x, y))
        if isinstance(module, torch.nn.ReLU):
            u, v = (each / each.square().sum(dim=1, keepdim=True).sqrt().clamp(min=1e-10) for each in (x, y))
            total += ((u - v).square() * weights[f"lin{layer}.model.1.weight"]).sum(dim=1).mean().item()
            layer += 1
    return total


def test_lpips_is_the_papers_formula_and_fills_its_column(folder, pair):
    content, style = pair
    assert perceptual_column() == "lpips_vgg_substitute" and "lpips_vgg" not in metrics_version()
    before = metrics_version()
    torch.manual_seed(0)
    network = models.alexnet(weights=None).eval()
    keep(folder, "alexnet", network, cached=True)
    backbones_found_anew()
    with torch.inference_mode():
        expected = slow_alexnet_lpips(network, style, content)
    assert lpips_distance("alexnet", style, content).item() == pytest.approx(expected, abs=1e-4)
    assert perceptual_column() == "lpips" and metrics_version() != before
    found = measure_image(style, Target(content), Target(style))
    assert found["lpips"].item() == pytest.approx(expected, abs=1e-4) and "lpips_vgg_substitute" not in found


def backbones_found_anew() -> None:
    """As in a new process: what a backbone's place holds is asked once."""
    from replication.weights.backbones import _find

    _find.cache_clear()


@pytest.fixture(autouse=True)
def anew():
    backbones_found_anew()
    yield
    backbones_found_anew()


@pytest.mark.parametrize(
    ("name", "build", "net"),
    [("squeezenet", models.squeezenet1_1, "squeeze"), ("vgg16", models.vgg16, "vgg")],
)
def test_lpips_agrees_with_the_package(name, build, net, folder, pair):
    """The trunk is read from a file of torchvision's, or of its `features`; the package gets it layer by layer."""
    torch.manual_seed(1)
    network = build(weights=None).eval()
    path = keep(folder, name, network)
    package = lpips_package.LPIPS(net=net, pnet_rand=True, verbose=False).eval()
    inside = [(slice_, key) for slice_ in package.net.children() for key, _ in slice_.named_children()]
    for slice_, key in inside:
        slice_.get_submodule(key).load_state_dict(network.features.get_submodule(key).state_dict())
    with torch.inference_mode():
        expected = package(*(2 * image - 1 for image in pair)).flatten()
    assert expected.item() > 0.01
    assert lpips_distance(name, *pair).item() == pytest.approx(expected.item(), abs=1e-4)
    torch.save(network.features.state_dict(), path)
    with torch.inference_mode():
        again = load_lpips(name, path)(*(2 * image - 1 for image in pair)).flatten()
    assert again.item() == pytest.approx(expected.item(), abs=1e-4)
    if name == "vgg16":
        found = measure_image(pair[0], Target(pair[1]), Target(pair[1]))
        assert found["lpips_vgg"].item() == pytest.approx(expected.item(), abs=1e-4)


def test_lpips_with_the_published_squeezenet(shared, pair):
    """The real backbone: torchvision's own network filled by hand, the package's weights."""
    path = shared / "weights/lpips_squeezenet1_1_features.pth"
    network = models.squeezenet1_1(weights=None).features.eval()
    package = lpips_package.LPIPS(net="squeeze", pnet_rand=True, verbose=False).eval()
    state = torch.load(path, weights_only=True)
    network.load_state_dict(state)
    for slice_ in package.net.children():
        for key, _ in slice_.named_children():
            slice_.get_submodule(key).load_state_dict(network.get_submodule(key).state_dict())
    with torch.inference_mode():
        expected, found = (
            model(*(2 * x - 1 for x in pair)).item() for model in (package, load_lpips("squeezenet", path))
        )
    assert found == pytest.approx(expected, abs=1e-4) and found > 0.1


def test_frechet_distance_is_fids():
    """On stand-in features: scipy's matrix root, and torch-fidelity's, whose Inception would give the features."""
    rng = np.random.default_rng(0)
    results = rng.standard_normal((40, 12)) @ rng.standard_normal((12, 12))
    paintings = rng.standard_normal((30, 12)) + 0.3
    (m1, s1), (m2, s2) = ((x.mean(axis=0), np.cov(x, rowvar=False)) for x in (results, paintings))
    expected = (m1 - m2) @ (m1 - m2) + np.trace(s1 + s2 - 2 * sqrtm(s1 @ s2).real)
    assert inception_distance(results, paintings) == pytest.approx(expected, rel=1e-6)
    package = torch_fidelity.metric_fid.fid_statistics_to_metric(
        *(torch_fidelity.metric_fid.fid_features_to_statistics(torch.from_numpy(x)) for x in (results, paintings)),
        verbose=False,
    )
    assert inception_distance(results, paintings) == pytest.approx(*package.values(), rel=1e-6)
    assert inception_distance(results, results) == pytest.approx(0, abs=1e-6)
    few = inception_distance(results[:5], paintings[:6])  # fewer images than dimensions
    (m1, s1), (m2, s2) = ((x.mean(axis=0), np.cov(x, rowvar=False)) for x in (results[:5], paintings[:6]))
    roots = np.sqrt(np.linalg.eigvals(s1 @ s2).astype(complex)).real.sum()
    assert few == pytest.approx((m1 - m2) @ (m1 - m2) + np.trace(s1 + s2) - 2 * roots, rel=1e-6)


def test_kernel_distance_is_kids():
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((20, 16)), rng.standard_normal((20, 16)) + 0.5
    expected = torch_fidelity.metric_kid.kid_features_to_metric(
        torch.from_numpy(a), torch.from_numpy(b), kid_subsets=1, kid_subset_size=20, verbose=False
    )["kernel_inception_distance_mean"]
    assert kernel_distance(a, b) == pytest.approx(expected, rel=1e-6)


def test_cfsd_is_the_scripts(folder, pair):
    """KL divergence of softmaxed self-similarities at relu3_1 of torchvision's VGG-19, position by position."""
    content, style = (image[:, :, :32, :40] for image in pair)
    torch.manual_seed(2)
    network = models.vgg19(weights=None).features[:12].eval()
    whole = models.vgg19(weights=None)
    whole.features[:12].load_state_dict(network.state_dict())
    keep(folder, "vgg19", whole)
    mean, deviation = (torch.tensor(x).view(1, 3, 1, 1) for x in backbones.IMAGENET)
    with torch.inference_mode():
        a, b = (network((x - mean) / deviation)[0].flatten(1).T.double().numpy() / 256 for x in (content, style))
    total = 0.0
    for i in range(len(a)):
        p, q = (np.exp(x[i] @ x.T - (x[i] @ x.T).max()) for x in (a, b))
        p, q = p / p.sum(), q / q.sum()
        total += (p * np.log(p / q)).sum()
    assert cfsd(style, vgg19_features(content)) == pytest.approx(total, rel=1e-4)
    assert cfsd(content, vgg19_features(content)) == pytest.approx(0, abs=1e-9)


def slow_histogram(image: np.ndarray) -> np.ndarray:
    """(3, h, w) to (3, 64, 64), pixel by pixel."""
    found, places = np.zeros((3, 64, 64)), np.linspace(-3, 3, 64)
    for pixel in image.reshape(3, -1).T:
        length, logs = np.sqrt((pixel**2).sum() + 1e-6), np.log(pixel + 1e-6)
        for c, (a, b) in enumerate(((1, 2), (0, 2), (0, 1))):
            u, v = (1 / (1 + ((logs[c] - logs[other] - places) / 0.02) ** 2) for other in (a, b))
            found[c] += length * np.outer(u, v)
    return found / (found.sum() + 1e-6)


def test_colour_loss_is_histogans():
    rng = torch.Generator().manual_seed(3)
    a, b = (torch.rand(1, 3, 9, 7, generator=rng) for _ in range(2))
    h, g = (slow_histogram(x[0].double().numpy()) for x in (a, b))
    assert np.allclose(colour_histogram(a)[0].numpy(), h, rtol=1e-3, atol=1e-7)
    expected = np.sqrt(((np.sqrt(h) - np.sqrt(g)) ** 2).sum()) / np.sqrt(2)
    assert colour_loss(colour_histogram(a), colour_histogram(b)).item() == pytest.approx(expected, rel=1e-3)
    assert colour_loss(colour_histogram(a), colour_histogram(a)).item() == 0
    assert torch.allclose(colour_histogram(a), colour_histogram(a.flip(3)), atol=1e-7)
    assert colour_histogram(torch.rand(1, 3, 20, 300)).shape == (1, 3, 64, 64)


def test_inceptions_give_sets_their_distances(folder):
    """FID, KID and ArtFID appear with their networks; without them the substitutes stand alone."""
    import pandas as pd
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    assert set(sets.set_metrics(pd.DataFrame({"pooled": []}))) == {
        "frechet_substitute",
        "frechet_spread",
        "kernel_distance",
    }
    torch.manual_seed(4)
    art = models.Inception3(aux_logits=True, init_weights=False)
    art.fc1, art.fc2 = torch.nn.Linear(2048, 5), torch.nn.Linear(2048, 5)  # the two heads of art-fid's
    keep(folder, "art-inception", art)
    image = contents(1)[0].tensor(96)[None]
    with torch.inference_mode():
        art.fc, found = torch.nn.Identity(), art_inception(image)
        assert torch.allclose(found, art.eval()(image), atol=1e-5) and found.shape == (1, 2048)
    empty = FeatureExtractorInceptionV3.__new__(FeatureExtractorInceptionV3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        patch.setattr(torch, "load", lambda *_, **__: {})
        empty.__init__("inception", ["2048"], feature_extractor_weights_path="none")
    keep(folder, "inception", empty)
    pixels = (image * 255).round().to(torch.uint8)
    with torch.inference_mode():
        assert torch.allclose(inception(pixels), empty(pixels)[0], atol=1e-5)
    vectors = sets.vectors(image, {f"relu{n}_1": torch.rand(1, 4, 2, 2) for n in range(1, 6)})
    assert {name: len(vector) for name, vector in vectors.items() if name != "pooled"} == {
        "inception": 2048,
        "art-inception": 2048,
    }
    rng = np.random.default_rng(5)
    lines = [
        sets.pair_vectors(*({name: rng.random(6).tolist() for name in vectors} for _ in range(2))) | {"lpips": 0.5}
        for _ in range(6)
    ]
    cells = pd.DataFrame(lines)
    assert set(sets.set_metrics(cells)) == set(sets.SETS) and set(sets.vector_columns(cells)) == {*cells} - {"lpips"}
    assert sets.set_distance(cells, "art_fid") == pytest.approx(1.5 * (1 + sets.set_distance(cells, "fid")))
    assert sets.set_distance(cells, "fid") != sets.set_distance(cells, "fid_imagenet")


def test_a_missing_or_wrong_backbone_is_told(folder, pair):
    for name, use in (
        ("alexnet", lambda: lpips_distance("alexnet", *pair)),
        ("vgg19", lambda: vgg19_features(pair[0])),
    ):
        assert find_backbone(name) is None
        with pytest.raises(UserError, match=f"fetch {name}"):
            use()
    keep(folder, "vgg19", models.alexnet(weights=None))
    backbones_found_anew()
    with pytest.raises(UserError, match="does not hold the network"):
        vgg19_features(pair[0])
