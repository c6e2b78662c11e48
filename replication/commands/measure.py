"""Commands that measure methods and pictures: evaluate, score, benchmark."""

import argparse
import sys
from pathlib import Path

from ..files import official_folder, printable
from .options import Commands, official_option, profile_option


def add_evaluate(commands: Commands) -> None:
    command = commands.add_parser(
        "evaluate",
        help="measure the grid of a profile",
        description=(
            "Measure every method and reference row on a profile's grid; stored cells are kept. Under accelerate launch"
            " several processes share the work."
        ),
    )
    profile_option(command)
    official_option(command)
    command.set_defaults(run=_evaluate)


def _evaluate(arguments: argparse.Namespace) -> None:
    official_folder()  # a mistyped one is said before torch is imported
    from ..evaluation.grid import measure_grid
    from ..papers.rows import REFERENCES, all_method_rows
    from ..profiles import Profile

    profile = Profile.load(arguments.profile)
    cells = measure_grid([*all_method_rows(profile.encoder), *REFERENCES], profile)
    print(cells.drop(columns=["content", "style"]).groupby("row", sort=False).mean().round(4).to_string())


def add_score(commands: Commands) -> None:
    command = commands.add_parser(
        "score",
        help="measure pictures of any method",
        description=(
            "Measure a folder of results, whatever made them, with every metric and its interval. Their names say which"
            " photograph and painting they are of: {content}_stylized_{style} and the other usual ways are recognised."
            " Writes results/scores/NAME.csv, .json and .cells.csv, and the table for a paper (CSV, Markdown, LaTeX,"
            " HTML) to build/tables/scores/. Notebook 60 sets the row beside ours when the pictures are those of its"
            " grid."
        ),
    )
    for role, meant in (("content", "photographs"), ("style", "paintings"), ("result", "results")):
        command.add_argument(f"--{role}", required=True, type=Path, metavar="FOLDER", help=f"the folder of {meant}")
    command.add_argument("--name", help="what the row is called (default: the name of the folder of results)")
    command.add_argument(
        "--pattern",
        metavar="NAMES",
        help=(
            "how results are named, without ending, for example 'out_{style}_{content}_*'; with a slash, their folders"
            " too (default: the usual way that fits most)"
        ),
    )
    command.add_argument(
        "--stretch",
        action="store_true",
        help="the method distorted photographs and paintings to the results' size (default: they are cut to it)",
    )
    command.set_defaults(run=_score)


def _score(arguments: argparse.Namespace) -> int:
    from ..evaluation.score import as_lines, score
    from ..files import build_dir
    from ..report.table_forms import FORMS, write_grids

    found = score(
        arguments.content, arguments.style, arguments.result, arguments.name, arguments.pattern, arguments.stretch
    )
    pairs, left = len(found.pairing.triples), found.pairing.unmatched
    header, lines = as_lines(found.frame)
    widths = [max(map(len, column)) for column in zip(header, *lines, strict=True)]
    for line in (header, *lines):
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    title = f"{found.name}: means over {pairs} results, 95 % intervals"
    forms = write_grids(
        dict.fromkeys(FORMS, (header, lines)), title, "", build_dir() / "tables" / "scores", found.path.stem
    )
    print(f"{pairs} results named {found.pairing.pattern}; wrote {printable(found.path)}, {printable(forms[2])}")
    if left:
        print(f"{len(left)} pictures are named otherwise and were left out: {', '.join(left[:5])}", file=sys.stderr)
    return int(bool(left))


def add_benchmark(commands: Commands) -> None:
    command = commands.add_parser(
        "benchmark",
        help="measure parameters, operations, latency and memory",
        description=(
            "Measure every method at VGG-19 width and write results/bench/<hardware and versions>.csv; measurements"
            " already stored are kept."
        ),
    )
    profile_option(command)
    command.set_defaults(run=_benchmark)


def _benchmark(arguments: argparse.Namespace) -> None:
    from ..evaluation import benchmark
    from ..profiles import Profile

    frame = benchmark.benchmark(Profile.load(arguments.profile).benchmark)
    print(frame[["row", "size", "device", "parameters", "macs", "seconds", "peak_mib"]].to_string(index=False))
    print(f"wrote {benchmark.write_benchmark(frame)}")
