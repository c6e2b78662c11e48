"""Stylise image files with the shipped weights."""

from pathlib import Path

import torch

from .checkpoints import pretrained
from .data import SUFFIXES, read_image, write_image
from .errors import UserError
from .methods import METHODS, Method


def apply(model: Method, content, style, alpha: float | None = None):
    """Stylised image (1, 3, h, w), unclamped; `alpha` only for methods whose transfer knows it.

    Raises UserError for an alpha outside [0, 1] or one the method does not have.
    """
    options = {}
    if alpha is not None:
        if not 0 <= alpha <= 1:
            raise UserError(f"alpha must be between 0 and 1, got {alpha}")
        if "alpha" not in model.transfer.__annotations__:
            known = [name for name, kind in METHODS.items() if "alpha" in kind.transfer.__annotations__]
            raise UserError(f"{type(model).__name__} has no alpha; use it with {', '.join(known)}")
        options["alpha"] = alpha
    with torch.inference_mode():
        return model.decode(model.transfer(model.encode_content(content), model.encode_style(style), **options))


def stylise_file(method: str, content: Path, style: Path, out: Path, size: int | None = None, alpha: float | None = None) -> None:
    """Read two image files, stylise, write `out`. Raises UserError for every mistake a user can make, before computing."""
    if out.suffix.lower() not in SUFFIXES:
        raise UserError(f"cannot write {out}: give it one of the endings {', '.join(SUFFIXES)}")
    if size is not None and size < 64:
        raise UserError(f"size must be at least 64 px, got {size}")
    model = pretrained(method)
    images = [read_image(path, size)[None] for path in (content, style)]
    write_image(out, apply(model, *images, alpha=alpha)[0])
