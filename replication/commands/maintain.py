"""Commands for maintainers: what is committed is made again by these."""

import argparse
from pathlib import Path

from .options import Commands, profile_option, training_folder_options


def add_reference(commands: Commands) -> None:
    command = commands.add_parser(
        "reference",
        help="make your tables the reference, for maintainers",
        description=(
            "Copy the tables of a finished `make` to results/reference/<profile>, timings to results/reference/bench,"
            " and the figures that README shows to figures/readme."
        ),
    )
    profile_option(command)
    command.set_defaults(run=_reference)


def _reference(arguments: argparse.Namespace) -> None:
    from ..experiments.verify import renew_reference
    from ..running.notebook_states import keep_durations, reference_durations

    before = reference_durations(arguments.profile)
    folder = renew_reference(arguments.profile)
    keep_durations(arguments.profile, before)
    print(f"wrote {folder}; `make readme` puts it into README.md")


def add_readme(commands: Commands) -> None:
    command = commands.add_parser(
        "readme",
        help="put tables into README.md",
        description="Write the tables of README.md, headline and verdicts, from results/reference/cpu.",
    )
    command.set_defaults(run=_readme)


def _readme(arguments: argparse.Namespace) -> None:
    from ..report.readme import write_readme

    write_readme()


def add_pack(commands: Commands) -> None:
    command = commands.add_parser(
        "pack",
        help="store the shipped weights as 8-bit integers, for maintainers",
        description=(
            "Rewrite the methods' weights in checkpoints/ as 8-bit integers with one scale per output channel, half as"
            " large, and those that went on from others as steps from them. It changes results a little, so the"
            " reference has to be renewed afterwards."
        ),
    )
    command.add_argument("--encoder", choices=("student", "half"), default="student", help="width (default: student)")
    command.set_defaults(run=_pack)


def _pack(arguments: argparse.Namespace) -> None:
    from ..training.ship import pack_shipped

    before, after = pack_shipped(arguments.encoder)
    print(
        f"{before / 1e6:.1f} MB before, {after / 1e6:.1f} MB after; run `make` and `make reference` to renew the tables"
    )


def add_scales(commands: Commands) -> None:
    command = commands.add_parser(
        "scales",
        help="measure VGG-19's normalisation",
        description="Make checkpoints/vgg19-scales.safetensors again, from photographs.",
    )
    command.add_argument("--content", nargs="+", required=True, metavar="FOLDER", help="folders of photographs")
    command.set_defaults(run=_scales)


def _scales(arguments: argparse.Namespace) -> None:
    from ..data.images import training_set
    from ..training.student import measure_scales

    measure_scales(training_set("photograph", arguments.content))


def add_fit_lpips(commands: Commands) -> None:
    command = commands.add_parser(
        "fit-lpips",
        help="fit the LPIPS substitute",
        description="Fit checkpoints/lpips-substitute.safetensors.xz again, against LPIPS-SqueezeNet.",
    )
    command.add_argument(
        "--squeezenet",
        required=True,
        type=Path,
        metavar="FILE",
        help="torchvision's squeezenet1_1 features as a state dictionary",
    )
    training_folder_options(command)
    command.set_defaults(run=_fit_lpips)


def _fit_lpips(arguments: argparse.Namespace) -> None:
    from ..data.images import training_set
    from ..training.lpips_substitute import fit_substitute

    fit_substitute(
        training_set("photograph", arguments.content), training_set("painting", arguments.style), arguments.squeezenet
    )


def add_layout(commands: Commands) -> None:
    command = commands.add_parser(
        "layout",
        help="list the package's folders and what they import",
        description="List the folders from low to high with what each imports; exit status 1 when an import goes up.",
    )
    command.set_defaults(run=_layout)


def _layout(_: argparse.Namespace) -> int:
    from .. import sources

    print(sources.listing())
    wrong = [f"{module} imports {other}, which stands above it" for module, other in sources.upward_imports()]
    wrong += [f"a circle: {' -> '.join(sources.circle())}"] if sources.circle() else []
    print("\n".join(wrong) or "every import goes down, none in a circle")
    return 1 if wrong else 0
