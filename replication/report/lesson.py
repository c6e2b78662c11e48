"""What a notebook about one method begins with: a photograph and a painting to look at, and the network."""

import textwrap

import torch
from jaxtyping import Float
from torch import Tensor

from .. import plots
from ..data.images import Picture, contents, styles
from ..methods.base import Method
from ..nn.encoder import AnyImage, Image
from ..profiles import Profile
from ..weights.shipped import trained_or_fresh


def show_pair(sizes: Profile) -> tuple[Picture, Picture]:
    """The profile's first photograph and its second painting, which are drawn."""
    photograph, painting = contents(1)[0], styles(sizes.styles)[1]
    pair = photograph, painting
    titles = [textwrap.fill(picture.caption, 40) for picture in pair]
    plots.image_grid([[picture.tensor(sizes.size) for picture in pair]], titles, side=2.6)
    return pair


def load_method(name: str, sizes: Profile, variant: str | None = None) -> Method:
    """A method of the profile's width, with shipped weights where there are some; says which weights it has."""
    model = trained_or_fresh(name, variant, sizes.encoder)
    arm, weights = f" ({variant})" if variant else "", "shipped" if model.weights else "no shipped weights yet: fresh"
    print(f"{model.title}{arm}: {weights} weights")
    return model


@torch.inference_mode()
def paint(model: Method, content: Image, style: AnyImage, **options: float) -> Float[Tensor, "3 h w"] | None:
    """The stylised picture; None, which leaves a gap, when the weights are fresh and there is nothing to see.

    options  of the method's `transfer`, such as alpha
    """
    if not model.weights:
        return None
    return model.decode(model.transfer(model.encode_content(content), model.encode_style(style), **options))[0]
