"""Command line: python -m replication COMMAND --help."""

import argparse
import json
import os
import sys
from pathlib import Path

from .errors import UserError, is_out_of_memory
from .files import make_places_absolute, printable
from .plugins import add_plugins
from .profiles import NAMES

EXIT_STATUS = (
    "Exit status: 0 when all is well; 1 when the command ran and something is not as asked, which it names (a picture"
    " that failed, a table that differs, a notebook that is not current, an import that goes up); 2 for a mistake in"
    " the command, a file or the setup, and for a notebook that stopped; 130 after Ctrl-C."
)
DESCRIPTION = "Replication workbook for attention-based arbitrary style transfer."


def _profile(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--profile", choices=NAMES, default="cpu", help="sizes to use (default: cpu)")


def _folders(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--content",
        nargs="+",
        default=["builtin"],
        metavar="FOLDER",
        help="folders of photographs to train on; 'builtin' is the set that pip packages carry (default)",
    )
    parser.add_argument(
        "--style",
        nargs="+",
        default=["builtin"],
        metavar="FOLDER",
        help="folders of paintings to train on; 'builtin' likewise (default)",
    )


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(prog="python -m replication", description=DESCRIPTION, epilog=EXIT_STATUS)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    add = commands.add_parser(
        "stylise",
        help="paint photographs in the style of paintings",
        description=(
            "Paint a photograph in the style of a painting with the shipped weights. Several photographs, paintings or"
            " methods, also folders and patterns, give every combination, as PNG in the folder --out: what is finished"
            " is kept, a picture that cannot be read is reported and the rest is done (exit status 1)."
        ),
    )
    add.add_argument(
        "--method",
        required=True,
        nargs="+",
        metavar="METHOD",
        help="adain, sanet, adaattn, …: any method with shipped weights, or several",
    )
    given = add.add_mutually_exclusive_group()
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
    add.add_argument(
        "--style", required=True, nargs="+", metavar="IMAGE", help="the painting; or several, as --content"
    )
    add.add_argument(
        "--out",
        required=True,
        type=Path,
        metavar="PATH",
        help="where to write: a file whose ending chooses the format, or for several results a folder",
    )
    add.add_argument(
        "--size",
        type=int,
        metavar="PX",
        help="resize photograph and painting to this shorter side first (default: keep their sizes)",
    )
    add.add_argument(
        "--alpha", type=float, help="strength of the style from 0 to 1, for methods that have it (default: 1)"
    )
    add.add_argument(
        "--keep-transparency",
        action="store_true",
        help="the result is as transparent as the photograph (.png, .webp, .tif); else transparent parts are white",
    )
    add.add_argument(
        "--preserve-colour",
        action="store_true",
        help="keep the photograph's colours: only light and dark come from the style",
    )
    add.add_argument(
        "--sheet",
        type=Path,
        metavar="FILE",
        help="for several results: also write a contact sheet, a line for each pair and a column for each method",
    )
    add.add_argument(
        "--json",
        action="store_true",
        help="print one JSON object for each result instead of text, as soon as it is done",
    )
    add.set_defaults(run=_stylise)

    add = commands.add_parser(
        "explore",
        help="write a page to look at attention with",
        description=(
            "Write one HTML file, which opens without server or network, that shows for any point of a photograph where"
            " each method looks on a painting."
        ),
    )
    add.add_argument("--content", required=True, type=Path, metavar="FILE", help="the photograph")
    add.add_argument("--style", required=True, type=Path, metavar="FILE", help="the painting")
    add.add_argument(
        "--methods",
        nargs="+",
        default=["sanet", "adaattn", "stya2k"],
        metavar="METHOD",
        help="methods with attention over positions (default: sanet adaattn stya2k)",
    )
    add.add_argument("--out", required=True, type=Path, metavar="PAGE", help="the page to write (.html)")
    add.add_argument(
        "--size", type=int, default=256, help="side of the square that both images are cut to, in pixels (default: 256)"
    )
    add.set_defaults(run=_explore)

    add = commands.add_parser(
        "run",
        help="execute notebooks",
        description=(
            "Execute notebooks with papermill: unknown parameters are errors, finished notebooks are skipped, the first"
            " failing cell stops the run with its traceback."
        ),
    )
    add.add_argument(
        "notebooks", nargs="*", type=Path, metavar="NOTEBOOK", help="notebooks to run (default: all, in order)"
    )
    _profile(add)
    add.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="replace a value of the notebook's parameters cell; may be given several times",
    )
    add.add_argument(
        "--table",
        action="append",
        default=[],
        metavar="NAME",
        help="run what makes this table, for example 'StyA2K Table 1'; may be given several times",
    )
    add.add_argument("--dry-run", action="store_true", help="only say which notebooks would run, and why")
    add.set_defaults(run=_run)

    add = commands.add_parser(
        "status",
        help="say what is current",
        description=(
            "For every notebook and the tables that it makes: current, stale and because of which file, or missing;"
            " and how long it took last time. Exit status 1 when something is not current."
        ),
    )
    _profile(add)
    add.set_defaults(run=_status)

    add = commands.add_parser(
        "evaluate",
        help="measure the grid of a profile",
        description=(
            "Measure every method and reference row on a profile's grid; stored cells are kept. Under accelerate launch"
            " several processes share the work."
        ),
    )
    _profile(add)
    add.set_defaults(run=_evaluate)

    add = commands.add_parser(
        "train",
        help="train a method and ship its weights",
        description=(
            "Train a method; a killed run goes on where it was. Skips what checkpoints/ already holds. Weights of a"
            " method of yours (--plugin) go to build/checkpoints/. Several GPUs: under accelerate launch; several CPU"
            " processes: under torchrun, because accelerate launch --cpu starts only one."
        ),
    )
    add.add_argument("--method", default="all", help="a method, autoencoder, or all (default)")
    add.add_argument("--variant", help="variant of the method (default: its first)")
    add.add_argument("--encoder", choices=("student", "half", "vgg19"), help="width (default: the profile's)")
    add.add_argument("--seed", type=int, default=0)
    add.add_argument(
        "--continued", action="store_true", help="train a trained default variant on, for as long as the ablation arms"
    )
    add.add_argument("--steps", type=int, help="optimiser steps (default: the profile's)")
    add.add_argument("--batch", type=int, help="images per step (default: the profile's)")
    add.add_argument(
        "--skip-unreadable",
        action="store_true",
        help="leave out pictures that cannot be read, and record it (default: stop before the first step)",
    )
    _profile(add)
    _folders(add)
    add.set_defaults(run=_train)

    add = commands.add_parser(
        "benchmark",
        help="measure parameters, operations, latency and memory",
        description=(
            "Measure every method at VGG-19 width and write results/bench/<hardware and versions>.csv; measurements"
            " already stored are kept."
        ),
    )
    _profile(add)
    add.set_defaults(run=_benchmark)

    add = commands.add_parser(
        "study",
        help="write the voting page of the user study",
        description=(
            "Write build/study/<profile>/vote.html, a blind voting page that works offline, and key.json, which says"
            " what its options are."
        ),
    )
    _profile(add)
    add.set_defaults(run=_study)

    add = commands.add_parser(
        "tables",
        help="write tables as CSV, Markdown, LaTeX and HTML",
        description=(
            "Write the tables of a profile as people read them: CSV, Markdown, LaTeX (booktabs) and HTML, to"
            " build/tables/<profile>/."
        ),
    )
    _profile(add)
    add.add_argument(
        "--table",
        action="append",
        default=[],
        metavar="NAME",
        help="only this table, for example 'StyA2K Table 1'; may be given several times (default: all)",
    )
    add.add_argument("--out", type=Path, metavar="FOLDER", help="where to write (default: build/tables/<profile>)")
    add.set_defaults(run=_tables)

    add = commands.add_parser(
        "report",
        help="write everything as a static site",
        description=(
            "Write build/report/<profile>/index.html: executed notebooks, tables, figures, ledger, models and"
            " provenance as pages that open without server or network."
        ),
    )
    _profile(add)
    add.set_defaults(run=_report)

    add = commands.add_parser(
        "readme",
        help="put tables into README.md",
        description="Write the tables of README.md, headline and verdicts, from results/reference/cpu.",
    )
    add.set_defaults(run=_readme)

    add = commands.add_parser(
        "verify",
        help="set your tables beside the reference",
        description=(
            "Compare results/<profile> with the committed results/reference/<profile>, table by table. Exit status 1"
            " when something that should agree does not; times are never compared."
        ),
    )
    _profile(add)
    add.set_defaults(run=_verify)

    add = commands.add_parser(
        "reference",
        help="make your tables the reference, for maintainers",
        description=(
            "Copy the tables of a finished `make` to results/reference/<profile>, timings to results/reference/bench,"
            " and the figures that README shows to figures/readme."
        ),
    )
    _profile(add)
    add.set_defaults(run=_reference)

    add = commands.add_parser(
        "pack",
        help="store the shipped weights as 8-bit integers, for maintainers",
        description=(
            "Rewrite the methods' weights in checkpoints/ as 8-bit integers with one scale per output channel, half as"
            " large, and those that went on from others as steps from them. It changes results a little, so the"
            " reference has to be renewed afterwards."
        ),
    )
    add.add_argument("--encoder", choices=("student", "half"), default="student", help="width (default: student)")
    add.set_defaults(run=_pack)

    add = commands.add_parser(
        "layout",
        help="list the package's folders and what they import",
        description="List the folders from low to high with what each imports; exit status 1 when an import goes up.",
    )
    add.set_defaults(run=_layout)

    add = commands.add_parser(
        "official",
        help="list the authors' weights in a folder of yours",
        description=(
            "List the authors' weights that a folder holds, by method: found with sha256 and licence, missing, or wrong"
            " and what is wrong. Where they are complete, run and evaluate give them rows of their own."
        ),
    )
    add.set_defaults(run=_official)

    add = commands.add_parser(
        "scales",
        help="measure VGG-19's normalisation",
        description="Make checkpoints/vgg19-scales.safetensors again, from photographs.",
    )
    add.add_argument("--content", nargs="+", required=True, metavar="FOLDER", help="folders of photographs")
    add.set_defaults(run=_scales)

    add = commands.add_parser(
        "distil",
        help="make a distilled encoder",
        description="Make checkpoints/encoder-NAME.safetensors.xz again; a killed run goes on where it was.",
    )
    add.add_argument(
        "--encoder",
        choices=("student", "half"),
        default="half",
        help="which: a quarter or half of VGG-19's width (default: half)",
    )
    _folders(add)
    add.set_defaults(run=_distil)

    add = commands.add_parser(
        "fit-lpips",
        help="fit the LPIPS substitute",
        description="Fit checkpoints/lpips-substitute.safetensors.xz again, against LPIPS-SqueezeNet.",
    )
    add.add_argument(
        "--squeezenet",
        required=True,
        type=Path,
        metavar="FILE",
        help="torchvision's squeezenet1_1 features as a state dictionary",
    )
    _folders(add)
    add.set_defaults(run=_fit_lpips)

    for name in ("run", "evaluate", "official"):
        commands.choices[name].add_argument(
            "--official",
            type=Path,
            metavar="FOLDER",
            help="the folder with the authors' weights, at any depth (default: that of REPLICATION_OFFICIAL, or none)",
        )
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


