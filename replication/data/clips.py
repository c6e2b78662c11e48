"""Clips, and the flow between their frames. How much a stylised clip flickers is measured in `metrics.flicker`.

Frames are stylised independently, as StyA2K's Table 3 does. A clip has the flow of its INPUT frames: exact for clips
made from a still picture, DIS optical flow (Kroeger et al., ECCV 2016, as OpenCV has it) for filmed ones, or RAFT (Teed
and Deng, ECCV 2020) where REPLICATION_RAFT names the weights of its small network.
"""

import os
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from .. import files
from ..errors import UserError
from ..profiles import Profile
from ..provenance import provenance
from . import assets
from .images import Picture, grey, to_uint8
from .video_files import frames_of, write_clip

Frames = Float[Tensor, "time 3 height width"]
# Motions of synthetic clips.
KINDS = ("pan", "zoom", "rotation", "brightness", "noise")


@dataclass(frozen=True)
class Clip:
    """Frames and what is known of their motion.

    flow     the point at (x, y) of frame t + 1 was at (x + u, y + v) of frame t, in pixels: (time - 1, 2, h, w)
    visible  whether it was inside the picture and not hidden: (time - 1, h, w)
    """

    name: str
    frames: Frames
    flow: Float[Tensor, "steps 2 height width"]
    visible: Bool[Tensor, "steps height width"]


def _pixels(height: int, width: int) -> Float[Tensor, "2 height width"]:
    """x and y of every pixel."""
    y, x = torch.meshgrid(
        torch.arange(height, dtype=torch.float64), torch.arange(width, dtype=torch.float64), indexing="ij"
    )
    return torch.stack([x, y])


def sample_bilinear(
    image: Float[Tensor, "channels _ _"], places: Float[Tensor, "2 height width"], mode: str = "bilinear"
) -> Float[Tensor, "channels height width"]:
    """The image at places (x, y) in pixels; beyond the border, its border."""
    scale = torch.tensor([image.shape[2] - 1, image.shape[1] - 1], dtype=places.dtype).view(2, 1, 1)
    where = (2 * places / scale - 1).movedim(0, 2)[None].to(image)
    return F.grid_sample(image[None], where, mode=mode, padding_mode="border", align_corners=True)[0]


def warp(
    frame: Float[Tensor, "3 height width"], flow: Float[Tensor, "2 height width"]
) -> Float[Tensor, "3 height width"]:
    """The frame before, moved to where its points are now."""
    return sample_bilinear(frame, _pixels(*frame.shape[1:]) + flow.double())


def synthetic(kind: str, picture: Picture, size: int, count: int) -> Clip:
    """A clip of a still picture whose flow is exact.

    pan         1.5 px a frame to the right and 0.7 down
    zoom        1.5 % a frame
    rotation    0.8 degrees a frame
    brightness  the whole picture from 0.8 to 1.2 times its values; nothing moves
    noise       Gaussian of deviation 0.03, new in every frame; nothing moves

    Raises UserError for another kind.
    """
    if kind not in KINDS:
        raise UserError(f"unknown kind of clip {kind!r}; choose among {', '.join(KINDS)}")
    still = picture.tensor(size * 3 // 2)
    middle = torch.tensor([(still.shape[2] - 1) / 2, (still.shape[1] - 1) / 2], dtype=torch.float64).view(2, 1, 1)
    pixels = _pixels(size, size)
    centred = pixels - (size - 1) / 2

    def motion(step: float) -> tuple[Tensor, Tensor]:
        """Matrix and shift that take a frame's pixel, from its middle, to the still's."""
        angle = np.deg2rad(0.8 * step) if kind == "rotation" else 0.0
        scale = 1.015**-step if kind == "zoom" else 1.0
        matrix = scale * torch.tensor(
            [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]], dtype=torch.float64
        )
        return matrix, torch.tensor([1.5, 0.7], dtype=torch.float64) * (step if kind == "pan" else 0.0)

    frames, flow = [], []
    noise = torch.Generator().manual_seed(0)
    for step in range(count):
        matrix, shift = motion(step - (count - 1) / 2)
        place = torch.einsum("ab,bhw->ahw", matrix, centred) + shift.view(2, 1, 1)
        frame = sample_bilinear(still, place + middle, "bicubic").clamp(0, 1)
        if kind == "brightness":
            frame = (frame * (0.8 + 0.4 * step / max(1, count - 1))).clamp(0, 1)
        if kind == "noise":
            frame = (frame + 0.03 * torch.randn(frame.shape, generator=noise)).clamp(0, 1)
        frames.append(frame)
        if step:
            earlier, moved = motion(step - 1 - (count - 1) / 2)
            flow.append(torch.einsum("ab,bhw->ahw", torch.linalg.inv(earlier), place - moved.view(2, 1, 1)) - centred)
    flows = torch.stack(flow) if flow else torch.zeros(0, 2, size, size, dtype=torch.float64)
    return Clip(f"{kind} of {picture.name}", torch.stack(frames), flows.float(), _inside(flows + pixels, size, size))


def _inside(places: Float[Tensor, "steps 2 h w"], height: int, width: int) -> Bool[Tensor, "steps h w"]:
    x, y = places.unbind(1)
    return (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)


