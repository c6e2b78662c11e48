"""The field's metrics with the networks that they are defined by, where those are on this machine.

LPIPS is the package `lpips`, CFSD and the art Inception follow StyleID's and art-fid's scripts
(jiwoogit/StyleID@d541d41:evaluation, matthias-wright/art-fid@09564ac:art_fid), FID's and KID's Inception is that of
torch-fidelity. Each raises UserError with the command that gets its network when that is missing.

Packages of networks are imported where a network is built: torchvision imports torch's compiler, and nothing else here
needs either.
"""

import io
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from ..errors import UserError
from ..nn.encoder import Image
from ..nn.state import read_state
from ..weights.backbones import backbone, find_backbone
from .semantic import SelfSimilarity, structure_distance

# LPIPS's own names of its networks.
LPIPS_NETS = {"alexnet": "alex", "vgg16": "vgg", "squeezenet": "squeeze"}
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
# Layers of torchvision's VGG-19 up to relu3_1.
RELU3_1 = 12


def _fill(module: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Put a file's tensors into a network that needs no others. Raises UserError for a key or shape that differs."""
    own = module.state_dict()
    # Batch norms count their batches; older files do not say how many there were.
    lacking = sorted(key for key in own.keys() - state.keys() if not key.endswith("num_batches_tracked"))
    other = sorted(key for key in own.keys() & state.keys() if own[key].shape != state[key].shape)
    if lacking or other:
        raise UserError(
            f"{path} does not hold the network that its name says: missing {lacking[:3]}, other shapes {other[:3]};"
            " remove it and fetch it again"
        )
    module.load_state_dict({key: state[key] for key in own.keys() & state.keys()}, strict=False)
    module.eval().requires_grad_(False)


def load_lpips(name: str, path: Path) -> nn.Module:
    """LPIPS 0.1 on a backbone from a file of torchvision's: the whole network, or its `features`."""
    import lpips

    model = lpips.LPIPS(net=LPIPS_NETS[name], pnet_rand=True, verbose=False).eval()
    state = {key.removeprefix("features."): value for key, value in read_state(path).items()}
    trunk = {}
    for index in range(1, model.net.N_slices + 1):
        own = getattr(model.net, f"slice{index}").state_dict()
        trunk |= {f"slice{index}.{key}": state[key] for key in own if key in state}
    _fill(model.net, trunk, path)
    return model


@lru_cache
@torch.inference_mode(False)  # it is shared
def _lpips(name: str, path: Path) -> nn.Module:
    return load_lpips(name, path)


def lpips_distance(name: str, result: Image, content: Image) -> Float[Tensor, " batch"]:
    """LPIPS with a backbone, a key of LPIPS_NETS, of images in [0, 1]; at least 0."""
    model = _lpips(name, backbone(name)).to(result.device)
    return model(result * 2 - 1, content * 2 - 1).flatten()


@lru_cache
@torch.inference_mode(False)
def _vgg19(path: Path) -> nn.Module:
    from torchvision import models

    network = models.vgg19(weights=None).features[:RELU3_1]
    _fill(network, {key.removeprefix("features."): value for key, value in read_state(path).items()}, path)
    for layer in network:
        if isinstance(layer, nn.ReLU):
            layer.inplace = False
    return network


def vgg19_features(image: Image) -> dict[str, Float[Tensor, "batch _ _ _"]]:
    """relu3_1 of torchvision's VGG-19, zero padding and ImageNet's mean and deviation."""
    mean, deviation = (image.new_tensor(values).view(1, 3, 1, 1) for values in IMAGENET)
    return {"relu3_1": _vgg19(backbone("vgg19")).to(image.device)((image - mean) / deviation)}


def cfsd(result: Image, content: dict[str, Tensor]) -> float:
    """CFSD of StyleID's script: divergence of self-similarities at relu3_1, summed over positions; 0 for equal images.

    content  `vgg19_features` of the photograph
    """
    return structure_distance(vgg19_features(result), SelfSimilarity(content))["cfsd_sum"]


@lru_cache
@torch.inference_mode(False)
def _inception(path: Path) -> nn.Module:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    # Read here without pickle's code, and handed over in memory: the package would read the file with it.
    memory = io.BytesIO()
    torch.save(read_state(path), memory)
    memory.seek(0)
    return FeatureExtractorInceptionV3("inception", ["2048"], feature_extractor_weights_path=memory)


def inception(image: UInt8[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 2048"]:
    """Pooled features of FID's own Inception, of bytes; images are resized as in its TensorFlow graph."""
    (features,) = _inception(backbone("inception")).to(image.device)(image)
    return features


@lru_cache
@torch.inference_mode(False)
def _art_inception(path: Path) -> nn.Module:
    from torchvision import models

    network = models.Inception3(aux_logits=False, transform_input=False, init_weights=False)
    network.fc = nn.Identity()
    _fill(network, read_state(path), path)
    return network


def art_inception(image: Image) -> Float[Tensor, "batch 2048"]:
    """Pooled features of art-fid's Inception, trained on paintings, of images in [0, 1] at their own size."""
    return _art_inception(backbone("art-inception")).to(image.device)(image)


# One vector per image for distances between sets, by the backbone that gives it.
VECTORS: dict[str, Callable[[Image], Tensor]] = {
    "inception": lambda image: inception((image * 255).round().to(torch.uint8)),
    "art-inception": art_inception,
}


def set_vectors(image: Image) -> dict[str, list[float]]:
    """The vectors of one image (1, 3, h, w) by every backbone of VECTORS that is on this machine, to 7 digits."""
    found = {name: vector(image)[0].tolist() for name, vector in VECTORS.items() if find_backbone(name)}
    return {name: [float(f"{value:.7g}") for value in vector] for name, vector in found.items()}
