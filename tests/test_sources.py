"""The order of the folders, and hashes of what a computation really imports."""

import shutil

import pytest

from replication import sources
from replication.evaluation.grid import Stylist, measure_pair
from replication.experiments.semantic import measure_job
from replication.experiments.sensitivity import measure_choice
from replication.experiments.video import measure_clip
from replication.methods import METHODS

STUDIES = {
    "grid": (measure_pair, Stylist),
    "semantic": (measure_job,),
    "video": (measure_clip,),
    "choice": (measure_choice,),
}


def test_imports_go_down_and_in_no_circle():
    print(sources.listing())
    assert sources.upward_imports() == []
    assert sources.circle() == []


def test_every_folder_has_a_place_in_the_order():
    assert {module.partition(".")[0] for module in sources.modules()} - set(sources.FACADE) == set(sources.FLOORS)


@pytest.fixture
def edited(tmp_path, monkeypatch):
    """A copy of the package in which a file can be edited; hashes are taken from it."""
    copy = tmp_path / "replication"
    shutil.copytree(sources.PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(sources, "PACKAGE", copy)
    sources.modules.cache_clear()

    def edit(module: str, old: str, new: str) -> None:
        path = sources.modules()[module]
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    yield edit
    sources.modules.cache_clear()


def test_a_circle_and_an_upward_import_are_found(edited):
    edited("nn.layers", "from ..errors", "from ..papers.rows import Row\nfrom ..errors")
    assert sources.upward_imports() == [("nn.layers", "papers.rows")]
    assert "nn.layers" in sources.circle() and "papers.rows" in sources.circle()


# What is edited: the studies whose cells must be computed again.
EDITS = {
    ("metrics.image", "data_range=255", "data_range=254"): {"grid", "semantic", "choice"},
    ("metrics.flicker", "float(100 *", "float(101 *"): {"video"},
    ("metrics.semantic", "PROJECTIONS = 16", "PROJECTIONS = 17"): {
        "grid",
        "semantic",
        "choice",
    },  # which has CFSD of real networks
    ("nn.layers", "EPS = 1e-5", "EPS = 1e-6"): {"grid", "semantic", "video", "choice"},
    ("methods.scsa", "CHUNK = 1024", "CHUNK = 1025"): {"semantic"},
    ("methods.manet", "GATE = 10.0", "GATE = 11.0"): set(),
    ("experiments.video", "def over_time(", "def over_the_time("): set(),
    ("experiments.semantic", '"w/o SSA": {"ssa": 0.0}', '"w/o SSA": {"ssa": 0.1}'): set(),
    ("papers.rows", "SEEDS = (0, 1, 2)", "SEEDS = (0, 1)"): set(),
    ("report.site", "import re\n", "import re\nimport os\n"): set(),
    ("weights.shipped", "@lru_cache(maxsize=32)", "@lru_cache(maxsize=33)"): set(),
    ("nn.state", "SMALL = 4096", "SMALL = 4097"): {"grid", "semantic", "video", "choice"},
    ("methods", '"adain": "AdaIN",', '"adain": "AdaIN",\n    "other": "Other",'): set(),
    ("nn.layers", '"""Pieces shared', '"""Parts shared'): set(),
}


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: f"{edit[0]}: {edit[2].split(chr(10))[0][:30]}")
def test_an_edit_makes_stale_what_imports_it_and_nothing_else(edited, edit):
    before = {name: sources.source_hash(*parts) for name, parts in STUDIES.items()}
    edited(*edit)
    after = {name: sources.source_hash(*parts) for name, parts in STUDIES.items()}
    assert {name for name in STUDIES if before[name] != after[name]} == EDITS[edit]


def test_a_method_depends_on_what_it_is_built_from(edited):
    names = ("adaattn", "datnet", "stya2k", "sanet")
    before = {name: sources.source_hash(METHODS[name]) for name in names}
    edited("methods.adaattn", "LOSS_TAPS = TAPS[1:]", "LOSS_TAPS = TAPS[0:]")
    assert {name for name in names if sources.source_hash(METHODS[name]) != before[name]} == {
        "adaattn",
        "datnet",
        "stya2k",
    }
