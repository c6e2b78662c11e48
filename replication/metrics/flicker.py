"""How much a stylised clip flickers: differences between a frame and its warped predecessor.

    e = 100 sqrt( mean over t of  sum_p M_t(p) |O_t(p) - W_t(O_{t-1})(p)|^2 / 3  /  sum_p M_t(p) )

W_t warps the frame before by the flow, M_t is 1 where a point is visible in both frames. The papers state neither
formula nor scale: this is Ruder's and Chen's stability error in per cent of the range. The same error of the input clip
is its floor: what flow and interpolation themselves leave.
"""

import numpy as np

from ..data.clips import Clip, Frames, warp
from ..errors import UserError


def temporal_errors(frames: Frames, clip: Clip) -> dict[str, float | list[float]]:
    """How much frames differ from their predecessor along the flow of the clip.

    flow_error         e: 100 times the root mean square over steps, 0 to 100
    flow_error_lai     mean over steps of the masked mean square, as in Lai et al.'s script; but there the later frame
                       is warped to the earlier one, here the earlier to the later, as in Ruder et al.
    adjacent_mean      mean absolute difference of adjacent frames, times 100, without flow (MCCNet's measure)
    adjacent_variance  the variance over pixels of that difference
    steps              flow error of every step

    Raises UserError for frames of another shape.
    """
    if frames.shape != clip.frames.shape:
        raise UserError(f"frames have shape {tuple(frames.shape)}, the clip's {tuple(clip.frames.shape)}")
    frames = frames.clamp(0, 1)
    squares = []
    for later, earlier, flow, mask in zip(frames[1:], frames[:-1], clip.flow, clip.visible, strict=True):
        square = (later - warp(earlier, flow)).square().double().mean(dim=0)
        squares.append(square[mask].mean().item() if mask.any() else float("nan"))
    change = (frames[1:] - frames[:-1]).abs().double().mean(dim=1) * 100
    return {
        "flow_error": float(100 * np.sqrt(np.nanmean(squares))),
        "flow_error_lai": float(np.nanmean(squares)),
        "adjacent_mean": change.mean().item(),
        "adjacent_variance": change.flatten(1).var(dim=1).mean().item(),
        "steps": [100 * value**0.5 for value in squares],
    }
