"""Is a network good enough to say anything about its method? The same measures and limits for all of them.

Measured on a profile's grid, C photographs by S paintings, in CIELAB:

    reconstruction  photographs stylised with themselves: root mean square error in 255ths, mean over photographs
    chroma, luma    response to the painting: slope of the result's mean chroma, or mean L, on the painting's, within a
                    photograph and pooled over photographs,
                        sum_cs (y_cs - y_c)(x_s - x) / (C sum_s (x_s - x)^2);
                    1 takes the painting's, 0 ignores it
    photograph      response to the photograph: r(a, b) is the correlation of the L of two images on GRID by GRID means,
                        mean_cs [r(y_cs, p_c) - mean_{d != c} r(y_cs, p_d)] / mean_{c, d != c} [1 - r(p_c, p_d)];
                    1 when every result has its photograph's light and dark, 0 when it has none of it
    gain            of a tenth of training, from the card's loss curve: the fall per tenth of the least-squares line
                    through its second half, as a share of the half's mean; nothing for a network not trained here.
                    Pairs are drawn at random, so it has a standard error: 2 % for 300 steps, 0.5 % for 3000. For the
                    mean of the last tenth against that of the tenth before it would be 8 % and 2 %

A network that misses one of LIMITS is not good enough: its rows are marked in every table, and the ledger decides no
claim on them. No method is exempt, not even one whose paper shows weak colours. Colours, light and dark are asked for,
texture is not: a network that only recolours the photograph passes. Limits:

    reconstruction at most 30, chroma and luma at least 0.6, photograph at least 0.5, gain at most 3 %

All but the last follow from the authors' own weights of AdaIN and MicroAST, measured alike on 8 x 8 pictures at 256 px;
LIMITS gives each one's reason. They are not moved to let a network of ours pass.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Float
from skimage.color import rgb2lab
from torch import Tensor

from .. import files
from ..data.images import Picture, contents, styles, to_uint8
from ..errors import UserError
from ..papers.rows import TABLES, Row, all_method_rows, with_official
from ..profiles import Profile
from ..sources import source_hash
from ..weights.shipped import fitting_names, has_card, model_card, run_name
from . import tables
from .cells import Cell, device, measure_missing
from .grid import Stylist, row_key

# Side of the grid of means on which light and dark of two images are compared.
GRID = 16
# A slope below this is called ignoring the painting.
IGNORES = 0.1

# Stem of the table's file.
NAME = "health"
UNMEASURED = "health not measured, run notebook 05_health"

# A picture with its image (1, 3, h, w).
Shown = tuple[Picture, Tensor]


@dataclass(frozen=True)
class Limit:
    """The worst value of a measure that is good enough.

    value   the largest value when `most`, else the smallest
    fault   what a network that misses it does, with a place for its value
    """

    value: float
    most: bool
    fault: str

    def missed(self, value: float) -> bool:
        """Whether a value is on the wrong side; one that is not known is."""
        return not (value <= self.value if self.most else value >= self.value)


LIMITS = {
    # The authors' AdaIN has 24.2 and their MicroAST 20.7: 1.25 times the worse of them.
    "reconstruction": Limit(30.0, True, "does not give photographs back (error {:.1f} of 255)"),
    # The authors' have 0.90 and 1.14: two thirds of the worse of them.
    "chroma": Limit(0.6, False, "takes too little of the painting (chroma slope {:.3f})"),
    # The authors' have 0.89 and 1.00: two thirds of the worse of them.
    "luma": Limit(0.6, False, "takes too little of the painting (luma slope {:.3f})"),
    # The authors' have 0.87 and 0.81: two thirds of the worse of them, rounded down.
    "photograph": Limit(0.5, False, "keeps too little of the photograph (response {:.3f})"),
    # Nothing is published about curves: a training that still gains this much in a tenth is not at its end.
    "gain": Limit(0.03, True, "was still learning ({:.1%} a tenth of the training)"),
}


@dataclass(frozen=True)
class Health:
    """The measures of a network, see the head of this file.

    NaN where one cannot be measured; `gain` is None where there is none.
    """

    reconstruction: float
    chroma: float
    luma: float
    photograph: float
    gain: float | None = None

    @property
    def reason(self) -> str:
        """Why it is not good enough, in few words; empty when it is."""
        missed = {
            name: value for name, value in asdict(self).items() if value is not None and LIMITS[name].missed(value)
        }
        slopes = {name: value for name, value in missed.items() if name in ("chroma", "luma")}
        worst = min(slopes, key=lambda name: slopes[name], default=None)
        faults = []
        for name, value in missed.items():
            if name in slopes and name != worst:
                continue  # one sentence about the painting is enough
            if np.isnan(value):
                faults.append(f"{name} cannot be measured on these pictures")
            elif name == worst and value < IGNORES:
                faults.append(f"ignores the painting ({name} slope {value:.3f})")
            else:
                faults.append(LIMITS[name].fault.format(value))
        return ", ".join(faults)


COLUMNS = ["network", "rows", *(field.name for field in fields(Health)), "healthy", "reason"]


def lightness(image: Float[Tensor, "1 3 h w"]) -> tuple[float, float, np.ndarray]:
    """Mean CIELAB chroma, mean L, and L as GRID by GRID means."""
    lab = rgb2lab(to_uint8(image[0].clamp(0, 1)))
    coarse = F.adaptive_avg_pool2d(torch.from_numpy(lab[None, None, ..., 0]), GRID)
    return float(np.hypot(lab[..., 1], lab[..., 2]).mean()), float(lab[..., 0].mean()), coarse.flatten().numpy()


def slope(results: Float[np.ndarray, "contents styles"], paintings: Float[np.ndarray, " styles"]) -> float:
    """Slope of results on paintings within a photograph, pooled; NaN when all paintings are alike."""
    y, x = results - results.mean(axis=1, keepdims=True), paintings - paintings.mean()
    spread = len(y) * np.square(x).sum()
    return float((y * x).sum() / spread) if spread else np.nan


def correlation(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"]) -> float:
    """Of two images' light and dark; 0 where one of them is of one lightness."""
    a, b = a - a.mean(), b - b.mean()
    size = np.sqrt(np.square(a).sum() * np.square(b).sum())
    return float((a * b).sum() / size) if size > 0 else 0.0


