"""Options that several commands share."""

import argparse
from pathlib import Path

from ..profiles import NAMES

Commands = argparse._SubParsersAction


def profile_option(command: argparse.ArgumentParser) -> None:
    command.add_argument("--profile", choices=NAMES, default="cpu", help="sizes to use (default: cpu)")


def training_folder_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--content",
        nargs="+",
        default=["builtin"],
        metavar="FOLDER",
        help="folders of photographs to train on; 'builtin' is the set that pip packages carry (default)",
    )
    command.add_argument(
        "--style",
        nargs="+",
        default=["builtin"],
        metavar="FOLDER",
        help="folders of paintings to train on; 'builtin' likewise (default)",
    )


def official_option(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--official",
        type=Path,
        metavar="FOLDER",
        help="the folder with the authors' weights, at any depth (default: that of REPLICATION_OFFICIAL, or none)",
    )
