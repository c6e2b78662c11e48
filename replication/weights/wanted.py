"""Which network a user wants, in words: `weights.choice` loads it. Needs no torch, which takes seconds to import."""

from dataclasses import dataclass

OURS, OFFICIAL = "ours", "official"


@dataclass(frozen=True)
class Choice:
    """Which network of a method.

    variant  one of the method's; None is its default, or that of the authors' files
    encoder  width of ours: student, half or vgg19; None is the widest that is trained
    seed     of the training of ours
    weights  OURS; OFFICIAL, the authors' in the folder of REPLICATION_OFFICIAL; or a path: a folder or a file of
             authors, or a file of ours (.safetensors.xz)
    device   where it runs: cpu, cuda, cuda:1, mps
    """

    variant: str | None = None
    encoder: str | None = None
    seed: int = 0
    weights: str = OURS
    device: str = "cpu"
