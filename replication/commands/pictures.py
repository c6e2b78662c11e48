"""Commands for a person's own pictures: stylise, explore."""

import argparse
import itertools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError
from ..files import printable
from .options import Commands, network_choice, network_options

if TYPE_CHECKING:  # `--help` need not wait for image libraries
    from ..stylise import jobs


def add_stylise(commands: Commands) -> None:
    command = commands.add_parser(
        "stylise",
        help="paint photographs in the style of paintings",
        description=(
            "Paint a photograph in the style of a painting with the shipped weights. Several photographs, paintings or"
            " methods, also folders and patterns, give every combination, as PNG in the folder --out: what is finished"
            " is kept, a picture that cannot be read is reported and the rest is done (exit status 1)."
        ),
    )
    command.add_argument(
        "--method",
        required=True,
        nargs="+",
        metavar="METHOD",
        help="adain, sanet, adaattn, …: any method with shipped weights, or several",
    )
    given = command.add_mutually_exclusive_group()
    given.add_argument(
        "--content",
        nargs="+",
        metavar="IMAGE",
        help="the photograph (JPEG, PNG, WebP, TIFF, BMP); or several, a folder, a pattern such as 'holiday/*.jpg'",
    )
    given.add_argument(
        "--video",
        type=Path,
        metavar="FILE",
        help="or a video, frame by frame; the result is .mp4 (H.264, with the video's sound), .webp or .gif (no sound)",
    )
    command.add_argument(
        "--style", required=True, nargs="+", metavar="IMAGE", help="the painting; or several, as --content"
    )
    command.add_argument(
        "--out",
        required=True,
        type=Path,
        metavar="PATH",
        help="where to write: a file whose ending chooses the format, or for several results a folder",
    )
    command.add_argument(
        "--size",
        type=int,
        metavar="PX",
        help="resize photograph and painting to this shorter side first (default: keep their sizes)",
    )
    command.add_argument(
        "--alpha", type=float, help="strength of the style from 0 to 1, for methods that have it (default: 1)"
    )
    command.add_argument(
        "--keep-transparency",
        action="store_true",
        help="the result is as transparent as the photograph (.png, .webp, .tif); else transparent parts are white",
    )
    command.add_argument(
        "--preserve-colour",
        action="store_true",
        help="keep the photograph's colours: only light and dark come from the style",
    )
    command.add_argument(
        "--sheet",
        type=Path,
        metavar="FILE",
        help="for several results: also write a contact sheet, a line for each pair and a column for each method",
    )
    command.add_argument(
        "--json",
        action="store_true",
        help="print one JSON object for each result instead of text, as soon as it is done",
    )
    network_options(command, "the widest that is trained")
    command.set_defaults(run=_stylise)


def _stylise(arguments: argparse.Namespace) -> int:
    """Paint what the words name: a clip, one picture, or every photograph with every painting."""
    from ..methods import method_name
    from ..stylise import jobs

    # Everything that can be wrong with the words is said before torch is imported.
    settings = jobs.Settings(
        arguments.size,
        arguments.alpha,
        arguments.keep_transparency,
        arguments.preserve_colour,
        network_choice(arguments),
    )
    methods = list(dict.fromkeys(map(method_name, arguments.method)))
    single = len(methods) == 1 and jobs.is_one_file(arguments.style)
    if arguments.video is not None:
        if arguments.keep_transparency:
            raise UserError("--keep-transparency is for photographs; leave it out with --video")
        if not single or arguments.sheet or arguments.json:
            raise UserError("--video takes one method and one painting, and neither --sheet nor --json")
        return _stylise_clip(arguments, methods[0], settings)
    if arguments.content is None:
        raise UserError("name what to paint: --content or --video")
    if single and jobs.is_one_file(arguments.content):
        if arguments.sheet:
            raise UserError("--sheet is for several results; there is one")
        return _stylise_picture(arguments, methods[0], settings)
    return _stylise_folder(arguments, methods, settings)


def _stylise_clip(arguments: argparse.Namespace, method: str, settings: "jobs.Settings") -> int:
    from ..stylise import jobs

    style = Path(arguments.style[0])
    jobs.check_video(arguments.video, style, arguments.out, settings)
    from ..stylise.file import stylise_video

    notes = stylise_video(method, arguments.video, style, arguments.out, settings)
    print(". ".join([f"wrote {printable(arguments.out)}", *notes]))
    return 0


