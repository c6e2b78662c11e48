"""Profiles: how large everything is. A profile changes sizes and counts, never code paths."""

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import printable

FOLDER = Path(__file__).parent
NAMES = ("smoke", "quick", "cpu", "paper")


def _typed(kind: type, values: dict[str, Any], where: str):
    """A frozen dataclass from a table: every field present, nothing unknown, every type right."""
    known = {field.name: field.type for field in fields(kind)}
    unknown, missing = sorted(values.keys() - known.keys()), sorted(known.keys() - values.keys())
    if unknown or missing:
        raise UserError(
            f"{where}: unknown {unknown or 'nothing'}, missing {missing or 'nothing'}; known are {sorted(known)}"
        )
    for name, value in values.items():
        if type(value) is not known[name] and not (known[name] is float and type(value) is int):
            raise UserError(f"{where}: {name} must be {known[name].__name__}, got {value!r}")
    return kind(**values)


@dataclass(frozen=True)
class Training:
    """Sizes of a training run.

    steps, batch      optimiser steps; images per step, over all processes
    load, crop        shorter side after resizing, side of the random crop, in pixels
    learning_rate     peak of the schedule; ignored by the published one
    schedule          "one-cycle": the same budget for every arm. "constant": the peak to the end, after a warm-up; for
                      weights that are averaged. "published": the method's own rate over time
    averaged          fraction of the steps, the last ones, over which the weights are averaged (Izmailov et al. 2018);
                      0 keeps those of the last step
    kept              share of the weights from before the first step in those that come out: where a trained network
                      goes on, 0.5 is the mean of both, which can be better than either (Wortsman et al. 2022)
    precision         accelerate's mixed precision: "no", or "bf16" where the processor computes in it
    judge             encoder on whose features the losses are computed; "own" is the one that the method transfers
    checkpoint_every  steps between resumable checkpoints
    """

    steps: int
    batch: int
    crop: int
    load: int
    learning_rate: float
    schedule: str
    averaged: float
    kept: float
    precision: str
    judge: str
    checkpoint_every: int


def training_changes(words: Iterable[str]) -> dict[str, Any]:
    """Sizes of a training from texts like "learning_rate=6e-4", by the names of `Training`.

    Raises UserError for a text of another form, an unknown name, or a value that is not of the size's type.
    """
    kinds, changes = {field.name: field.type for field in fields(Training)}, {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or name not in kinds:
            raise UserError(f"{printable(word)!r} is no NAME=VALUE with one of the names {', '.join(kinds)}")
        try:
            changes[name] = kinds[name](value)
        except ValueError as error:
            raise UserError(f"{name} must be {kinds[name].__name__}, got {printable(value)!r}") from error
    return changes


@dataclass(frozen=True)
class Profile:
    """Sizes of an evaluation.

    encoder           "student", "half" or "vgg19": the width at which methods run; narrower distilled ones stand in for
                      arms that have no weights at it (`weights.shipped.fitting_encoder`)
    size              side of every evaluated image, in pixels
    contents, styles  how many images of each kind the grid has
    ablation_styles   the same for ablations and sweeps, whose rows are compared with each other on every pair
    own_grids         whether a table has as many images as its paper states, where it does (`papers.rows`)
    bootstrap         resamples behind every interval
    train             of every compared method; autoencoder: of the auto-encoder their decoders start from;
                      ablation: of the arms of ablations and sweeps, which go on from the trained method. The latter two
                      differ from [train] in what they name
    benchmark         (side length in pixels, timed runs) of the efficiency measurements, at VGG-19 width in every
                      profile
    """

    name: str
    encoder: str
    size: int
    contents: int
    styles: int
    ablation_styles: int
    own_grids: bool
    bootstrap: int
    train: Training
    autoencoder: Training
    ablation: Training
    benchmark: tuple

    @classmethod
    def load(cls, name: str) -> "Profile":
        """The profile called smoke, quick, cpu or paper. Raises UserError for another name or a wrong file."""
        if name not in NAMES:
            raise UserError(f"unknown profile {name!r}; choose {', '.join(NAMES)}")
        path = FOLDER / f"{name}.toml"
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(f"{path} cannot be read ({error}); restore it with git") from error
        for part in ("train", "benchmark", "autoencoder", "ablation"):
            if not isinstance(table.get(part, {}), dict) or part in ("train", "benchmark") and part not in table:
                raise UserError(f"{path} has no table [{part}]; restore it with git")
        sizes = table.pop("train")
        training, autoencoder, ablation = (
            _typed(Training, sizes | table.pop(kind, {}), f"{path} [{kind}]")
            for kind in ("train", "autoencoder", "ablation")
        )
        sizes = table.pop("benchmark")
        if not all(size.isdigit() and type(runs) is int and runs > 0 for size, runs in sizes.items()):
            raise UserError(f"{path} [benchmark] must give a number of runs for each side length, got {sizes}")
        benchmark = tuple((int(size), runs) for size, runs in sizes.items())
        return _typed(
            cls,
            {
                "name": name,
                "train": training,
                "autoencoder": autoencoder,
                "ablation": ablation,
                "benchmark": benchmark,
                **table,
            },
            str(path),
        )

    def for_ablations(self) -> "Profile":
        """A copy with the grid of ablations and sweeps."""
        return replace(self, styles=self.ablation_styles)

    def with_training(self, **changes: Any) -> "Profile":
        """A copy with some training sizes replaced."""
        return replace(self, train=replace(self.train, **changes))
