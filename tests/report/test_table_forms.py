"""Tables as CSV, Markdown, LaTeX and HTML: the same cells, whatever stands in them."""

import csv
import io
import re
import shutil
import subprocess

import pytest
from bs4 import BeautifulSoup

from replication import files
from replication.__main__ import main
from replication.report.table_forms import FORMS, read_csv, read_rows, write_forms, write_tables

GRID = ["", "SSIM, paper", "a_b & c"], [["AdaIN α=0.5", "50 % | <b>", "x#1"], ["λ2 = 1", "", "{y}"]]


def test_csv_holds_the_cells():
    assert list(csv.reader(io.StringIO(FORMS[".csv"](GRID, "T", "")))) == [GRID[0], *GRID[1]]


def test_markdown_has_a_cell_for_each_and_no_markup_of_its_own():
    *_, first, last = FORMS[".md"](GRID, "T", "").splitlines()
    assert [len(re.split(r"(?<!\\)\|", line)) for line in (first, last)] == [5, 5]
    assert r"50 % \| \<b\>" in first and "**T**" in FORMS[".md"](GRID, "T", "")


def test_latex_uses_booktabs_and_escapes():
    text = FORMS[".tex"](GRID, "50 % of A_1", "† 5 % of α_2")
    assert re.findall(r"\\(\w+rule)", text) == ["toprule", "midrule", "bottomrule"]
    assert r"\caption{50 \% of A\_1}" in text and r"AdaIN $\alpha$=0.5" in text and r"$\lambda$2 = 1" in text
    assert r"-2.58$\times10^{-11}$ b" in FORMS[".tex"]((["", "a"], [["r", "-2.58×10⁻¹¹ b"]]), "T", "")
    assert r"\footnotesize $\dagger$ 5 \% of $\alpha$\_2" in text
    body = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len(body) == 3 and all(len(re.findall(r"(?<!\\)&", line)) == 2 for line in body)
    assert not re.search(r"(?<!\\)[%#_](?! \\usepackage)", text.replace("% \\usepackage", "")) and text.isascii()


def test_rows_and_columns_of_one_name_are_all_there():
    text = FORMS[".tex"]((["", "a", "a"], [["r", "1", "2"], ["r", "3", "4"]]), "T", "")
    assert all(number in text for number in "1234") and text.count(r"\\") >= 3


def test_html_is_escaped_and_reads_back():
    text = FORMS[".html"](GRID, "A < B", "† C > D")
    assert "<b>" not in text and "<p>† C &gt; D</p>" in text and "<caption>A &lt; B</caption>" in text
    rows = BeautifulSoup(text, "html.parser").find_all("tr")
    assert [[cell.get_text() for cell in row.find_all(["th", "td"])] for row in rows] == [GRID[0], *GRID[1]]


@pytest.mark.parametrize("name", ["stya2k-table1", "claims", "datnet-table2", "workbook-allmethods"])
def test_committed_tables_take_every_form(name, tmp_path):
    path = files.reference_results("cpu") / f"{name}.csv"
    written = write_forms(path, tmp_path)
    assert [one.suffix for one in written] == list(FORMS)
    table = (tmp_path / f"{name}.tex").read_text(encoding="utf-8")
    rows = [line for line in table.splitlines() if line.endswith(r"\\")]
    frame = read_rows(path)
    lines = len(read_csv(path)[1]) if frame is None else frame.row.nunique()
    assert len(rows) == lines + 1 and len({len(re.findall(r"(?<!\\)&", row)) for row in rows}) == 1
    header, _ = read_csv(tmp_path / f"{name}.csv")
    assert ("fine detail, ours" in header) == (name == "workbook-allmethods")  # which no paper prints
    assert ("LPIPS substitute (VGG), ours" in header) == (name in ("stya2k-table1", "workbook-allmethods"))


def test_rows_that_are_not_good_enough_have_a_dagger_and_a_note(tmp_path):
    lines = (
        "row,metric,reported,measured,low,high,note\nA,ssim_grey,0.5,0.6,0.5,0.7,wide; weights not good enough: blurs\n"
    )
    files.write_text(tmp_path / "x.csv", lines + "B,ssim_grey,0.4,0.3,0.2,0.4,wide\n")
    found = {
        path.suffix: path.read_text(encoding="utf-8") for path in write_forms(tmp_path / "x.csv", tmp_path / "out")
    }
    assert "| A † |" in found[".md"] and "| B |" in found[".md"] and found[".md"].endswith("A blurs.\n")
    assert r"A $\dagger$ &" in found[".tex"] and "A blurs." in found[".tex"] and "A blurs." in found[".html"]
    assert "not good enough: blurs" in found[".csv"] and "†" not in found[".csv"]


def test_the_command_writes_named_tables_and_says_what_is_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(files, "RESULTS", tmp_path)
    source = files.ROOT / "results/reference/cpu/stya2k-table1.csv"
    files.write_text(tmp_path / "cpu/stya2k-table1.csv", source.read_text(encoding="utf-8"))
    assert main(["tables", "--table", "StyA2K Table 1", "--out", str(tmp_path / "out")]) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {f"stya2k-table1{suffix}" for suffix in FORMS}
    assert main(["tables", "--table", "StyA2K Table 2", "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "stya2k-table2.csv is missing; run `python -m replication run --profile cpu --table" in said
    assert '--table "StyA2K Table 2"`' in said and "--reference" in said
    assert len(write_tables("cpu", [], tmp_path / "all")) == 4


def test_tables_that_come_with_the_project_are_written_without_a_run(tmp_path, capsys):
    words = ["tables", "--reference", "--table", "StyA2K Table 1", "--out", str(tmp_path)]
    assert main(words) == 0 and (tmp_path / "stya2k-table1.md").is_file()
    assert main([*words, "--profile", "smoke"]) == 2
    assert "profile cpu has reference tables" in capsys.readouterr().err


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="pdflatex is not installed (texlive-latex-recommended)")
def test_every_committed_table_compiles(tmp_path):
    """All in one document, each on its own page: an error in any ends the compilation, and its file is named."""
    inputs = []
    for path in sorted(files.reference_results("cpu").glob("*.csv")):
        if not path.name.endswith(".cells.csv"):
            write_forms(path, tmp_path)
            inputs.append(f"\\input{{{path.stem}}}\\clearpage")
    start = "\\documentclass{article}\\usepackage{booktabs}\\begin{document}"
    files.write_text(tmp_path / "all-tables-together.tex", "\n".join([start, *inputs, "\\end{document}"]))
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-file-line-error", "all-tables-together.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]
    assert len(inputs) > 30 and "Missing character" not in done.stdout
