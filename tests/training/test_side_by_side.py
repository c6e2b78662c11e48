"""Several trainings at a time, each in its own process, and the pictures that travel to another machine."""

import csv
import os
import signal
import sys
import threading
import time

import numpy as np
import pytest
from PIL import Image

from replication.__main__ import main
from replication.data.images import read_folder_of_pictures
from replication.training import arms, side_by_side
from replication.training.arms import Arm
from replication.training.side_by_side import Job, train_side_by_side, training_jobs


@pytest.fixture
def no_weights(monkeypatch):
    monkeypatch.setattr(arms, "has_card", lambda name: False)


@pytest.fixture
def scripts(monkeypatch, build_folder, tmp_path):
    """Processes run the job's first word as a program, with the file that all may write to; that file's lines."""
    log = tmp_path / "order.txt"
    monkeypatch.setattr(side_by_side, "command", lambda job, _: [sys.executable, "-c", job.words[0], str(log)])
    return lambda: log.read_text().split() if log.is_file() else []


def writes(word: str, seconds: float = 0.0) -> tuple[str]:
    return (f"import sys, time; time.sleep({seconds}); print('{word}', file=open(sys.argv[1], 'a'))",)


def test_starts_come_first_and_once(no_weights):
    jobs = training_jobs(
        [Arm("stya2k", "no-da"), Arm("stya2k", "code", continued=True), Arm("artflow", "adain")], "half"
    )
    assert {job.name: job.needs for job in jobs} == {
        "autoencoder-half": (),
        "stya2k-code-half-seed0": ("autoencoder-half",),
        "stya2k-no-da-half-seed0": ("stya2k-code-half-seed0",),
        "stya2k-code-continued-half-seed0": ("stya2k-code-half-seed0",),
        "artflow-adain-half-seed0": (),
    }
    assert jobs[-2].words[-1] == "--continued" and "--continued" not in jobs[-3].words


def test_what_is_shipped_is_not_trained():
    assert training_jobs([Arm("adain", "code")], "half") == []


def test_a_job_waits_for_what_it_needs(scripts):
    told = []
    jobs = [Job("after", writes("after"), ("before",)), Job("before", writes("before", 0.5)), Job("c", writes("c"))]
    assert train_side_by_side(jobs, 3, (), told.append) == []
    assert scripts() == ["c", "before", "after"]
    assert [line.partition(":")[0] for line in told] == ["[1/3] c", "[2/3] before", "[3/3] after"]


def test_no_more_than_asked_run_at_once(scripts):
    jobs = [Job("slow", writes("slow", 0.5)), Job("quick", writes("quick"))]
    assert train_side_by_side(jobs, 1, (), lambda _: None) == []
    assert scripts() == ["slow", "quick"]


def test_a_failure_is_told_and_the_others_are_trained(scripts):
    told = []
    jobs = [
        Job("bad", ("print('error: no disk'); raise SystemExit(2)",)),
        Job("heir", writes("heir"), ("bad",)),
        Job("good", writes("good")),
    ]
    assert train_side_by_side(jobs, 2, (), told.append) == ["bad", "heir"]
    assert scripts() == ["good"]
    assert "bad: failed: error: no disk" in "".join(told) and "heir: not trained: bad failed" in "".join(told)


def test_a_signal_to_end_leaves_no_training_behind(scripts):
    """Nor does it lose the handler that was there."""

    def missed(*_):
        raise AssertionError("the signal did not reach the trainings")

    def end_when_started():
        while not scripts():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, missed)
    try:
        job = Job("long", ("import os, sys, time; print(os.getpid(), file=open(sys.argv[1], 'a')); time.sleep(100)",))
        threading.Thread(target=end_when_started, daemon=True).start()
        with pytest.raises(SystemExit, match="143"):
            train_side_by_side([job], 1, (), lambda _: None)
        assert signal.getsignal(signal.SIGTERM) is missed
    finally:
        signal.signal(signal.SIGTERM, before)
    with pytest.raises(ProcessLookupError):
        os.kill(int(scripts()[0]), 0)


def test_jobs_and_methods_are_checked_before_the_first(capsys):
    for words, message in (
        (["--jobs", "0"], "--jobs must be at least 1, got 0"),
        (
            ["--method", "adain", "sanet", "--variant", "code"],
            "--variant, --continued and --further belong to one method",
        ),
        (["--method", "adain", "sanett"], "unknown method 'sanett'; did you mean sanet?"),
        (["--method", "stya2k", "--variant", "nothing", "--jobs", "2"], "stya2k has no variant 'nothing'"),
    ):
        assert main(["train", *words]) == 2
        assert message in capsys.readouterr().err


def test_packed_pictures_are_a_training_folder(tmp_path, capsys):
    for kind in ("content", "style"):
        (tmp_path / kind).mkdir()
        for index in range(4):
            pixels = np.full((60, 80, 3), 50 * index, dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / kind / f"{index}.png")
    (tmp_path / "manifest.csv").write_text("file,licence\ncontent/0.png,CC0\n")
    out = tmp_path / "packed"
    words = ["pack-pictures", "--content", str(tmp_path / "content"), "--style", str(tmp_path / "style")]
    words += ["--size", "32", "--count", "2", "--out", str(out)]
    assert main(words) == 0 and "wrote 4 pictures" in capsys.readouterr().out
    found = read_folder_of_pictures(out / "content")
    assert [picture.licence for picture in found] == ["CC0", "not stated"]
    assert found[0].tensor().shape == (3, 32, 43) and abs(found[1].tensor().mean().item() - 100 / 255) < 0.01
    with open(out / "style" / "manifest.csv", newline="") as table:
        assert [line["name"] for line in csv.DictReader(table)] == ["0.png", "2.png"]
    assert main(words) == 2 and "is not empty; name a new folder" in capsys.readouterr().err