def _stylise_picture(arguments: argparse.Namespace, method: str, settings: "jobs.Settings") -> int:
    from ..stylise import jobs

    job = jobs.Job(method, Path(arguments.content[0]), Path(arguments.style[0]), arguments.out)
    jobs.check_picture(job.content, job.style, job.out, settings)
    _say_slow(jobs.slow_note([job.content], settings))
    from ..stylise.file import stylise_file

    stylise_file(job.method, job.content, job.style, job.out, settings)
    print(json.dumps(jobs.Outcome(job, "painted").facts()) if arguments.json else f"wrote {printable(arguments.out)}")
    return 0


def _stylise_folder(arguments: argparse.Namespace, methods: list[str], settings: "jobs.Settings") -> int:
    from ..stylise import jobs

    (contents, unread), (styles, others) = (
        jobs.pictures(words, arguments.out) for words in (arguments.content, arguments.style)
    )
    unread += others
    wanted = jobs.jobs(methods, contents, styles, arguments.out)
    jobs.check_folder(wanted, arguments.out, settings)
    if arguments.sheet:
        jobs.check_sheet(arguments.sheet, wanted)
    _say_slow(jobs.slow_note(contents, settings))
    from ..stylise import folder

    tell = _tell_facts if arguments.json else _line_teller(len(wanted))
    outcomes = folder.paint(wanted, settings, arguments.out, tell)
    if arguments.sheet:
        if not arguments.json:
            print(f"{printable(arguments.sheet)} …", flush=True)
        folder.write_sheet(arguments.sheet, outcomes)
    failed = sum(outcome.status == "failed" for outcome in outcomes)
    if failed:
        print(
            f"{failed} of {len(outcomes)} results failed; the others are in {printable(arguments.out)}", file=sys.stderr
        )
    if unread:
        print(f"left out: {jobs.listed(unread)}; {jobs.CONVERT}", file=sys.stderr)
    return int(failed > 0)


def _tell_facts(outcome: "jobs.Outcome") -> None:
    print(json.dumps(outcome.facts()), flush=True)


def _line_teller(total: int) -> "Callable[[jobs.Outcome], None]":
    """Prints a line per result. A picture that cannot be read fails with every partner: why is said once."""
    lines, errors = itertools.count(1), {}

    def tell(outcome: "jobs.Outcome") -> None:
        number = next(lines)
        first = errors.setdefault(outcome.error, number)
        why = outcome.error if first == number else f"for the reason of {first}/{total}"
        said = {"painted": f"{outcome.seconds:.1f} s", "kept": "kept", "failed": f"failed: {why}"}
        print(f"[{number}/{total}] {printable(outcome.job.out.name)}: {said[outcome.status]}", flush=True)

    return tell


def _say_slow(note: str) -> None:
    if note:
        print(note, file=sys.stderr, flush=True)


def add_explore(commands: Commands) -> None:
    command = commands.add_parser(
        "explore",
        help="write a page to look at attention with",
        description=(
            "Write one HTML file, which opens without server or network, that shows for any point of a photograph where"
            " each method looks on a painting."
        ),
    )
    command.add_argument("--content", required=True, type=Path, metavar="FILE", help="the photograph")
    command.add_argument("--style", required=True, type=Path, metavar="FILE", help="the painting")
    command.add_argument(
        "--methods",
        nargs="+",
        default=["sanet", "adaattn", "stya2k"],
        metavar="METHOD",
        help="methods with attention over positions (default: sanet adaattn stya2k)",
    )
    command.add_argument("--out", required=True, type=Path, metavar="PAGE", help="the page to write (.html)")
    command.add_argument(
        "--size", type=int, default=256, help="side of the square that both images are cut to, in pixels (default: 256)"
    )
    network_options(command, "student, for a small page; most rows of the tables stand on half")
    command.set_defaults(run=_explore)


def _explore(arguments: argparse.Namespace) -> None:
    from ..data.decode import check_file
    from ..methods import method_name

    for path in (arguments.content, arguments.style):
        check_file(path)
    for name in arguments.methods:
        method_name(name)
    from ..report.explorer import explore_files

    choice = network_choice(arguments, "student")
    page = explore_files(arguments.content, arguments.style, arguments.methods, arguments.out, arguments.size, choice)
    print(f"wrote {printable(page)}")
