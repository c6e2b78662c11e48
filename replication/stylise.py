"""Stylise image and video files with the shipped weights."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from tqdm import tqdm

from .data.clips import CLIP_SUFFIXES, frame_rate, frames_of, write_clip
from .data.images import SUFFIXES, read_image, write_image
from .errors import UserError
from .methods import METHODS
from .methods.base import Method
from .nn.encoder import AnyImage, Image
from .weights.shipped import pretrained


def options_for(model: Method, alpha: float | None) -> dict[str, float]:
    """Options of the method's transfer.

    Raises UserError for an alpha outside [0, 1] or one the method does not have.
    """
    if alpha is None:
        return {}
    if not 0 <= alpha <= 1:
        raise UserError(f"alpha must be between 0 and 1, got {alpha}")
    if "alpha" not in model.transfer.__annotations__:
        known = [name for name, kind in METHODS.items() if "alpha" in kind.transfer.__annotations__]
        raise UserError(f"{type(model).__name__} has no alpha; use it with {', '.join(known)}")
    return {"alpha": alpha}


@torch.inference_mode()
def apply(model: Method, content: Image, style: AnyImage, alpha: float | None = None) -> Image:
    """Stylised image (1, 3, h, w), unclamped.

    `alpha` only for methods whose transfer knows it. Raises UserError as `options_for`.
    """
    return model.decode(
        model.transfer(model.encode_content(content), model.encode_style(style), **options_for(model, alpha))
    )


def _check(out: Path, endings: Sequence[str], size: int | None) -> None:
    if out.suffix.lower() not in endings:
        raise UserError(f"cannot write {out}: give it one of the endings {', '.join(endings)}")
    if size is not None and size < 64:
        raise UserError(f"size must be at least 64 px, got {size}")


def stylise_file(
    method: str, content: Path, style: Path, out: Path, size: int | None = None, alpha: float | None = None
) -> None:
    """Read two image files, stylise, write `out`.

    Raises UserError for every mistake a user can make, before computing.
    """
    _check(out, SUFFIXES, size)
    model = pretrained(method)
    images = [read_image(path, size)[None] for path in (content, style)]
    write_image(out, apply(model, *images, alpha=alpha)[0])


def stylise_video(
    method: str, clip: Path, style: Path, out: Path, size: int | None = None, alpha: float | None = None
) -> None:
    """Stylise a video file frame by frame, each by itself.

    One frame is in memory at a time. Raises UserError as `stylise_file`.
    """
    _check(out, CLIP_SUFFIXES, size)
    model = pretrained(method)
    options = options_for(model, alpha)
    code = model.encode_style(read_image(style, size)[None])

    @torch.inference_mode()
    def painted() -> Iterator[torch.Tensor]:
        for frame in tqdm(frames_of(clip), desc="frames", mininterval=5):
            if size is not None:
                scale = size / min(frame.shape[1:])
                shape = [max(size, round(side * scale)) for side in frame.shape[1:]]
                frame = F.interpolate(frame[None], shape, mode="bicubic", antialias=True)[0].clamp(0, 1)
            yield model.decode(model.transfer(model.encode_content(frame[None]), code, **options))[0]

    write_clip(out, painted(), frame_rate(clip))
