"""Public name of mixing several styles: `several.stylise(model, content, styles, weights)`. See `methods.mixing`."""

from .methods.mixing import corners, mix
from .methods.mixing import stylise_with_several as stylise

__all__ = ["corners", "mix", "stylise"]
