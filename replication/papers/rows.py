"""Which rows every table of the papers needs, and so which arms have to be trained.

Compared methods are trained from an equal start. The arms of ablations and sweeps, with the full method among them, all
go on from the trained method: parameters of equal name and shape are its own, others are fresh, and the arms get the
same number of further steps, but for StyA2K's all-to-all attention, which is farthest from its start and got more. The
papers do not say how theirs were trained; from fresh starts, which are likelier, an arm may differ more than it does
here.

A row has the paper's name and the method, variant and seed that stand for it. Row names of one table and several
seeds are one line: its mean and interval run over the trainings as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..errors import UserError
from ..methods import BUILT_IN, METHODS, TITLES, plugged_in
from ..profiles import Profile
from ..weights.official_folder import Official, find_official
from ..weights.shipped import fitting_encoder, fitting_names, run_name
from .printed import WORKBOOK


@dataclass(frozen=True)
class Row:
    """A row of a table: a trained method, or a reference image.

    name     as the table prints it; rows of one name and several seeds are one line of a table
    method   a key of METHODS, or "content" or "style": the image itself as the result
    variant  of the method; None is its default
    alpha    strength of the style; None leaves it at the method's default
    seed     of the training
    continued  weights trained on for as long as the ablation arms
    official   on the authors' weights of the user's folder, at VGG-19 width, instead of those trained here
    """

    name: str
    method: str
    variant: str | None = None
    alpha: float | None = None
    seed: int = 0
    continued: bool = False
    official: bool = False

    @property
    def arm(self) -> tuple[str, str, int, bool]:
        """(method, variant, seed, continued): what has to be trained for it."""
        return self.method, self.variant or next(iter(METHODS[self.method].variants)), self.seed, self.continued

    def width(self, encoder: str) -> str:
        """The encoder of its weights trained here: `encoder`, or the widest narrower one that has any."""
        return fitting_encoder(*self.arm, encoder)

    def checkpoint(self, encoder: str) -> str:
        """Name of its weights at a width, as `width` says; the authors' have their own."""
        method, variant, seed, continued = self.arm
        if self.official:
            return f"{method}-{variant}-official"
        return run_name(method, variant, self.width(encoder), seed, continued)

    @property
    def file_stem(self) -> str:
        """Begins the names of files about it."""
        return self.checkpoint("") if self.official else self.method


REFERENCES = (
    Row("content image", "content"),
    Row("style image", "style"),
    *(Row(f"AdaIN α={alpha:g}", "adain", alpha=alpha) for alpha in (0.0, 0.25, 0.5, 0.75, 1.0)),
)


# In the name of a row on the authors' weights; before it stands the name of ours.
AUTHORS = ", authors' weights"
NO_WEIGHTS = "no trained weights of this method"


def _official(row: Row) -> list[tuple[Row, Official]]:
    """Rows on the authors' weights of the same method, each with what the user's folder has of them."""
    if row.method not in METHODS or row.official or row.arm != Row("", row.method).arm:
        return []  # a picture, or an arm of an ablation: the authors published their default alone
    return [
        (Row(f"{row.name}{AUTHORS}{found.other}", row.method, found.variant, row.alpha, official=True), found)
        for found in find_official()
        if found.method == row.method
    ]


def with_official(rows: Sequence[Row]) -> tuple[Row, ...]:
    """The rows, each followed by that on the authors' weights where the user's folder has them."""
    return tuple(each for row in rows for each in (row, *(own for own, found in _official(row) if found.complete)))


def missing_official(rows: Sequence[Row]) -> dict[str, str]:
    """Why methods' rows on the authors' weights cannot be measured, by name; nothing where the user names no folder."""
    methods = [row for row in rows if row not in REFERENCES]
    return {
        own.name: f"authors' weights: {found.reason}"
        for row in methods
        for own, found in _official(row)
        if not found.complete
    }


def missing_rows(rows: Sequence[Row], encoder: str) -> dict[str, str]:
    """Why rows cannot be measured, by name: no weights are shipped at this width, and `missing_official`."""
    there = shipped_rows(rows, encoder)
    return {row.name: NO_WEIGHTS for row in rows if row not in there} | missing_official(rows)


def shipped_rows(rows: Sequence[Row], encoder: str) -> list[Row]:
    """The rows that can be measured: references, methods whose weights are shipped, and the authors'."""
    there = fitting_names(encoder)
    return [row for row in rows if row.method not in METHODS or row.official or row.checkpoint(encoder) in there]


def method_rows(encoder: str) -> list[Row]:
    """One row for each method whose default variant has shipped weights at this width."""
    return shipped_rows([Row(TITLES[name], name) for name in METHODS], encoder)


