"""Printed settings of trainings: iterations against epochs, and what a learning rate decays to."""

from dataclasses import dataclass
from math import ceil

import pandas as pd

from ..evaluation.operations import least_seconds
from .common import EPS, NAMES, Section, judge, section
from .timing import cost


@dataclass(frozen=True)
class Training:
    """Printed settings of a training. Epochs are not always printed; `gpu` is named where its peak is known here."""

    where: str
    iterations: int
    batch: int
    contents: int
    epochs: int | None = None
    gpu: str | None = None


TRAININGS = {
    # Prints "MS-COCO" without a size; train2014, which the repositories of this family train on, has so many images.
    "StyA2K": Training("Section 4.1", 400_000, 8, 82_783, 5, "RTX 3090"),
    "DatNet": Training("Section 2.1", 50_000, 8, 82_000),
}
# DatNet, section 2.1: the learning rate, and what is called its decay.
RATE, DECAY = 1e-4, 1e-5


def passes(training: Training) -> dict[str, float]:
    """Passes over the contents if an iteration is an optimiser step, and if it is an image."""
    return {
        "steps": training.iterations * training.batch / training.contents,
        "images": training.iterations / training.contents,
    }


def least_hours(steps: float, batch: int, macs: float, gpu: str) -> float:
    """Hours at a card's single-precision peak for `macs` per image and step."""
    return steps * batch * least_seconds(macs, gpu) / 3600


def iterations(trainings: dict[str, Training] = TRAININGS) -> Section:
    """Iterations, batches and epochs against the size of the data, and the least time that they take."""
    lines, findings = {}, []
    for paper, training in trainings.items():
        found, forward = passes(training), cost(NAMES[paper], 256)
        for reading, count in found.items():
            steps = training.iterations / (1 if reading == "steps" else training.batch)
            lines[paper, reading] = {
                "optimiser steps": steps,
                "passes over the contents": count,
                "epochs, printed": training.epochs,
            }
            if training.gpu:
                # Forward only, and the result encoded once more for the losses: a step takes more.
                lines[paper, reading]["hours at least"] = least_hours(
                    steps, training.batch, forward.total + forward.encoder / 2, training.gpu
                )
        near = {
            reading: training.epochs is None or abs(count / training.epochs - 1) < 0.1
            for reading, count in found.items()
        }
        epochs = f", {training.epochs} epochs" if training.epochs else ""
        images = (
            "The counter counts images, as in the code that the method is built on; then the printed numbers agree,"
            " rounded."
        )
        findings.append(
            judge(
                (paper, training.where),
                "iterations are optimiser steps",
                f"{training.iterations} iterations, batch {training.batch}{epochs}",
                f"{found['steps']:.2f} passes over the contents as steps, {found['images']:.2f} as images",
                near["steps"] and found["steps"] >= 1,
                images if near["images"] else "Another set of contents.",
            )
        )
    return section(lines, *findings)


def decayed(rate: float, decay: float, steps: int) -> dict[str, float]:
    """The learning rate at the end, for each way to read its decay."""
    return {
        "divided by 1 + decay times step": rate / (1 + decay * steps),
        "multiplied by 1 - decay at every step": rate * (1 - decay) ** steps,
        "reduced by decay at every step": max(0.0, rate - decay * steps),
        "weight decay, rate constant": rate,
    }


def decay_readings(rate: float = RATE, decay: float = DECAY, steps: int = TRAININGS["DatNet"].iterations) -> Section:
    """DatNet's learning-rate decay: what the rate becomes under each reading."""
    final = pd.Series(decayed(rate, decay, steps), name="rate at the end")
    usable = final[final > 0]
    stop = ceil(rate / decay - EPS)
    return section(
        final.to_frame(),
        judge(
            ("DatNet", "Section 2.1"),
            "what the learning-rate decay does",
            f"rate {rate:g}, decay {decay:g}",
            f"ends between {usable.min():.3g} and {usable.max():.3g}; by subtraction, learning would stop at step"
            f" {stop}",
            len(usable) == len(final) and usable.max() < 1.01 * usable.min(),
            "The readings under which a network can be trained differ little; the rule is simply not printed.",
            "unclear",
        ),
    )
