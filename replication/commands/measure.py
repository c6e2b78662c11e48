"""Commands that measure methods: evaluate, benchmark, official."""

import argparse

from ..files import official_folder
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


def add_official(commands: Commands) -> None:
    command = commands.add_parser(
        "official",
        help="list the authors' weights in a folder of yours",
        description=(
            "List the authors' weights that a folder holds, by method: found with sha256 and licence, missing, or wrong"
            " and what is wrong. Where they are complete, run and evaluate give them rows of their own."
        ),
    )
    official_option(command)
    command.set_defaults(run=_official)


def _official(_: argparse.Namespace) -> None:
    folder = official_folder()
    from ..weights.official_folder import listing

    print(listing(folder))
