"""Sheets of pictures: rows of a table side by side, one row's results, its best and worst pairs."""

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from .. import plots
from ..data.images import Picture, contents, spread, styles
from ..papers.rows import Row
from ..profiles import Profile
from .grid import Gallery
from .health import known_health, weak_rows


def _weak(rows: Sequence[Row], profile: Profile) -> dict[str, str]:
    """Why rows are not good enough, by name, of those that are not."""
    return weak_rows(rows, profile.encoder, known_health(profile.name))


def contact_sheet(rows: Sequence[Row], profile: Profile) -> Figure:
    """Photograph, painting and every row's result, one line per content, each content with another style.

    Names of rows whose networks are not good enough end in a dagger, here and below.
    """
    paintings = styles(profile.styles)
    pairs = [
        (photograph, paintings[index % len(paintings)]) for index, photograph in enumerate(contents(profile.contents))
    ]
    return _pairs_sheet(pairs, rows, profile)


def _pairs_sheet(
    pairs: Sequence[tuple[Picture, Picture]],
    rows: Sequence[Row],
    profile: Profile,
    titles: Sequence[str] = (),
    side: float = 2.2,
) -> Figure:
    gallery = Gallery(rows, profile)
    lines = [
        [*(picture.tensor(profile.size) for picture in pair), *(gallery.picture(row, *pair) for row in rows)]
        for pair in pairs
    ]
    names = plots.mark_weak([row.name for row in rows], _weak(rows, profile))
    return plots.image_grid(lines, ["photograph", "painting", *names], titles, side=side)


def health_sheet(networks: Mapping[str, Row], reasons: Mapping[str, str], profile: Profile) -> Figure:
    """One pair, stylised by every network: the first photograph and the second painting, which come first.

    reasons  why networks are not good enough, by name
    """
    gallery = Gallery(list(networks.values()), profile)
    pair = contents(1)[0], styles(profile.styles)[min(1, profile.styles - 1)]
    shown = {"photograph": pair[0].tensor(profile.size), "painting": pair[1].tensor(profile.size)}
    return plots.labelled(shown | {name: gallery.picture(row, *pair) for name, row in networks.items()}, reasons)


def method_sheet(row: Row, profile: Profile, count: int = 8, photographs: slice = slice(None)) -> Figure:
    """Photographs (lines) and paintings (columns), at most `count` of each, in the first column and line.

    photographs  which of them to show
    """
    gallery = Gallery([row], profile)
    chosen, paintings = contents(min(count, profile.contents))[photographs], spread(styles(profile.styles), count)
    lines: list[list[Tensor | None]] = [[None, *(painting.tensor(profile.size) for painting in paintings)]]
    lines += [
        [photograph.tensor(profile.size), *(gallery.picture(row, photograph, painting) for painting in paintings)]
        for photograph in chosen
    ]
    return plots.mosaic(lines, plots.mark_weak([row.name], _weak([row], profile))[0])


def best_and_worst(row: Row, cells: pd.DataFrame, profile: Profile, count: int = 3) -> Figure:
    """The pairs of a row with the smallest and the largest sum of two ranks, of content loss and of style loss."""
    own = cells[cells.row == row.name]
    ranked = own.assign(rank=own.content_loss.rank() + own.style_loss.rank()).sort_values("rank", kind="stable")
    chosen = [*ranked.head(count).itertuples(), *ranked.tail(count).itertuples()]
    photographs, paintings = (
        {picture.name: picture for picture in pictures}
        for pictures in (contents(profile.contents), styles(profile.styles))
    )
    pairs = [(photographs[cell.content], paintings[cell.style]) for cell in chosen]
    kinds = ["best"] * min(count, len(ranked)) + ["worst"] * min(count, len(ranked))
    titles = [
        f"{kind}: content {cell.content_loss:.2f}\nstyle {cell.style_loss:.1f}"
        for kind, cell in zip(kinds, chosen, strict=True)
    ]
    return _pairs_sheet(pairs, [row], profile, titles, side=1.6)
