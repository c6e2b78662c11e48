"""Commands that train networks: train, distil, pack-pictures."""

import argparse
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import printable
from ..profiles import Profile, training_changes
from .options import Commands, profile_option, training_folder_options


def add_train(commands: Commands) -> None:
    command = commands.add_parser(
        "train",
        help="train a method and ship its weights",
        description=(
            "Train a method; a killed run goes on where it was. Skips what checkpoints/ already holds. Weights of a"
            " method of yours (--plugin) go to build/checkpoints/. Several GPUs: under accelerate launch; several CPU"
            " processes: under torchrun, because accelerate launch --cpu starts only one."
        ),
    )
    command.add_argument(
        "--method",
        nargs="+",
        default=["all"],
        metavar="METHOD",
        help="a method or several, autoencoder, or all with the arms of their ablations (default)",
    )
    command.add_argument("--variant", help="variant of the method (default: its first)")
    command.add_argument("--encoder", choices=("student", "half", "vgg19"), help="width (default: the profile's)")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument(
        "--continued", action="store_true", help="train a trained default variant on, for as long as the ablation arms"
    )
    command.add_argument(
        "--further", action="store_true", help="train the shipped weights of one method on, and replace them"
    )
    command.add_argument(
        "--arms", action="store_true", help="also the arms of the methods' ablations and sweeps, and their other seeds"
    )
    command.add_argument(
        "--jobs",
        type=int,
        default=1,
        metavar="N",
        help="trainings at a time, each in a process with its share of the cores, all on the same card (default: 1)",
    )
    command.add_argument("--steps", type=int, help="optimiser steps (default: the profile's)")
    command.add_argument("--batch", type=int, help="images per step (default: the profile's)")
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="any other size of the training, by its name in the profile and on the cards, for example"
        " learning_rate=6e-4 (may be given several times)",
    )
    command.add_argument(
        "--skip-unreadable",
        action="store_true",
        help="leave out pictures that cannot be read, and record it (default: stop before the first step)",
    )
    profile_option(command)
    training_folder_options(command)
    command.set_defaults(run=_train)


def _train(arguments: argparse.Namespace) -> int:
    from ..methods import method_name

    for name in arguments.method:  # a mistyped name is said before torch is imported
        method_name(name, "autoencoder", "all")
    from ..training.arms import wanted_arms

    if arguments.jobs < 1:
        raise UserError(f"--jobs must be at least 1, got {arguments.jobs}")
    if len(arguments.method) > 1 and (arguments.variant or arguments.continued or arguments.further):
        raise UserError("--variant, --continued and --further belong to one method; name one")
    if arguments.further and (arguments.jobs > 1 or arguments.arms or arguments.method in (["all"], ["autoencoder"])):
        raise UserError("--further trains the weights of one method on; name one, without --arms and --jobs")
    changes = training_changes(arguments.set) | {
        name: getattr(arguments, name) for name in ("steps", "batch") if getattr(arguments, name) is not None
    }
    arms = wanted_arms(arguments.method, arguments.variant, arguments.seed, arguments.continued, arguments.arms)
    if arguments.jobs > 1 or len(arguments.method) > 1 or arguments.arms:
        return _train_in_processes(arguments, arms, changes)
    _train_here(arguments, arms, changes)
    return 0


def _train_here(arguments: argparse.Namespace, arms: list[tuple[str, str, int, bool]], changes: dict[str, Any]) -> None:
    """One training after the other, in this process."""
    from ..data.images import training_set
    from ..training.runs import Recipe, train_arms, train_further

    profile = Profile.load(arguments.profile)
    pictures = training_set("photograph", arguments.content), training_set("painting", arguments.style)
    recipe = Recipe(profile, arguments.encoder or profile.encoder, *pictures, changes)
    if arguments.further:
        train_further(arms[0], recipe, arguments.skip_unreadable)
    else:
        train_arms(arms, recipe, arguments.skip_unreadable)


