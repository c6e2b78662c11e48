"""Commands that train networks: train, distil."""

import argparse

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
    command.add_argument("--method", default="all", help="a method, autoencoder, or all (default)")
    command.add_argument("--variant", help="variant of the method (default: its first)")
    command.add_argument("--encoder", choices=("student", "half", "vgg19"), help="width (default: the profile's)")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument(
        "--continued", action="store_true", help="train a trained default variant on, for as long as the ablation arms"
    )
    command.add_argument("--steps", type=int, help="optimiser steps (default: the profile's)")
    command.add_argument("--batch", type=int, help="images per step (default: the profile's)")
    command.add_argument(
        "--skip-unreadable",
        action="store_true",
        help="leave out pictures that cannot be read, and record it (default: stop before the first step)",
    )
    profile_option(command)
    training_folder_options(command)
    command.set_defaults(run=_train)


def _train(arguments: argparse.Namespace) -> None:
    from ..methods import method_name

    method_name(arguments.method, "autoencoder", "all")  # a mistyped name is said before torch is imported
    from ..training.runs import train_arms

    train_arms(
        arguments.method,
        arguments.variant,
        arguments.profile,
        arguments.encoder,
        arguments.seed,
        arguments.content,
        arguments.style,
        steps=arguments.steps,
        batch=arguments.batch,
        continued=arguments.continued,
        skip_unreadable=arguments.skip_unreadable,
    )


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