def gain(losses: Sequence[float]) -> float | None:
    """Share of its mean by which the loss falls in a tenth of training; None for fewer than ten numbers.

    From the least-squares line through its second half, whose first and last number count as five tenths apart.
    """
    if len(losses) < 10:
        return None
    half = np.asarray(losses[len(losses) // 2 :])
    slope, _ = np.polyfit(np.linspace(0, 5, len(half)), half, 1)
    return float(-slope / half.mean())


def measure_photograph(
    stylise: Callable[[Shown, Shown], Tensor], number: int, photographs: Sequence[Shown], paintings: Sequence[Shown]
) -> dict[str, Any]:
    """What a network does to one photograph.

    stylise  the result (1, 3, h, w) for a photograph and a painting
    number   of the photograph

    Returns rms, in 255ths, of the photograph with itself; and for every painting the result's chroma and luma, and
    `own`, how much more it correlates with its photograph than, on the mean, with the others.
    """
    photograph = photographs[number]
    rms = 255 * (stylise(photograph, photograph).clamp(0, 1) - photograph[1]).square().mean().sqrt()
    coarse = [lightness(image)[2] for _, image in photographs]
    found: dict[str, Any] = {"rms": rms, "chroma": [], "luma": [], "own": []}
    for painting in paintings:
        chroma, luma, seen = lightness(stylise(photograph, painting))
        near = [correlation(seen, other) for other in coarse]
        own = near.pop(number)
        found["chroma"].append(chroma)
        found["luma"].append(luma)
        found["own"].append(own - float(np.mean(near)) if near else None)
    return found


def summarise(
    found: Sequence[Mapping[str, Any]],
    photographs: Sequence[Shown],
    paintings: Sequence[Shown],
    losses: Sequence[float],
) -> Health:
    """Health from `measure_photograph` of every photograph.

    losses  of training, at equal distances
    """
    shown = [lightness(image) for _, image in paintings]
    coarse = [lightness(image)[2] for _, image in photographs]
    apart = [1 - correlation(a, b) for i, a in enumerate(coarse) for j, b in enumerate(coarse) if i != j]
    own = np.array([line["own"] for line in found], dtype=float)
    return Health(
        reconstruction=float(np.array([line["rms"] for line in found], dtype=float).mean()),
        chroma=slope(
            np.array([line["chroma"] for line in found], dtype=float), np.array([chroma for chroma, *_ in shown])
        ),
        luma=slope(np.array([line["luma"] for line in found], dtype=float), np.array([luma for _, luma, _ in shown])),
        photograph=float(own.mean() / np.mean(apart)) if apart else np.nan,
        gain=gain(losses),
    )


def shipped_networks(encoder: str) -> dict[str, Row]:
    """Every trained network that a width's tables stand on, by the name of its weights, as a row of that name."""
    found = {}
    for name in fitting_names(encoder):
        facts = model_card(name)
        arm = facts["method"], facts["variant"]
        seed = facts.get("seed") or 0
        continued = name == run_name(*arm, facts["encoder"], seed, continued=True)
        found[name] = Row(name, *arm, seed=seed, continued=continued)
    return found


def all_networks(encoder: str) -> dict[str, Row]:
    """`shipped_networks`, and those with the authors' weights of the user's folder, whose names end in "official"."""
    authors = [row for row in all_method_rows(encoder) if row.official]
    return shipped_networks(encoder) | {row.checkpoint(encoder): row for row in authors}


def measure_health(networks: Mapping[str, Row], profile: Profile) -> dict[str, Health]:
    """Health of networks, by name; computes what is not stored. Raises UserError for a damaged cell."""
    where = device()

    @cache
    def look(picture: Picture) -> Shown:
        return picture, picture.tensor(profile.size)[None].to(where)

    chosen = contents(profile.contents), styles(profile.styles)

    def measure(stylist: Stylist, number: int, _: Path) -> dict[str, Any]:
        return measure_photograph(stylist.stylise, number, *([look(picture) for picture in part] for part in chosen))

    def cells() -> Iterator[Cell]:
        common = {
            "measured_by": source_hash(measure_photograph, Stylist),
            "size": profile.size,
            "contents": [picture.sha256 for picture in chosen[0]],
            "styles": [picture.sha256 for picture in chosen[1]],
        }
        for name, row in networks.items():
            stylist = Stylist(row, profile.encoder, where)
            for number, picture in enumerate(chosen[0]):
                key = {**common, **row_key(row, profile.encoder), "health": picture.sha256}
                yield Cell({"network": name}, key, partial(measure, stylist, number), group=name)

    frame = measure_missing(cells(), "health")
    pictures = [[look(picture) for picture in part] for part in chosen]
    return {
        name: summarise(
            frame[frame.network == name].to_dict("records"),
            *pictures,
            [] if row.official else [point["loss"] for point in model_card(name).get("loss_curve", [])],
        )
        for name, row in networks.items()
    }


def rows_on(networks: Mapping[str, Row], encoder: str) -> dict[str, list[str]]:
    """Names of the rows of the papers' tables that stand on each network."""
    found: dict[str, dict[str, None]] = {name: {} for name in networks}
    for wanted in TABLES.values():
        for row in with_official(wanted.rows):
            if row.method not in ("content", "style") and row.checkpoint(encoder) in found:
                found[row.checkpoint(encoder)][row.name] = None
    return {name: list(rows) for name, rows in found.items()}


def health_table(profile: Profile) -> pd.DataFrame:
    """Every network of the profile's width, and the authors', with its measures; results/<profile>/health.csv.

    Columns: network; rows, of the papers' tables, that stand on it; the measures; healthy; reason, when it is not.
    """
    networks = all_networks(profile.encoder)
    rows = rows_on(networks, profile.encoder)
    lines = [
        {
            "network": name,
            "rows": " | ".join(rows[name]),
            **asdict(found),
            "healthy": not found.reason,
            "reason": found.reason,
        }
        for name, found in measure_health(networks, profile).items()
    ]
    frame = pd.DataFrame(lines, columns=COLUMNS)
    facts = [{"name": name, **row_key(row, profile.encoder)} for name, row in networks.items()]
    limits = {name: f"at {'most' if limit.most else 'least'} {limit.value:g}" for name, limit in LIMITS.items()}
    sizes = {"size": profile.size, "contents": profile.contents, "styles": profile.styles}
    tables.write_results(frame, NAME, profile, limits=limits, rows=facts, **sizes)
    return frame


def read_health(folder: Path) -> dict[str, str]:
    """Why each network of a folder of results is not good enough, by its name; empty for a healthy one.

    Without a table no network is known. Raises UserError for a damaged table.
    """
    path = folder / f"{NAME}.csv"
    if not path.is_file():
        return {}
    try:
        frame = pd.read_csv(path, keep_default_na=False)
        return dict(zip(frame.network, frame.reason, strict=True))
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, AttributeError) as error:
        raise UserError(f"{path} is damaged ({error}); remove it and run `make` again") from error


def known_health(profile: str) -> dict[str, str]:
    """`read_health` of the results that were made here; before notebook 05_health has run, of the reference.

    Of the reference only what was measured of the very weights that are there now.
    """
    made = read_health(files.RESULTS / profile)
    folder = files.reference_results(profile)
    if made or not (folder / f"{NAME}.csv").is_file():
        return made
    facts = files.read_object(folder / f"{NAME}.json", "restore it with git")
    measured = {row["checkpoint"]: row["weights"] for row in facts["rows"]}
    there = {name: model_card(name)["sha256"] for name in measured if has_card(name)}
    return {name: reason for name, reason in read_health(folder).items() if measured.get(name) == there.get(name, "")}


def weak_rows(rows: Sequence[Row], encoder: str, health: Mapping[str, str]) -> dict[str, str]:
    """Why rows are not good enough, by name, of those that are not.

    rows    of one table; those of one name are its trainings, and images have no network that could be wanting
    health  of `read_health`; a network that it does not know is not good enough
    """
    found: dict[str, dict[str, None]] = {}
    for row in rows:
        reason = "" if row.method in ("content", "style") else health.get(row.checkpoint(encoder), UNMEASURED)
        if reason:
            found.setdefault(row.name, {})[reason] = None
    return {name: ", ".join(reasons) for name, reasons in found.items()}
