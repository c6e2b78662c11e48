"""Stylise an image or video file with the shipped weights; many: `folder`."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from inspect import signature
from pathlib import Path

import torch
import torch.nn.functional as F
from tqdm import tqdm

from ..data.formats import check_format
from ..data.images import LUMA, read_alpha, read_image, write_image
from ..data.video_files import Shown, Video, write_video
from ..errors import UserError, memory_advice
from ..files import printable
from ..methods import METHODS, Encoded
from ..methods.base import Method
from ..nn.encoder import AnyImage, Image
from ..weights.choice import chosen_network
from .jobs import DEFAULTS, Settings, check_picture, check_settings, check_video

# The method that needs the least memory per pixel: AdaIN's layers are all computed in tiles, MicroAST's are not.
LIGHTEST = "adain"


def has_alpha(method: Method | type[Method]) -> bool:
    """Whether the method's transfer knows a strength of the style."""
    return "alpha" in signature(method.transfer).parameters


def options_for(model: Method, alpha: float | None) -> dict[str, float]:
    """Options of the method's transfer.

    Raises UserError for an alpha outside [0, 1] or one the method does not have.
    """
    if alpha is None:
        return {}
    check_settings(Settings(alpha=alpha))
    if not has_alpha(model):
        known = [name for name, kind in METHODS.items() if has_alpha(kind)]
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


def with_colours_of(content: Image, stylised: Image) -> Image:
    """The stylised image's light and dark with the photograph's colours (luminance only, Gatys et al. 2016).

    The luma of ITU-R BT.601 is the result's, both chroma are the photograph's; unclamped.
    """
    weights = content.new_tensor(LUMA).view(1, 3, 1, 1)
    return content + ((stylised - content) * weights).sum(dim=1, keepdim=True)


def stylise_file(method: str, content: Path, style: Path, out: Path, settings: Settings = DEFAULTS) -> None:
    """Read two image files, stylise, write `out`.

    Raises UserError for every mistake a user can make, before computing.
    """
    check_picture(content, style, out, settings)
    size = settings.size
    pictures = [read_image(path, size)[None] for path in (content, style)]
    check_format(out, size=tuple(pictures[0].shape[2:]))
    opacity = read_alpha(content, size) if settings.keep_transparency else None
    model = chosen_network(method, settings.network)
    pictures = [picture.to(settings.network.device) for picture in pictures]
    options = options_for(model, settings.alpha)
    height, width = pictures[0].shape[2:]
    with memory_advice(memory_text(f"{width}x{height}", min(height, width), method)), torch.inference_mode():
        codes = [
            encode_named(encode, image, path)
            for encode, image, path in zip(
                (model.encode_content, model.encode_style), pictures, (content, style), strict=True
            )
        ]
        result = model.decode(model.transfer(*codes, **options))
    if settings.preserve_colour:
        result = with_colours_of(pictures[0], result)
    write_image(out, result[0], opacity)


def encode_named(encode: Callable[[Image], Encoded], image: Image, path: Path) -> Encoded:
    """Encode an image; a mistake is told with its file's name."""
    try:
        return encode(image)
    except UserError as error:
        way = "; --size 64 does that" if min(image.shape[2:]) < 64 else ""
        raise UserError(f"{printable(path)}: {error}{way}") from error


def memory_text(pixels: str, side: int, method: str = "") -> str:
    """What to do when a stylisation needs too much memory, of a method or of whatever method."""
    smaller = next((size for size in (2160, 1080, 720, 512, 256, 128) if size <= side * 2 // 3), 64)
    other = "" if method == LIGHTEST else f" or take --method {LIGHTEST}"
    return f"{pixels} px need more memory than there is; add --size {smaller}{other}"


def stylise_video(method: str, clip: Path, style: Path, out: Path, settings: Settings = DEFAULTS) -> list[str]:
    """Stylise a video file frame by frame, each by itself; frames keep their times, and MP4 the sound.

    Returns what differs from the input or is amiss with it, a sentence each. One frame is in memory at a time, and all
    of them for WebP and GIF. Raises UserError as `stylise_file`.
    """
    check_video(clip, style, out, settings)
    size = settings.size
    video = Video(clip)
    model, device = chosen_network(method, settings.network), settings.network.device
    options = options_for(model, settings.alpha)
    with torch.inference_mode():
        code = encode_named(model.encode_style, read_image(style, size)[None].to(device), style)

    @torch.inference_mode()
    def painted() -> Iterator[Shown]:
        for shown in tqdm(video.frames(), desc="frames", mininterval=5):
            frame = shown.image.to(device)
            if size is not None:
                scale = size / min(frame.shape[1:])
                shape = [max(size, round(side * scale)) for side in frame.shape[1:]]
                frame = F.interpolate(frame[None], shape, mode="bicubic", antialias=True)[0].clamp(0, 1)
            stylised = model.decode(model.transfer(model.encode_content(frame[None]), code, **options))
            if settings.preserve_colour:
                stylised = with_colours_of(frame[None], stylised)
            yield replace(shown, image=stylised[0].cpu())

    with memory_advice(f"a frame needs more memory than there is; add --size 256 or take --method {LIGHTEST}"):
        _, notes = write_video(out, painted(), video)
    return [*video.notes, *notes]
