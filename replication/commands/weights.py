"""Commands for networks that others published: official, fetch."""

import argparse
from pathlib import Path

from ..files import OFFICIAL, official_folder, printable
from .options import Commands, official_option


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
    folder = official_folder()  # a mistyped one is said before torch is imported
    from ..weights.official_folder import listing

    print(listing(folder))


def add_fetch(commands: Commands) -> None:
    command = commands.add_parser(
        "fetch",
        help="download published networks",
        description=(
            "Download networks that their authors published, and say how to get those that want a browser. Without a"
            " name, list what there is, with licence and size, and open no connection. This is the only command that"
            " uses the network; proxies are those of the environment. A download that broke off goes on where it"
            " stopped."
        ),
    )
    command.add_argument(
        "names", nargs="*", metavar="WHAT", help="a method, vgg, alexnet, vgg16, vgg19, squeezenet, inception, …"
    )
    command.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="where to keep them (default: the folder of REPLICATION_OFFICIAL, else official/ in the project)",
    )
    command.set_defaults(run=_fetch)


def _fetch(arguments: argparse.Namespace) -> int:
    from ..weights import fetch
    from ..weights.backbones import fetched_folder
    from ..weights.catalogue import CATALOGUE

    folder = (arguments.out or fetched_folder()).absolute()
    print("\n".join(fetch.describe(name) for name in arguments.names or CATALOGUE), flush=True)
    variables, by_hand = {}, []
    for name in arguments.names:
        paths = fetch.fetch(name, folder, lambda line: print(line, flush=True))
        by_hand += filter(None, [fetch.by_hand(name, folder)])
        variable = fetch.entry(name).variable
        if variable:
            variables[variable] = folder if variable == OFFICIAL else paths[0]
    print("\n".join([*by_hand, *(f"export {name}={printable(path)}" for name, path in variables.items())]))
    return int(bool(by_hand))