def all_method_rows(encoder: str) -> list[Row]:
    """`method_rows`, and one row for each method whose authors' weights the user's folder has."""
    return shipped_rows(with_official([Row(TITLES[name], name) for name in METHODS]), encoder)


# DatNet's two attention arms differ by 0.008 SSIM in the paper: less than one training may differ from the next.
SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Table:
    """A quality table of a paper.

    rows      the paper's rows, then our reference rows
    ablation  whether it is measured on the smaller grid of a profile
    base      the row that differences refer to, in ablations
    grid      how many photographs and paintings the paper states; None where it does not
    """

    rows: tuple[Row, ...]
    ablation: bool = False
    base: str | None = None
    grid: tuple[int, int] | None = None

    def profile(self, sizes: Profile) -> Profile:
        """The sizes of its grid."""
        own = sizes.for_ablations() if self.ablation else sizes
        if sizes.own_grids and self.grid:
            return replace(own, contents=self.grid[0], styles=self.grid[1])
        return own


def _compared(*names: str) -> tuple[Row, ...]:
    return tuple(Row(BUILT_IN[name], name) for name in names)


def _lambdas() -> tuple[Row, ...]:
    """StyA2K for every lambda_2 that it has a variant for, in order."""
    arms = {name: variant for name, variant in METHODS["stya2k"].variants.items() if name.startswith("lambda-")}
    return tuple(Row(f"λ2 = {variant.local_feature:g}", "stya2k", name) for name, variant in arms.items())


# arXiv 2212.04105, section 4.2: 15 photographs and 20 paintings; its ablations name no pairs, Table 1's are assumed.
STYA2K_GRID = (15, 20)
# DatNet's section of experiments: 50 photographs and 20 paintings, in its ablation too.
DATNET_GRID = (50, 20)
TABLES = {
    ("StyA2K", "Table 1"): Table(
        (*_compared("stya2k", "stytr2", "adaattn", "sanet", "mst", "avatarnet", "adain"), *REFERENCES),
        grid=STYA2K_GRID,
    ),
    ("StyA2K", "Table 2"): Table(
        (
            Row("All-to-all attention", "stya2k", "all-to-all"),
            Row("w/o DA", "stya2k", "no-da"),
            Row("w/o PA", "stya2k", "no-pa"),
            Row("w/o step 1 of PA", "stya2k", "no-pa-step-1"),
            Row("w/o multiple heads", "stya2k", "one-head"),
            Row("Full model", "stya2k", continued=True),
        ),
        ablation=True,
        base="Full model",
        grid=STYA2K_GRID,
    ),
    ("StyA2K", "Table 5"): Table(
        _lambdas(),
        ablation=True,
        base="λ2 = 1.25",
        grid=STYA2K_GRID,
    ),
    ("DatNet", "Table 1"): Table(
        (*_compared("datnet", "sanet", "mccnet", "manet", "artflow", "adain", "microast"), *REFERENCES),
        grid=DATNET_GRID,
    ),
    ("DatNet", "Table 3"): Table(
        (
            *(Row("spatial attention only", "datnet", "spatial", seed=seed) for seed in SEEDS),
            *(Row("dual attention", "datnet", "dual", seed=seed) for seed in SEEDS),
            Row("full network", "datnet", continued=True),
        ),
        ablation=True,
        base="dual attention",
        grid=DATNET_GRID,
    ),
    ("DAG-Style", "Quality"): Table((*_compared("dagstyle", "stytr2"), *REFERENCES)),
    ("DAG-Style", "Ablation"): Table(
        (
            Row("Full model", "dagstyle", continued=True),
            Row("w/o DAConv", "dagstyle", "no-daconv"),
            Row("w/o GDPAttention", "dagstyle", "no-gdp"),
            Row("standard Transformer", "dagstyle", "transformer"),
            Row("w/o GDPAttention, size matched", "dagstyle", "no-gdp-matched"),
        ),
        ablation=True,
        base="Full model",
    ),
    # Not a paper's: every method side by side.
    (WORKBOOK, "All methods"): Table((*_compared(*BUILT_IN), *REFERENCES)),
}


def table(paper: str, name: str) -> Table:
    """A table of TABLES. In a comparison, rows of plugged-in methods follow the paper's.

    Raises UserError for an unknown table.
    """
    if (paper, name) not in TABLES:
        raise UserError(f"no table {paper} {name}; known are {', '.join(map(' '.join, TABLES))}")
    found = TABLES[paper, name]
    if found.ablation:
        return found
    own = tuple(row for row in found.rows if row not in REFERENCES)
    return replace(found, rows=(*own, *(Row(TITLES[method], method) for method in plugged_in()), *REFERENCES))