def _resized(frame: Float[Tensor, "3 _ _"], size: int) -> Float[Tensor, "3 size size"]:
    """The middle square, bicubic with antialiasing, rounded to bytes as a file would be."""
    side = min(frame.shape[1:])
    top, left = (frame.shape[1] - side) // 2, (frame.shape[2] - side) // 2
    square = frame[None, :, top : top + side, left : left + side]
    return F.interpolate(square, (size, size), mode="bicubic", antialias=True)[0].clamp(0, 1).mul(255).round().div(255)


def flow_estimator() -> dict[str, str]:
    """What estimates flow: its name, and the hash of its weights where it has any."""
    given = os.environ.get("REPLICATION_RAFT")
    if given and not Path(given).is_file():
        raise UserError(f"REPLICATION_RAFT: {given} is no file; give the weights' path, or unset it to use DIS")
    return {"flow": "RAFT, small", "weights": files.sha256_file(given)} if given else {"flow": "DIS"}


@lru_cache
def _raft(path: str) -> torch.nn.Module:
    """Raises UserError unless the file holds the weights of raft_small, as torchvision or the authors name them."""
    from torchvision.models.optical_flow import raft_small  # here: it imports torch's compiler

    model = raft_small(weights=None)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if "module.fnet.conv1.weight" in state:  # the authors' file: other names, the same tensors in the same order
            state = dict(zip(model.state_dict(), state.values(), strict=True))
        model.load_state_dict(state)
    except (OSError, RuntimeError, ValueError, TypeError, AttributeError, pickle.UnpicklingError) as error:
        raise UserError(
            f"REPLICATION_RAFT: {path} does not hold RAFT's small network as a state dictionary of tensors"
            f" ({type(error).__name__}); unset it to use DIS"
        ) from error
    return model.eval().requires_grad_(False)


@torch.inference_mode()
def optical_flow(later: Float[Tensor, "3 h w"], earlier: Float[Tensor, "3 h w"]) -> Float[Tensor, "2 h w"]:
    """Flow from one frame to another: where each point of `later` is in `earlier`, minus where it is, in pixels.

    Raises UserError when RAFT is asked for frames under 128 px, or its weights cannot be read.
    """
    given = os.environ.get("REPLICATION_RAFT")
    if given:
        height, width = later.shape[1:]
        if min(height, width) < 128:
            raise UserError(
                f"RAFT needs frames of at least 128 px, these are {width}x{height}; unset REPLICATION_RAFT to use DIS"
            )
        pair = (
            F.pad(2 * frame[None] - 1, (0, -width % 8, 0, -height % 8), mode="replicate") for frame in (later, earlier)
        )
        return _raft(given)(*pair)[-1][0, :, :height, :width]
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(
        *(grey(to_uint8(frame)) for frame in (later, earlier)), None
    )
    return torch.from_numpy(flow).movedim(2, 0)


def visible(backward: Float[Tensor, "2 h w"], forward: Float[Tensor, "2 h w"]) -> Bool[Tensor, "h w"]:
    """Where flow and counter-flow agree and no motion border is (Sundaram et al. 2010, as Ruder et al. use it).

    hidden  |w_f(p + w_b) + w_b|^2 > 0.01 (|w_f|^2 + |w_b|^2) + 0.5
    border  |grad u|^2 + |grad v|^2 > 0.01 |w_b|^2 + 0.002
    """
    places = _pixels(*backward.shape[1:]) + backward.double()
    there = sample_bilinear(forward, places)
    length = backward.square().sum(0)
    hidden = (there + backward).square().sum(0) > 0.01 * (there.square().sum(0) + length) + 0.5
    slopes = sum(part.square() for u in backward for part in torch.gradient(u))
    return ~hidden & (slopes <= 0.01 * length + 0.002) & _inside(places[None], *backward.shape[1:])[0]


def filmed_clip(name: str, frames: Frames) -> Clip:
    """A clip with estimated flow."""
    pairs = list(zip(frames[1:], frames[:-1], strict=True))
    backward = [optical_flow(later, earlier) for later, earlier in pairs]
    seen = [visible(flow, optical_flow(earlier, later)) for flow, (later, earlier) in zip(backward, pairs, strict=True)]
    return Clip(name, frames, torch.stack(backward), torch.stack(seen))


def registered_clip(name: str, size: int, count: int) -> Clip:
    """`count` frames from the middle of a registered clip, its middle square."""
    every = list(frames_of(assets.find(name).path()))
    start = max(0, (len(every) - count) // 2)
    return filmed_clip(name, torch.stack([_resized(frame, size) for frame in every[start : start + count]]))


def evaluation_clips(size: int, count: int, pictures: Sequence[Picture], kinds: Sequence[str] = KINDS) -> list[Clip]:
    """One synthetic clip of each kind, of the pictures in turn, and the registered filmed ones.

    Raises UserError for fewer than two frames, between which nothing flows.
    """
    if count < 2:
        raise UserError(f"a clip needs at least 2 frames, not {count}")
    made = [synthetic(kind, pictures[number % len(pictures)], size, count) for number, kind in enumerate(kinds)]
    return made + [registered_clip(asset.name, size, count) for asset in assets.select("clip")]


def save_clip(frames: Frames, name: str, profile: Profile, rate: float, **facts: object) -> Path:
    """Write figures/<profile>/<name> and its provenance."""
    path = write_clip(files.FIGURES / profile.name / name, iter(frames), rate)
    files.write_json(
        path.with_suffix(".json"),
        provenance(profile=profile.name, figure=name, sha256=files.sha256_file(path), **facts),
    )
    return path
