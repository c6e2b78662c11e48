"""Choices that the papers leave open: another reading of a method, another way to prepare or to save an image.

Each changes one thing; `experiments.sensitivity` measures how much that matters. Most keep the shipped weights, which
do not know the other choice. One with an arm of its own is compared with the shipped weights trained on for as long.
"""

from dataclasses import dataclass, field

from ..weights.shipped import missing_weights
from .rows import Row, shipped_rows


@dataclass(frozen=True)
class Choice:
    """One thing done otherwise.

    title    what is done in place of what
    method   whose results it changes
    changes  fields of the method's variant
    prepare  how photograph and painting are brought to size, see `experiments.sensitivity.prepared`
    jpeg     quality at which the result is saved before it is measured; None measures the result itself
    arm      the method's variant that was trained with the other choice; None keeps the shipped weights
    """

    title: str
    method: str
    changes: dict = field(default_factory=dict)
    prepare: str | None = None
    jpeg: int | None = None
    arm: str | None = None

    @property
    def rows(self) -> tuple[Row, Row]:
        """The trainings of our way and of the other."""
        return Row("ours", self.method, continued=self.arm is not None), Row("other", self.method, self.arm)

    def facts(self) -> dict:
        """What determines its results, beside the weights."""
        return {
            "method": self.method,
            "changes": {name: str(value) for name, value in self.changes.items()},
            "prepare": self.prepare,
            "jpeg": self.jpeg,
        }


CHOICES = (
    Choice(
        "biased variance without epsilon, as printed, in place of the code's",
        "adain",
        {"content_correction": 0, "style_correction": 0, "style_eps": 0.0},
    ),
    Choice("a fixed number of blocks, as printed, in place of blocks of a fixed side", "stya2k", {"fixed_count": True}),
    Choice(
        "regional keys divided by the points of a block, as printed in eq. 8, in place of one more",
        "stya2k",
        {"divisor": "points"},
    ),
    Choice(
        "regional keys divided by the side of a block, as Algorithm 1 may mean, in place of points + 1",
        "stya2k",
        {"divisor": "side"},
    ),
    Choice(
        "channel attention with kernel 3 at every level, trained so, in place of ECA-Net's rule",
        "datnet",
        arm="kernel-3",
    ),
    Choice(
        "channel attention with kernel 9 at every level, trained so, in place of ECA-Net's rule",
        "datnet",
        arm="kernel-9",
    ),
    Choice(
        "keys resized to the nearest, as in AdaAttN's code, in place of bilinearly", "datnet", {"key_resize": "nearest"}
    ),
    Choice("keys resized bilinearly, as printed, in place of to the nearest", "adaattn", {"key_resize": "bilinear"}),
    Choice(
        "at most 1024 keys, drawn at random as the code does above 4096, in place of all", "adaattn", {"max_keys": 1024}
    ),
    Choice("residuals with position, as printed, in place of the code's", "stytr2", {"residual_with_position": True}),
    Choice(
        "a Potts penalty between four neighbours until nothing improves, as printed, in place of the code's chain",
        "mst",
        {"chain": False, "cycles": None},
    ),
    *(
        Choice(f"images {way}", method, prepare=prepare)
        for method in ("datnet", "stya2k")
        for prepare, way in (
            ("squeezed", "squeezed to a square, as the papers' scripts do, in place of cropped"),
            ("nearest", "resized to the nearest pixel in place of bicubically"),
        )
    ),
    *(
        Choice("results saved as JPEG of quality 75 before they are measured", method, jpeg=75)
        for method in ("datnet", "stya2k")
    ),
)


def possible_choices(encoder: str) -> list[Choice]:
    """The choices whose trainings are shipped at this width. Raises UserError when there is none."""
    found = [choice for choice in CHOICES if len(shipped_rows(choice.rows, encoder)) == 2]
    if not found:
        raise missing_weights(
            encoder,
            f"no method whose open choices are measured has weights at {encoder} width; run `python -m replication"
            f" train --encoder {encoder}`",
        )
    return found
