"""Commands that execute notebooks and show what they made: run, status, tables, report, crate, verify, study."""

import argparse
from pathlib import Path

from ..errors import UserError
from ..files import printable
from .options import Commands, official_option, profile_option


def add_run(commands: Commands) -> None:
    command = commands.add_parser(
        "run",
        help="execute notebooks",
        description=(
            "Execute notebooks with papermill: unknown parameters are errors, finished notebooks are skipped, the first"
            " failing cell stops the run with its traceback."
        ),
    )
    command.add_argument(
        "notebooks", nargs="*", type=Path, metavar="NOTEBOOK", help="notebooks to run (default: all, in order)"
    )
    profile_option(command)
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="replace a value of the notebook's parameters cell; may be given several times",
    )
    command.add_argument(
        "--table",
        action="append",
        default=[],
        metavar="NAME",
        help="run what makes this table, for example 'StyA2K Table 1'; may be given several times",
    )
    command.add_argument("--dry-run", action="store_true", help="only say which notebooks would run, and why")
    command.add_argument(
        "--jobs",
        type=int,
        default=1,
        metavar="N",
        help="notebooks at a time, each with its share of the cores; one that measures times runs alone (default: 1)",
    )
    official_option(command)
    command.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    from ..files import ROOT, official_folder
    from ..papers.makers import notebooks_for
    from ..running.run_notebooks import run_notebooks

    if arguments.jobs < 1:
        raise UserError(f"--jobs {arguments.jobs}: it must be at least 1")
    official_folder()  # a mistyped one is said before anything runs
    made = [ROOT / "notebooks" / f"{name}.ipynb" for name in notebooks_for(arguments.table)] if arguments.table else []
    run_notebooks([*made, *arguments.notebooks], arguments.profile, arguments.set, arguments.dry_run, arguments.jobs)


def add_status(commands: Commands) -> None:
    command = commands.add_parser(
        "status",
        help="say what is current",
        description=(
            "For every notebook and the tables that it makes: current, stale and because of which file, or missing;"
            " and how long it took last time. Exit status 1 when something is not current."
        ),
    )
    profile_option(command)
    command.set_defaults(run=_status)


def _status(arguments: argparse.Namespace) -> int:
    from ..running.status import status

    lines, current = status(arguments.profile)
    print("\n".join(lines))
    return int(not current)


def add_tables(commands: Commands) -> None:
    command = commands.add_parser(
        "tables",
        help="write tables as CSV, Markdown, LaTeX and HTML",
        description=(
            "Write the tables of a profile as people read them: CSV, Markdown, LaTeX (booktabs) and HTML, to"
            " build/tables/<profile>/."
        ),
    )
    profile_option(command)
    command.add_argument(
        "--table",
        action="append",
        default=[],
        metavar="NAME",
        help="only this table, for example 'StyA2K Table 1'; may be given several times (default: all)",
    )
    command.add_argument(
        "--reference", action="store_true", help="the tables that come with the project, not those that were made here"
    )
    command.add_argument("--out", type=Path, metavar="FOLDER", help="where to write (default: build/tables/<profile>)")
    command.set_defaults(run=_tables)


def _tables(arguments: argparse.Namespace) -> None:
    from ..files import build_dir
    from ..papers.makers import find_table

    for name in arguments.table:
        find_table(name)  # a mistyped one is said before torch is imported
    from ..report.table_forms import write_tables

    folder = arguments.out or build_dir() / "tables" / arguments.profile
    written = write_tables(arguments.profile, arguments.table, folder, arguments.reference)
    print(f"wrote {len(written)} files to {printable(folder)}")


def add_report(commands: Commands) -> None:
    command = commands.add_parser(
        "report",
        help="write everything as a static site",
        description=(
            "Write build/report/<profile>/index.html: executed notebooks, tables, figures, ledger, models and"
            " provenance as pages that open without server or network."
        ),
    )
    profile_option(command)
    command.set_defaults(run=_report)


def _report(arguments: argparse.Namespace) -> None:
    from ..report.site import build_site

    print(f"wrote {build_site(arguments.profile)}")


def add_crate(commands: Commands) -> None:
    command = commands.add_parser(
        "crate",
        help="write everything as a folder to deposit",
        description=(
            "Write build/crate/<profile>/, an RO-Crate 1.1: tables, figures as PNG and PDF, executed notebooks, and"
            " ro-crate-metadata.json with licence, papers, commit, versions and hardware."
        ),
    )
    profile_option(command)
    command.set_defaults(run=_crate)


def _crate(arguments: argparse.Namespace) -> None:
    from ..report.crate import write_crate

    print(f"wrote {printable(write_crate(arguments.profile))}")


def add_verify(commands: Commands) -> None:
    command = commands.add_parser(
        "verify",
        help="set your tables beside the reference",
        description=(
            "Compare results/<profile> with the committed results/reference/<profile>, table by table. Exit status 1"
            " when something that should agree does not; times are never compared."
        ),
    )
    profile_option(command)
    command.set_defaults(run=_verify)


def _verify(arguments: argparse.Namespace) -> int:
    from ..experiments.verify import sentence, verify

    found = verify(arguments.profile)
    for one in found:
        print(f"{one.table}: {one.status}")
        for detail in one.details:
            print(f"    {detail}")
    print(sentence(found, arguments.profile))
    return int(any(one.fails for one in found))


def add_study(commands: Commands) -> None:
    command = commands.add_parser(
        "study",
        help="write the voting page of the user study",
        description=(
            "Write build/study/<profile>/vote.html, a blind voting page that works offline, and key.json, which says"
            " what its options are."
        ),
    )
    profile_option(command)
    command.set_defaults(run=_study)


def _study(arguments: argparse.Namespace) -> None:
    from ..experiments.user_study import write_study
    from ..files import build_dir
    from ..papers.rows import shipped_rows, table
    from ..profiles import Profile

    sizes = Profile.load(arguments.profile)
    rows = [
        row
        for row in shipped_rows(table("StyA2K", "Table 1").rows, sizes.encoder)
        if row.alpha is None and row.method not in ("content", "style")
    ]
    page = write_study(rows, sizes, build_dir() / "study" / sizes.name)
    print(f"wrote {page}; keep key.json beside it to yourself, it says which method is which")
