"""What makes small networks learn style transfer: short trainings that differ in few things, measured alike.

The runs were made while the recipe of the shipped weights was sought; results/reference/training-study.csv has one line
per run and is not made again by any command. Nothing is trained here.
"""

from collections.abc import Sequence

import pandas as pd

from .. import files
from ..errors import UserError

# What was chosen for a run, and what its column means.
FACTORS = {
    "method": "what was trained: a method, or the auto-encoder that decoders start from",
    "encoder": "encoder whose features are transferred: student has a quarter of VGG-19's channels, half has half",
    "judge": "encoder on whose features the losses were computed; own is the one whose features are transferred",
    "start": "of the decoder: mirror is the least-squares start, a name is the run whose decoder was taken over, or all"
    " its weights where it is of the same method",
    "changes": "made to the fresh weights before the first step, by name",
    "styles": "what the styles were: paintings, or photographs too; an auto-encoder has none",
    "steps": "optimiser steps",
    "batch": "pairs per step",
    "crop": "side of the training crops, in pixels",
    "load": "shorter side from which crops were taken, in pixels",
    "rate": "peak learning rate; a run of one step at next to no rate shows the start itself",
    "schedule": "of the learning rate; none where no step was made",
    "averaged": "of which steps what was measured is the mean; no where it is the last step's",
    "kept": "share in what was measured of the weights from before the first step",
    "pictures": "what it was measured on: the evaluation grid, or eight photographs and eight paintings held out of"
    " training",
}
# What was found, on photographs and paintings that the run never trained on, at 256 px.
FINDINGS = {
    "cpu_seconds_per_step": "CPU seconds per step, one thread; of a run of one step, with all that comes before it",
    "cpu_seconds": "CPU seconds of all steps",
    "rms": "root mean square error of a photograph stylised with itself, in 255ths",
    "rms_content_loss": "content loss of a photograph stylised with itself, on VGG-19",
    "content_loss": "mean content loss over photographs by paintings, on VGG-19",
    "style_loss": "mean style loss over photographs by paintings, on VGG-19",
    "chroma": "slope of the result's mean chroma on the painting's: 1 takes its colourfulness over, 0 ignores it",
    "luma": "the same of mean lightness",
    "colour": "the same of the mean opponent colours a and b of CIELAB",
    "photograph": "response to the photograph's light and dark, as in notebook 05: 0 ignores the photograph",
    "photograph_features": "1 - content loss / content loss against other photographs, of earlier runs",
    "gain": "share of itself by which the loss falls in a tenth of the steps, on a line, as in notebook 05",
    "last_tenth": "share of itself by which the loss fell in the last tenth against the one before, of earlier runs",
}


def read_study() -> pd.DataFrame:
    """One line per run, in the order in which they were made: name, FACTORS, FINDINGS, note.

    Raises UserError when the file is missing or damaged.
    """
    path = files.RESULTS / "reference" / "training-study.csv"
    try:
        frame = pd.read_csv(path, keep_default_na=False, na_values={name: [""] for name in FINDINGS})
        frame["cpu_seconds"] = frame.steps * frame.cpu_seconds_per_step
        frame = frame[["name", *FACTORS, *FINDINGS, "note"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is missing or damaged ({error}); restore it with git") from error
    return frame.replace({"judge": {"": "own"}, **{name: {"": "none"} for name in ("start", "changes", "styles")}})


def differing(study: pd.DataFrame, factor: str, free: Sequence[str] = ()) -> pd.DataFrame:
    """Runs that are alike in every factor but this one, and `free` ones, which may differ with it.

    Index: number of the group of runs that are alike, and the run's name. Columns: the method, what varies, and what
    was measured. Empty where no two runs differ so.
    """
    alike = [name for name in FACTORS if name != factor and name not in free]
    groups = [group for _, group in study.groupby(alike, sort=False) if group[factor].nunique() > 1]
    found = pd.concat(
        [group.assign(group=number) for number, group in enumerate(groups, 1)] or [study[:0].assign(group=0)]
    )
    shown = dict.fromkeys(["method", factor, *free, *(name for name in FINDINGS if found[name].notna().any())])
    return found.set_index(["group", "name"])[list(shown)]