def _stylise(arguments: argparse.Namespace) -> int:
    from . import stylise_folders as many
    from .methods import method_name
    from .stylise import Settings, stylise_file, stylise_video

    settings = Settings(arguments.size, arguments.alpha, arguments.keep_transparency, arguments.preserve_colour)
    methods = list(dict.fromkeys(map(method_name, arguments.method)))
    if arguments.content is None and arguments.video is None:
        raise UserError("name what to paint: --content or --video")
    single = len(methods) == 1 and many.is_one_file(arguments.style)
    if arguments.video is not None:
        if arguments.keep_transparency:
            raise UserError("--keep-transparency is for photographs; leave it out with --video")
        if not single or arguments.sheet or arguments.json:
            raise UserError("--video takes one method and one painting, and neither --sheet nor --json")
        notes = stylise_video(methods[0], arguments.video, Path(arguments.style[0]), arguments.out, settings)
        print(". ".join([f"wrote {printable(arguments.out)}", *notes]))
        return 0
    if single and many.is_one_file(arguments.content):
        if arguments.sheet:
            raise UserError("--sheet is for several results; there is one")
        job = many.Job(methods[0], Path(arguments.content[0]), Path(arguments.style[0]), arguments.out)
        stylise_file(job.method, job.content, job.style, job.out, settings)
        print(
            json.dumps(many.Outcome(job, "painted").facts()) if arguments.json else f"wrote {printable(arguments.out)}"
        )
        return 0
    contents, styles = (many.pictures(words, arguments.out) for words in (arguments.content, arguments.style))
    wanted = many.jobs(methods, contents, styles, arguments.out)
    if arguments.sheet:
        many.check_sheet(arguments.sheet, wanted)
    done = 0

    def tell(outcome: many.Outcome) -> None:
        nonlocal done
        done += 1
        if arguments.json:
            print(json.dumps(outcome.facts()), flush=True)
        else:
            said = {"painted": f"{outcome.seconds:.1f} s", "kept": "kept", "failed": f"failed: {outcome.error}"}
            print(f"[{done}/{len(wanted)}] {printable(outcome.job.out.name)}: {said[outcome.status]}", flush=True)

    outcomes = many.paint(wanted, settings, arguments.out, tell)
    if arguments.sheet:
        many.write_sheet(arguments.sheet, outcomes)
    failed = sum(outcome.status == "failed" for outcome in outcomes)
    if failed:
        print(
            f"{failed} of {len(outcomes)} results failed; the others are in {printable(arguments.out)}", file=sys.stderr
        )
    return int(failed > 0)


