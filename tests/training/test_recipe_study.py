"""The study of short trainings: its committed file, and runs that differ in one thing."""

import pandas as pd
import pytest

from replication import files
from replication.errors import UserError
from replication.training.recipe_study import FACTORS, FINDINGS, differing, read_study


def made_up(**columns: list) -> pd.DataFrame:
    frame = pd.DataFrame(columns)
    fixed = dict.fromkeys(FACTORS, "x") | dict.fromkeys(FINDINGS, 1.0)
    return frame.assign(**{name: value for name, value in fixed.items() if name not in frame}, note="")


def test_every_column_of_the_committed_file_is_explained():
    whole = pd.read_csv(files.RESULTS / "reference" / "training-study.csv")
    assert {*whole.columns, "cpu_seconds"} == {"name", *FACTORS, *FINDINGS, "note"}
    study = read_study()
    assert len(study) == len(whole) and study.name.is_unique and not study[list(FACTORS)].isna().any().any()
    assert (study.cpu_seconds.dropna() > 0).all() and set(study.judge) >= {"own", "vgg19"}


def test_only_runs_that_are_alike_otherwise_are_set_side_by_side():
    study = made_up(
        name=["a", "b", "c", "d", "e"],
        judge=["own", "vgg19", "own", "vgg19", "own"],
        start=["none", "none", "mirror", "mirror", "other"],
        steps=[10, 10, 10, 20, 10],
    )
    found = differing(study, "judge")
    assert list(found.index) == [(1, "a"), (1, "b")] and list(found.judge) == ["own", "vgg19"]
    assert list(differing(study, "judge", free=("steps",)).index) == [(1, "a"), (1, "b"), (2, "c"), (2, "d")]
    assert list(differing(study, "start").index) == [(1, "a"), (1, "c"), (1, "e")]
    nothing = differing(study, "encoder")
    assert nothing.empty and "encoder" in nothing


def test_a_damaged_file_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "RESULTS", tmp_path)
    (tmp_path / "reference").mkdir()
    for text in (None, "", "name,steps\na,b\n"):
        if text is not None:
            (tmp_path / "reference" / "training-study.csv").write_text(text)
        with pytest.raises(UserError, match="training-study.csv.*restore it with git"):
            read_study()
