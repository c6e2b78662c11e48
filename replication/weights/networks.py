"""The network of a row of a table, whoever trained it."""

from ..methods.base import Method
from .official_folder import official_model
from .shipped import pretrained


def network(
    method: str, variant: str, seed: int = 0, continued: bool = False, *, official: bool = False, encoder: str
) -> Method:
    """A method with its authors' weights at VGG-19 width when `official`, else with those trained here at `encoder`'s.

    Loaded once and shared. Raises UserError when there are no such weights.
    """
    if official:
        return official_model(method, variant)
    return pretrained(method, variant, encoder, seed, continued)