def _explore(arguments: argparse.Namespace) -> None:
    from .report.explorer import explore_files

    page = explore_files(arguments.content, arguments.style, arguments.methods, arguments.out, arguments.size)
    print(f"wrote {printable(page)}")


def _run(arguments: argparse.Namespace) -> None:
    from .files import ROOT
    from .papers.makers import notebooks_for
    from .run_notebooks import run_notebooks

    made = [ROOT / "notebooks" / f"{name}.ipynb" for name in notebooks_for(arguments.table)] if arguments.table else []
    run_notebooks([*made, *arguments.notebooks], arguments.profile, arguments.set, arguments.dry_run)


def _status(arguments: argparse.Namespace) -> int:
    from .status import status

    lines, current = status(arguments.profile)
    print("\n".join(lines))
    return int(not current)


def _evaluate(arguments: argparse.Namespace) -> None:
    from .evaluation.grid import measure_grid
    from .papers.rows import REFERENCES, all_method_rows
    from .profiles import Profile

    profile = Profile.load(arguments.profile)
    cells = measure_grid([*all_method_rows(profile.encoder), *REFERENCES], profile)
    print(cells.drop(columns=["content", "style"]).groupby("row", sort=False).mean().round(4).to_string())


def _train(arguments: argparse.Namespace) -> None:
    from .training.runs import train_arms

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


