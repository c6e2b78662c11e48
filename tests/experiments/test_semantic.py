"""SCSA's tables on tiny sizes: stored cells, intervals over pairs, what is printed."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.published_files import released_files

from replication import files
from replication.data.map_pairs import both_directions, scene_job
from replication.errors import UserError
from replication.evaluation import intervals
from replication.experiments import semantic
from replication.experiments.semantic import (
    ablation,
    comparison,
    gains,
    measure_jobs,
    semantic_table,
    shipped_semantic_rows,
    stylise_job,
    sweep,
)
from replication.papers.printed import printed_numbers
from replication.papers.rows import AUTHORS
from replication.profiles import Profile

SIZES = replace(Profile.load("smoke"), bootstrap=200)


def test_a_table_is_filled_and_stored(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "RESULTS", tmp_path)
    rows = [row for row in comparison() if row.host == "sanet"]
    jobs = both_directions([scene_job(0, 64), scene_job(1, 64)])
    cells = measure_jobs(rows, jobs, "student")
    frame = semantic_table("Comparison", rows, cells, SIZES)
    shown = frame.set_index(["row", "metric"])
    assert (
        shown.loc[("SANet", "ssl"), "reported"] == 1.6583
        and np.isfinite(shown.loc[("SANet", "ssl"), ["measured", "low", "high"]].astype(float)).all()
    )
    assert (
        "absent" in shown.loc[("SANet", "fid"), "note"] and "Stable Diffusion" in shown.loc[("StyleID", "ssl"), "note"]
    )
    assert np.isfinite(shown.loc[("SANet+SCSA", "frechet_substitute"), "measured"]) and np.isnan(
        shown.loc[("SANet+SCSA", "frechet_substitute"), "low"]
    )
    assert (tmp_path / "smoke" / "scsa-comparison.csv").is_file() and (
        tmp_path / "smoke" / "scsa-comparison.json"
    ).is_file()
    monkeypatch.setattr(semantic, "stylise_job", lambda *_: pytest.fail("a stored cell was computed again"))
    pd.testing.assert_frame_equal(cells, measure_jobs(rows, jobs, "student"))
    gain = gains(cells, frame, ["ssl"]).iloc[0]
    assert gain.reported == pytest.approx(0.8762 - 1.6583) and gain.low <= gain.measured <= gain.high


def test_rows_on_one_host_encode_a_job_once(monkeypatch):
    """And what they share is their host's alone: every result is that of the row by itself."""
    rows = [row for row in comparison() + sweep("sanet", sca=[0.7]) if row.host in ("sanet", "stytr2") and row.settings]
    (job,) = [scene_job(0, 64)]
    encoded, encode = [], semantic.SCSA.encode
    monkeypatch.setattr(semantic.SCSA, "encode", lambda host, *a: encoded.append(host) or encode(host, *a))
    seen = {}
    together = [stylise_job(row, job, "student", seen) for row in rows]
    assert len(encoded) == 2 and len(rows) == 6
    for row, result in zip(rows, together, strict=True):
        assert torch.equal(result, stylise_job(row, job, "student"))


def test_a_host_with_its_authors_weights_is_compared_with_itself(tmp_path, monkeypatch):
    """SANet's files are there, StyTr2's are not."""
    monkeypatch.setattr(files, "RESULTS", tmp_path)
    monkeypatch.setenv("REPLICATION_OFFICIAL", str(tmp_path))
    released_files(tmp_path, "sanet", vgg=True)
    hosts = [row for row in comparison() if row.host in ("sanet", "stytr2")]
    rows = shipped_semantic_rows(hosts, "student")
    ours, theirs = "SANet+SCSA", f"SANet+SCSA{AUTHORS}"
    assert [row.name for row in rows if row.host == "sanet"] == ["SANet", f"SANet{AUTHORS}", ours, theirs]
    assert shipped_semantic_rows(hosts, "vgg19") == [row for row in rows if row.official]
    jobs = both_directions([scene_job(0, 64), scene_job(1, 64)])
    cells = measure_jobs(rows, jobs, "student")
    frame = semantic_table("Comparison", rows, cells, SIZES)
    shown = frame.set_index(["row", "metric"])
    assert shown.reported[theirs, "ssl"] == shown.reported[ours, "ssl"] == 0.8762
    assert shown.measured[theirs, "ssl"] != shown.measured[ours, "ssl"]
    assert shown.note[theirs, "ssl"].startswith("authors' weights at their own width")
    assert shown.note[f"StyTr2+SCSA{AUTHORS}", "ssl"] == "authors' weights: missing embedding, transformer, decoder"
    gain = gains(cells, frame, ["ssl"]).set_index("row").measured
    difference = shown.measured[theirs, "ssl"] - shown.measured[f"SANet{AUTHORS}", "ssl"]
    assert list(gain.index) == [ours, theirs, "StyTr2+SCSA"] and gain[theirs] == pytest.approx(difference)


def test_without_any_host_the_way_out_is_said(monkeypatch):
    monkeypatch.setenv("REPLICATION_OFFICIAL", "")
    with pytest.raises(UserError, match="sanet, stytr2, adaattn, stya2k. has weights at vgg19 width.*--method sanet"):
        shipped_semantic_rows(comparison(), "vgg19")


def test_directions_of_a_pair_stay_together():
    """They differ by 10 in every pair and pairs do not differ: the mean is exact."""
    same = intervals.mean(np.array([[0.0, 10.0]] * 3), ["pairs", None])
    assert same.value == 5 and same.spread()[0] == 0
    assert np.isnan(intervals.mean(np.array([[0.0, 10.0]]), ["pairs", None]).interval()).all(), "one pair has no spread"
    error, degrees = intervals.mean(np.array([[0.0, 0.0], [10.0, 10.0]]), ["pairs", None]).spread()
    assert error == pytest.approx(5) and degrees == 1
    with pytest.raises(UserError, match="sources"):
        intervals.mean(np.zeros(3), ["pairs", None])


def test_rows_are_what_their_names_say():
    settings = {row.name: row.settings for row in ablation("stytr2")}
    assert (
        settings["w/o SCA"].sca == 0
        and settings["w/o SSA"].ssa == 0
        and settings["w/o S-AdaIN"].adain == "nowhere"
        and not settings["w/o mask"].masked
    )
    assert settings["Full model"].blend == 0.7 and len(set(settings.values())) == len(settings)
    assert len(sweep("sanet")) == 16
    assert set(settings) >= set(printed_numbers("SCSA", "Ablation").row)
