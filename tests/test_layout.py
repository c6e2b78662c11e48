"""What git carries, small enough that a clone is quick; and how its text is laid out."""

import ast
import io
import shutil
import subprocess
import sys
import tokenize
from collections.abc import Iterator

import pytest

from replication.files import ROOT

LARGEST_WITHOUT_WEIGHTS = 10e6
LARGEST = 60e6


def git(*arguments: str) -> str:
    """What git prints; the test is skipped where there is no git or this is no checkout."""
    program = shutil.which("git")
    if program is None:
        pytest.skip("no git on this machine")
    done = subprocess.run([program, "-C", ROOT, *arguments], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"this is no git checkout: {done.stderr.strip()}")
    return done.stdout


def tracked_sizes() -> dict[str, int]:
    """Bytes of every tracked file that is there."""
    names = git("ls-files", "-z").split("\0")
    return {name: (ROOT / name).stat().st_size for name in names if name and (ROOT / name).is_file()}


def test_tracked_files_are_light(capsys):
    sizes = tracked_sizes()
    others = sum(size for name, size in sizes.items() if not name.startswith("checkpoints/"))
    with capsys.disabled():
        print(f"\ntracked: {sum(sizes.values()) / 1e6:.1f} MB, {others / 1e6:.1f} MB of it without checkpoints/")
        print("history: " + ", ".join(git("count-objects", "-vH").splitlines()))
    assert 0 < others <= LARGEST_WITHOUT_WEIGHTS
    assert sum(sizes.values()) <= LARGEST


def test_what_make_writes_is_ignored_and_the_reference_is_not():
    written = ("results/cpu/x.csv", "results/bench/x.csv", "figures/smoke/x.jpg", "build/x", "results/paper/x.json")
    found = git("check-ignore", "--no-index", *written, "results/reference/cpu/x.csv", "figures/readme/x.webp")
    assert set(found.split()) == set(written)


def test_tests_mirror_the_folders():
    folders = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and not path.name.startswith("__")}
    helpers = {"helpers", "reference"}
    assert helpers < folders
    assert all((ROOT / "replication" / name).is_dir() for name in folders - helpers)
    alone = {path.stem.removeprefix("test_") for path in (ROOT / "tests").glob("test_*.py")}
    package = {path.stem.strip("_") for path in (ROOT / "replication").iterdir()}
    assert alone - package == {
        "cases",
        "cases_machines",
        "cases_notebooks",
        "environment",
        "full_disk",
        "layout",
        "makefile",
        "mutants",
        "properties",
        "surroundings",
    }


def test_public_names():
    """Those that README uses, each from a fresh process: importing the package alone costs nothing."""
    names = "pretrained, build, METHODS, official, several, read_image, write_image"
    script = f"import sys, replication; assert 'torch' not in sys.modules; from replication import {names}"
    script += "; import replication.official; assert replication.official.load is official.load"
    # torchvision imports torch's compiler: seconds, for networks that few tables need.
    script += "; import replication.evaluation.grid; assert not {'torchvision', 'torch._dynamo'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)


def texts(source: str) -> Iterator[tuple[int, list[str]]]:
    """Docstrings and blocks of comments: number of the first line, and the lines with their indentation."""
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            yield node.body[0].lineno, lines[node.body[0].lineno - 1 : node.body[0].end_lineno]
    block: dict[int, str] = {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        number = token.start[0]
        if token.type == tokenize.COMMENT and lines[number - 1].lstrip().startswith("#"):
            if block and number - 1 not in block:
                yield min(block), list(block.values())
                block = {}
            block[number] = lines[number - 1].replace("#", "", 1)
    if block:
        yield min(block), list(block.values())


def orphans(source: str) -> list[int]:
    """Lines of up to three words amid a sentence, behind a long line: what a wrap by machine leaves."""

    def margin(line: str) -> int:
        return len(line) - len(line.lstrip())

    return [
        first + place
        for first, lines in texts(source)
        for place, (before, line, after) in enumerate(zip(lines, lines[1:], lines[2:], strict=False), 1)
        if 0 < len(line.split()) <= 3 and len(before) >= 100 and not line.rstrip().endswith((".", ":"))
        if after.strip(' "') and margin(after) == margin(line) and not after.lstrip().startswith(("* ", "Raises"))
    ]


def test_no_line_of_a_docstring_or_comment_is_an_orphan():
    long = (
        "both terms of style, which are compared at four levels of the encoder for painting and result, of which both"
    )
    assert orphans(f'"""Style.\n\n    {long}\n    are\n    means.\n"""\n') == [4]
    assert orphans(f"# {long}\n# are\n# means.\n") == [2]
    assert orphans(f"# {long}\n# are means.\n# Others are not.\n") == []
    found = {path: orphans(path.read_text(encoding="utf-8")) for path in (ROOT / "replication").rglob("*.py")}
    assert {str(path.relative_to(ROOT)): lines for path, lines in found.items() if lines} == {}