def _benchmark(arguments: argparse.Namespace) -> None:
    from .evaluation import benchmark
    from .profiles import Profile

    frame = benchmark.benchmark(Profile.load(arguments.profile).benchmark)
    print(frame[["row", "size", "device", "parameters", "macs", "seconds", "peak_mib"]].to_string(index=False))
    print(f"wrote {benchmark.write_benchmark(frame)}")


def _study(arguments: argparse.Namespace) -> None:
    from .experiments.user_study import write_study
    from .files import build_dir
    from .papers.rows import shipped_rows, table
    from .profiles import Profile

    sizes = Profile.load(arguments.profile)
    rows = [
        row
        for row in shipped_rows(table("StyA2K", "Table 1").rows, sizes.encoder)
        if row.alpha is None and row.method not in ("content", "style")
    ]
    page = write_study(rows, sizes, build_dir() / "study" / sizes.name)
    print(f"wrote {page}; keep key.json beside it to yourself, it says which method is which")


def _tables(arguments: argparse.Namespace) -> None:
    from .files import build_dir
    from .report.table_forms import write_tables

    folder = arguments.out or build_dir() / "tables" / arguments.profile
    written = write_tables(arguments.profile, arguments.table, folder)
    print(f"wrote {len(written)} files to {printable(folder)}")


