"""Replication workbook for attention-based arbitrary style transfer.

    from replication import pretrained, read_image, write_image
    result = pretrained("adaattn")(read_image("photo.jpg")[None], read_image("painting.jpg")[None])
    write_image("stylised.png", result[0])
"""

from .checkpoints import pretrained
from .data import read_image, write_image
from .encoder import Encoder, load_encoder
from .errors import UserError
from .methods import METHODS, Method

__all__ = ["METHODS", "Method", "UserError", "build", "pretrained", "read_image", "write_image"]


def build(method: str, encoder: str | Encoder = "student", variant: str | None = None) -> Method:
    """A method with fresh weights (drawn from torch's global generator) around a frozen encoder.

    method   a key of METHODS
    encoder  "vgg19" (the papers' width), "student", or an Encoder
    variant  name of one of the method's variants; None is its first, the default

    Returns a module with encode_content, encode_style, transfer, decode and forward(content, style).
    For trained weights see `pretrained`, for published checkpoints `replication.official.load`.
    Raises UserError for an unknown method, encoder or variant.
    """
    if method not in METHODS:
        raise UserError(f"unknown method {method!r}; choose {', '.join(METHODS)}")
    kind = METHODS[method]
    name = next(iter(kind.variants)) if variant is None else variant
    if name not in kind.variants:
        raise UserError(f"{method} has no variant {name!r}; choose {', '.join(kind.variants)}")
    model = kind(load_encoder(encoder) if isinstance(encoder, str) else encoder, kind.variants[name])
    return model.eval()
