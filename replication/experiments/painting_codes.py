"""What a module reads of a painting: does that tell how bright the painting is?

Nothing else of a painting can reach the result. AdaIN reads the mean and deviation of every channel. A module that
normalises first, N(F_s), has lost both, and only how channels vary together is left: the matrix R of correlations,
of which MCCNet reads the energies g_c^T R g_c + b_c^2, with a g that training chose.

How much a code tells is measured by a prediction from it that is linear, ridge regression fitted to other paintings:
the slope of the prediction on the truth, for paintings that the fit has not seen. 1 tells it, 0 tells nothing. That is
the same slope by which `evaluation.health` judges a network's response, so a network and its code can be compared.
"""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from sklearn.feature_selection import VarianceThreshold
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from ..evaluation.health import lightness, slope
from ..methods.mccnet import MCCNet
from ..nn.layers import mean_std

# Of the ridge, per number of the code; the best by leave-one-out within the paintings of the fit is taken.
PENALTIES = np.logspace(-5, 1, 13)
# A number of a code with less variance over paintings is left out.
CONSTANT = 1e-8


def told(
    codes: Float[np.ndarray, "fitted d"],
    truth: Float[np.ndarray, " fitted"],
    unseen_codes: Float[np.ndarray, "unseen d"],
    unseen_truth: Float[np.ndarray, " unseen"],
) -> float:
    """Slope on the truth of what a ridge regression predicts from a code for paintings that it has not seen."""
    penalties = PENALTIES * codes.shape[1]
    # What never changes but for rounding, as a channel's correlation with itself, would be scaled up without bound.
    predict = make_pipeline(VarianceThreshold(CONSTANT), StandardScaler(), RidgeCV(alphas=penalties)).fit(codes, truth)
    return slope(predict.predict(unseen_codes)[None], unseen_truth)


def brightness_told(
    mccnet: MCCNet,
    fitted: Sequence[Float[Tensor, "1 3 _ _"]],
    unseen: Sequence[Float[Tensor, "1 3 _ _"]],
    photographs: Sequence[Float[Tensor, "1 3 _ _"]],
) -> pd.Series:
    """How well codes of unseen paintings tell their mean L, and the slope of MCCNet's own results on it.

    fitted       paintings for the regressions
    unseen       paintings for the slopes
    photographs  that MCCNet stylises with the unseen paintings
    """
    features = [[_features(mccnet, image) for image in images] for images in (fitted, unseen)]
    truths = [np.array([lightness(image)[1] for image in images]) for images in (fitted, unseen)]
    codes: dict[str, Callable[[Tensor], Tensor]] = {
        "means and deviations, which AdaIN reads": lambda f: torch.cat(mean_std(f), dim=1),
        "correlations, all that normalised features hold": _correlations,
        "energies of g as trained, which MCCNet reads": mccnet.mcc_module.MCCN.energies,
    }
    found = {}
    with torch.inference_mode():
        for name, code in codes.items():
            seen, other = (np.stack([code(f).flatten().double().numpy() for f in part]) for part in features)
            found[name] = told(seen, truths[0], other, truths[1])
        results = [[lightness(mccnet(image, painting))[1] for painting in unseen] for image in photographs]
    found["what MCCNet's results take"] = slope(np.array(results), truths[1])
    return pd.Series(found, name="slope")


@torch.inference_mode()
def _features(mccnet: MCCNet, image: Float[Tensor, "1 3 _ _"]) -> Float[Tensor, "1 c _ _"]:
    """At relu4_1."""
    return mccnet.encode_style(image).features["relu4_1"]


def _correlations(feature: Float[Tensor, "1 c h w"]) -> Float[Tensor, "c c"]:
    """R; nothing for a channel that is the same everywhere."""
    return torch.corrcoef(feature[0].flatten(1)).nan_to_num()  # (c, h * w) -> (c, c)
