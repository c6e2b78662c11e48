"""The list of deliberate mistakes fits the code: each can be made, and what should notice it exists."""

import tomllib

from replication.files import ROOT

MUTANTS = tomllib.loads((ROOT / "tests/mutants.toml").read_text(encoding="utf-8"))["mutant"]


def test_every_mutant_changes_one_place_and_names_its_tests():
    for mutant in MUTANTS:
        source = (ROOT / "replication" / mutant["file"]).read_text(encoding="utf-8")
        assert source.count(mutant["old"]) == 1, mutant
        compile(source.replace(mutant["old"], mutant["new"]), mutant["file"], "exec")
        assert all((ROOT / "tests" / name.partition("::")[0]).exists() for name in mutant["tests"]), mutant


def test_no_mutant_is_there_twice():
    edits = [(mutant["file"], mutant["old"], mutant["new"]) for mutant in MUTANTS]
    assert len(edits) == len(set(edits)) >= 60