def _report(arguments: argparse.Namespace) -> None:
    from .report.site import build_site

    print(f"wrote {build_site(arguments.profile)}")


def _readme(arguments: argparse.Namespace) -> None:
    from .report.readme import write_readme

    write_readme()


def _verify(arguments: argparse.Namespace) -> int:
    from .experiments.verify import sentence, verify

    found = verify(arguments.profile)
    for one in found:
        print(f"{one.table}: {one.status}")
        for detail in one.details:
            print(f"    {detail}")
    print(sentence(found, arguments.profile))
    return int(any(one.fails for one in found))


def _reference(arguments: argparse.Namespace) -> None:
    from .experiments.verify import renew_reference

    print(f"wrote {renew_reference(arguments.profile)}; `make readme` puts it into README.md")


def _pack(arguments: argparse.Namespace) -> None:
    from .training.ship import pack_shipped

    before, after = pack_shipped(arguments.encoder)
    print(
        f"{before / 1e6:.1f} MB before, {after / 1e6:.1f} MB after; run `make` and `make reference` to renew the tables"
    )


def _layout(_: argparse.Namespace) -> int:
    from . import sources

    print(sources.listing())
    wrong = [f"{module} imports {other}, which stands above it" for module, other in sources.upward_imports()]
    wrong += [f"a circle: {' -> '.join(sources.circle())}"] if sources.circle() else []
    print("\n".join(wrong) or "every import goes down, none in a circle")
    return 1 if wrong else 0


def _official(_: argparse.Namespace) -> None:
    from .weights.official_folder import listing, official_folder

    print(listing(official_folder()))


def _scales(arguments: argparse.Namespace) -> None:
    from .data.images import training_set
    from .training.student import measure_scales

    measure_scales(training_set("photograph", arguments.content))


def _distil(arguments: argparse.Namespace) -> None:
    from .data.images import training_set
    from .training.student import make_student

    make_student(
        arguments.encoder, training_set("photograph", arguments.content), training_set("painting", arguments.style)
    )


def _fit_lpips(arguments: argparse.Namespace) -> None:
    from .data.images import training_set
    from .training.lpips_substitute import fit_substitute

    fit_substitute(
        training_set("photograph", arguments.content), training_set("painting", arguments.style), arguments.squeezenet
    )


def main(argv: list[str] | None = None) -> int:
    """Run a command and return its exit status; a user's mistake prints one line and returns 2."""
    arguments = parser().parse_args(argv)
    if getattr(arguments, "official", None):
        os.environ["REPLICATION_OFFICIAL"] = str(arguments.official)
    make_places_absolute()
    try:
        add_plugins(arguments.plugin)
        if arguments.plugin:
            from .methods import METHODS

            len(METHODS)  # a plug-in that cannot be used is said before anything else
        status = arguments.run(arguments)
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
