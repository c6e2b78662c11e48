"""Command line: python -m replication COMMAND --help."""

import argparse
import io
import os
import sys
from pathlib import Path

from .commands import maintain, measure, notebooks, pictures, train, weights
from .errors import UserError, is_out_of_memory
from .files import OFFICIAL, make_places_absolute
from .plugins import add_plugins

EXIT_STATUS = (
    "Exit status: 0 when all is well; 1 when the command ran and something is not as asked, which it names (a picture"
    " that failed, a table that differs, a notebook that is not current, an import that goes up); 2 for a mistake in"
    " the command, a file or the setup, and for a notebook that stopped; 130 after Ctrl-C; 141 when nobody reads"
    " the output any more, as behind `| head`."
)
DESCRIPTION = "Replication workbook for attention-based arbitrary style transfer."


# In the order in which `--help` lists them.
COMMANDS = (
    pictures.add_stylise,
    pictures.add_explore,
    notebooks.add_run,
    notebooks.add_status,
    measure.add_evaluate,
    measure.add_score,
    train.add_train,
    measure.add_benchmark,
    notebooks.add_study,
    notebooks.add_tables,
    notebooks.add_report,
    notebooks.add_crate,
    maintain.add_readme,
    notebooks.add_verify,
    maintain.add_reference,
    maintain.add_pack,
    maintain.add_layout,
    weights.add_official,
    weights.add_fetch,
    maintain.add_scales,
    train.add_blend,
    train.add_distil,
    train.add_pack_pictures,
    maintain.add_fit_lpips,
)


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(prog="python -m replication", description=DESCRIPTION, epilog=EXIT_STATUS)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in COMMANDS:
        add(commands)
    for command in commands.choices.values():
        command.add_argument(
            "--plugin",
            action="append",
            default=[],
            type=Path,
            metavar="FILE",
            help="a Python file with a method of yours, see CONTRIBUTING.md; may be given several times",
        )
    return top


def main(argv: list[str] | None = None) -> int:
    """Run a command and return its exit status; a user's mistake prints one line and returns 2."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # a letter that the encoding lacks must not end a command
    arguments = parser().parse_args(argv)
    if getattr(arguments, "official", None):
        os.environ[OFFICIAL] = str(arguments.official)
    make_places_absolute()
    try:
        add_plugins(arguments.plugin)
        if arguments.plugin:
            from .methods import METHODS

            len(METHODS)  # a plug-in that cannot be used is said before anything else
        status = arguments.run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # `| head` has read enough; what Python flushes at its end goes nowhere, or it would print a traceback.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        print(
            "error: this needs more memory than there is; take smaller images (--size, --profile) or batches (--batch),"
            " or end other programs",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        print("stopped; run the same command again to go on", file=sys.stderr)
        return 130
    return status or 0


if __name__ == "__main__":
    sys.exit(main())