def _train_in_processes(
    arguments: argparse.Namespace, arms: list[tuple[str, str, int, bool]], changes: dict[str, Any]
) -> int:
    """Several trainings at a time; returns the exit status."""
    from ..training.side_by_side import train_side_by_side, training_jobs

    width = arguments.encoder or Profile.load(arguments.profile).encoder
    options = ["--profile", arguments.profile, "--encoder", width]
    options += ["--content", *arguments.content, "--style", *arguments.style]
    options += [word for name, value in changes.items() for word in ("--set", f"{name}={value}")]
    options += ["--skip-unreadable"] * arguments.skip_unreadable
    options += [word for plugin in arguments.plugin for word in ("--plugin", str(plugin))]
    jobs = training_jobs(arms, width)
    print(f"{len(jobs)} trainings, {arguments.jobs} at a time")
    failed = train_side_by_side(jobs, arguments.jobs, options)
    return int(bool(failed))


def add_blend(commands: Commands) -> None:
    command = commands.add_parser(
        "blend",
        help="put a share of its start back into a trained network",
        description=(
            "Replace a method's shipped weights by a weighted mean of them and of those that their training started"
            " from. A decoder that has forgotten how to give a photograph back can so learn it again, without training."
        ),
    )
    command.add_argument("--method", required=True, metavar="METHOD")
    command.add_argument("--variant", help="variant of the method (default: its first)")
    command.add_argument(
        "--encoder", choices=("student", "half", "vgg19"), default="half", help="width (default: half)"
    )
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--share", type=float, default=0.5, help="of the start, between 0 and 1 (default: 0.5)")
    command.set_defaults(run=_blend)


def _blend(arguments: argparse.Namespace) -> None:
    from ..methods import check_variant, default_variant, method_name
    from ..training.ship import blend_with_start
    from ..weights.shipped import run_name

    method = method_name(arguments.method)
    check_variant(method, arguments.variant)
    name = run_name(method, arguments.variant or default_variant(method), arguments.encoder, arguments.seed)
    print(f"wrote {printable(blend_with_start(name, arguments.encoder, arguments.share))}")


def add_distil(commands: Commands) -> None:
    command = commands.add_parser(
        "distil",
        help="make a distilled encoder",
        description="Make checkpoints/encoder-NAME.safetensors.xz again; a killed run goes on where it was.",
    )
    command.add_argument(
        "--encoder",
        choices=("student", "half"),
        default="half",
        help="which: a quarter or half of VGG-19's width (default: half)",
    )
    training_folder_options(command)
    command.set_defaults(run=_distil)


def _distil(arguments: argparse.Namespace) -> None:
    from ..data.images import training_set
    from ..training.student import make_student

    make_student(
        arguments.encoder, training_set("photograph", arguments.content), training_set("painting", arguments.style)
    )


def add_pack_pictures(commands: Commands) -> None:
    command = commands.add_parser(
        "pack-pictures",
        help="put training pictures into a small folder",
        description=(
            "Write the training pictures, smaller and as JPEG, with their licences, to a folder that can be taken to"
            " another machine; train there with --content FOLDER/content --style FOLDER/style."
        ),
    )
    training_folder_options(command)
    command.add_argument("--size", type=int, default=288, metavar="PX", help="shorter side in pixels (default: 288)")
    command.add_argument(
        "--count",
        type=int,
        metavar="N",
        help="so many photographs and so many paintings, spread over all (default: all)",
    )
    command.add_argument("--out", required=True, type=Path, metavar="FOLDER", help="the new folder")
    command.set_defaults(run=_pack_pictures)


def _pack_pictures(arguments: argparse.Namespace) -> None:
    from ..data.images import spread, training_set
    from ..training.packed_pictures import pack_pictures

    sets = training_set("photograph", arguments.content), training_set("painting", arguments.style)
    if arguments.count is not None:
        sets = tuple(spread(pictures, arguments.count) for pictures in sets)
    total = pack_pictures(*sets, arguments.out, arguments.size)
    print(f"wrote {sum(map(len, sets))} pictures, {total / 1e6:.1f} MB, to {printable(arguments.out)}")
