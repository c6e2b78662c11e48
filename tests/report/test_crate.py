"""The deposit: RO-Crate 1.1's requirements, every file named with what wrote it, nothing that is not there."""

import json
from datetime import date
from urllib.parse import unquote

import nbformat
import pytest
from PIL import Image

from replication import files
from replication.__main__ import main
from replication.report.crate import LICENCE, METADATA, papers_of, write_crate

FACTS = {"commit": "c" * 40, "versions": {"torch": "2.1"}, "hardware": {"cpu": "A CPU", "gpu": None}}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """What a run of one notebook leaves: a table, a page of photographs with its PDF, and a failed notebook."""
    monkeypatch.setenv("REPLICATION_BUILD", str(tmp_path / "build"))
    monkeypatch.setattr(files, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(files, "FIGURES", tmp_path / "figures")
    results, figures, executed = (tmp_path / name / "smoke" for name in ("results", "figures", "build/notebooks"))
    files.write_text(results / "a table.csv", "x\n1\n")
    files.write_json(results / "a table.json", {**FACTS, "paper": "StyA2K", "table": "Table 1"})
    files.write_atomic(figures / "page.jpg", Image.new("RGB", (30, 20), "green").save)
    files.write_text(figures / "page.pdf", "%PDF")
    files.write_json(figures / "page.json", {**FACTS, "figure": "page.jpg"})
    files.write_text(executed / "one.ipynb", nbformat.writes(nbformat.v4.new_notebook()))
    files.write_text(executed / "two.failed.ipynb", "half")
    outputs = dict.fromkeys(("/elsewhere/a table.csv", "/elsewhere/page.jpg", "/elsewhere/page.pdf"), "")
    files.write_json(executed / "one.json", {"outputs": outputs})
    return tmp_path


def test_the_crate_is_what_ro_crate_asks_for(run):
    crate = write_crate("smoke")
    document = json.loads((crate / METADATA).read_text(encoding="utf-8"))
    assert document["@context"] == "https://w3id.org/ro/crate/1.1/context"
    graph = {entity["@id"]: entity for entity in document["@graph"]}
    assert len(graph) == len(document["@graph"]) and all("@type" in entity for entity in graph.values())
    assert graph[METADATA]["about"] == {"@id": "./"}
    assert graph[METADATA]["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.1"}
    root = graph["./"]
    assert (
        root["@type"] == "Dataset"
        and root["name"]
        and root["description"]
        and date.fromisoformat(root["datePublished"])
    )
    assert root["license"] == {"@id": LICENCE}
    author = graph[root["author"]["@id"]]
    assert author["@type"] == "Organization"
    assert f'name: "{author["name"]}"' in (crate / "CITATION.cff").read_text(encoding="utf-8")
    values = [value for entity in graph.values() for value in entity.values()]
    assert not [value for value in values if isinstance(value, list) and len(value) < 2]  # single values are not lists
    there = {path.relative_to(crate).as_posix() for path in crate.rglob("*") if path.is_file()}
    assert {unquote(part["@id"]) for part in root["hasPart"]} == there - {METADATA}

    def references(value):
        if isinstance(value, list):
            return [one for item in value for one in references(item)]
        return [value["@id"]] if isinstance(value, dict) and value.keys() == {"@id"} else []

    named = {one for entity in graph.values() for value in entity.values() for one in references(value)}
    assert named <= graph.keys() | {"https://w3id.org/ro/crate/1.1"}


def test_a_file_has_its_notebook_paper_and_provenance(run):
    crate = write_crate("smoke")
    graph = {entity["@id"]: entity for entity in json.loads((crate / METADATA).read_text(encoding="utf-8"))["@graph"]}
    table = graph["results/smoke/a%20table.csv"]
    assert table["name"] == "StyA2K, Table 1" and table["sha256"] == files.sha256_file(
        run / "results/smoke/a table.csv"
    )
    assert graph[table["citation"]["@id"]]["name"] == "All-to-key Attention for Arbitrary Style Transfer"
    action = graph["#run-one"]
    assert {one["@id"] for one in action["result"]} == {
        "results/smoke/a%20table.csv",
        *(f"figures/smoke/page.{kind}" for kind in ("jpg", "pdf", "png")),
    }
    pictures = graph["assets.csv"]["@id"]
    assert graph["figures/smoke/page.jpg"]["license"] == {"@id": pictures} and table["license"] == {"@id": LICENCE}
    tools = [graph[one["@id"]] for one in action["instrument"]]
    assert tools[0]["@id"] == "notebooks/smoke/one.ipynb"
    assert {tool.get("version") for tool in tools} >= {"c" * 40, "2.1"} and tools[-1]["description"] == "cpu: A CPU"
    with Image.open(crate / "figures/smoke/page.png") as image:
        assert image.format == "PNG" and image.size == (30, 20)


def test_every_paper_of_the_list_is_named():
    papers = papers_of(files.ROOT / "papers.bib")
    assert len(papers) == (files.ROOT / "papers.bib").read_text(encoding="utf-8").count("\n@")
    assert papers[0]["@id"] == "https://doi.org/10.48550/arXiv.2212.04105" and "Zhu, Mingrui" in papers[0]["author"]


def test_a_run_that_is_not_there_is_said(run, capsys):
    assert main(["crate", "--profile", "cpu"]) == 2
    assert "run `make` first (PROFILE=cpu)" in capsys.readouterr().err
