"""The trained arms: which trainings the tables need, which a person asks for, and what each starts from."""

from collections.abc import Sequence
from typing import NamedTuple

from ..errors import UserError
from ..methods import METHODS, check_variant, default_variant, method_name
from ..papers.choices import CHOICES
from ..papers.rows import TABLES, Row, table
from ..weights.shipped import has_card, is_trained, run_name


class Arm(NamedTuple):
    """One training: of a method, or of the auto-encoder.

    method     a key of METHODS, or "autoencoder"
    variant    of the method
    seed       of the training
    continued  the trained default variant, trained on for as long as the arms that it is compared with
    """

    method: str
    variant: str
    seed: int = 0
    continued: bool = False

    @property
    def start(self) -> "Arm | None":
        """What its training starts from: its method's default variant, the shared auto-encoder, or nothing."""
        if self == AUTOENCODER:
            return None
        default = default_variant(self.method)
        if self.continued or self.variant != default:
            return Arm(self.method, default)
        return AUTOENCODER if METHODS[self.method].mirrored else None

    @property
    def goes_on(self) -> bool:
        """Whether it goes on from all weights of a trained method; a decoder's start is less."""
        return self.start not in (None, AUTOENCODER)

    def checkpoint(self, encoder: str) -> str:
        """Name of its run and of its weights at a width."""
        return f"autoencoder-{encoder}" if self == AUTOENCODER else run_name(*self[:2], encoder, *self[2:])


# The shared start of all mirrored decoders (`training.autoencoder`).
AUTOENCODER = Arm("autoencoder", "default")


def wanted_trainings() -> list[Arm]:
    """Every training that the tables and `sensitivity` need; the compared methods come first."""
    tables = sorted((table(*name) for name in TABLES), key=lambda found: found.ablation)
    rows = [row for found in tables for row in found.rows] + [row for choice in CHOICES for row in choice.rows]
    arms = dict.fromkeys(Arm(*row.arm) for row in rows if row.method in METHODS)
    return [arm for arm in arms if is_trained(*arm[:2])]


def wanted_arms(
    methods: Sequence[str], variant: str | None, seed: int, continued: bool, with_arms: bool = False
) -> list[Arm]:
    """The trainings that a person asks for.

    methods    names as `method_name` takes them; "all" is everything that the tables need, "autoencoder" the shared
               start alone
    with_arms  also what the tables need of these methods

    Raises UserError for an unknown method or variant.
    """
    names = [method_name(name, "autoencoder", "all") for name in methods]
    if "all" in names:
        return wanted_trainings()
    arms = [AUTOENCODER] if "autoencoder" in names else []
    named = [name for name in names if name != "autoencoder"]
    for name in named:
        check_variant(name, variant)
        arms.append(Arm(*Row("", name, variant, seed=seed, continued=continued).arm))
    arms += [arm for arm in wanted_trainings() if with_arms and arm.method in named]
    return list(dict.fromkeys(arms))


def missing_trainings(arms: Sequence[Arm], encoder: str) -> list[Arm]:
    """Of these arms and what they start from, those without weights at a width; starts come first, and each once.

    Raises UserError for an arm that has nothing to train.
    """
    found: list[Arm] = []

    def add(arm: Arm) -> None:
        if arm in found or has_card(arm.checkpoint(encoder)):
            return
        if arm != AUTOENCODER and not is_trained(*arm[:2]):
            raise UserError(f"{arm.method} has no parameters to train in its variant {arm.variant}; use it as it is")
        if arm.start is not None:
            add(arm.start)
        found.append(arm)

    for arm in arms:
        add(arm)
    return found
