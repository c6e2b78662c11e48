"""Options that several commands share."""

import argparse
from pathlib import Path

from ..profiles import NAMES
from ..weights.wanted import OURS, Choice

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


def network_options(command: argparse.ArgumentParser, encoder: str) -> None:
    """Options that name a network.

    encoder  the default of --encoder, as --help says it
    """
    command.add_argument("--variant", metavar="NAME", help="a variant of the method (default: its first)")
    command.add_argument(
        "--encoder", choices=("student", "half", "vgg19"), help=f"width of our weights (default: {encoder})"
    )
    command.add_argument("--seed", type=int, default=0, help="training of our weights (default: 0)")
    command.add_argument(
        "--weights",
        default="ours",
        metavar="WHOSE",
        help=(
            "ours (default); official, the authors' in the folder of REPLICATION_OFFICIAL; or a path: a folder of"
            " authors' files, or a file of weights"
        ),
    )
    command.add_argument("--device", default="cpu", help="where to compute: cpu (default), cuda, cuda:1, mps")


def network_choice(arguments: argparse.Namespace, encoder: str | None = None) -> Choice:
    """What `network_options` were given.

    encoder  of ours where none is named; None is the widest
    """
    width = arguments.encoder or (encoder if arguments.weights == OURS else None)
    return Choice(arguments.variant, width, arguments.seed, arguments.weights, arguments.device)
