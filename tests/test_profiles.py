"""Profiles: sizes only, strictly checked."""

import dataclasses

import pytest

from replication import profiles
from replication.errors import UserError
from replication.papers.printed import reported
from replication.profiles import NAMES, Profile, training_changes


@pytest.mark.parametrize("name", NAMES)
def test_every_profile_loads(name):
    profile = Profile.load(name)
    assert profile.name == name and profile.size >= 64 and profile.train.crop <= profile.train.load


def test_unknown_profile_lists_the_known():
    with pytest.raises(UserError, match="smoke, quick, cpu, paper"):
        Profile.load("gpu")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda text: text.replace("size =", "sise ="), "unknown .'sise'.*missing .'size'"),
        (lambda text: text.replace("size = 64", 'size = "64"'), "size must be int"),
        (lambda text: text.replace("batch = 2", "batch = 2.5"), "batch must be int"),
    ],
)
def test_a_wrong_file_is_explained(edit, message, tmp_path, monkeypatch):
    text = (profiles.FOLDER / "smoke.toml").read_text()
    (tmp_path / "smoke.toml").write_text(edit(text))
    monkeypatch.setattr(profiles, "FOLDER", tmp_path)
    with pytest.raises(UserError, match=message):
        Profile.load("smoke")


def test_training_sizes_can_be_replaced():
    profile = Profile.load("cpu").with_training(steps=7)
    assert profile.train.steps == 7 and profile.size == Profile.load("cpu").size
    with pytest.raises(dataclasses.FrozenInstanceError):
        profile.size = 3


def test_printed_numbers_of_stya2k_table_1():
    frame = reported("StyA2K", "Table 1")
    assert len(frame) == 7 * 7 and not frame.duplicated(["row", "metric"]).any()
    votes = frame[frame.metric.str.startswith("user_")].groupby("metric").reported.sum()
    assert (abs(votes - 100) < 0.02).all()  # percentages of one vote each


def test_unknown_table_lists_the_known():
    with pytest.raises(UserError, match="StyA2K Table 1"):
        reported("StyA2K", "Table 9")


@pytest.mark.parametrize(
    "text", [b"", b"[train", b"train = 3", b"[train]", b"\xff", b"a = " + b"[" * 100_000, b"[train]\n[benchmark]\n64=0"]
)
def test_every_kind_of_broken_profile_is_named(text, tmp_path, monkeypatch):
    (tmp_path / "smoke.toml").write_bytes(text)
    monkeypatch.setattr(profiles, "FOLDER", tmp_path)
    with pytest.raises(UserError, match="smoke.toml"):
        Profile.load("smoke")


def test_sizes_of_a_training_come_from_words():
    changes = training_changes(["learning_rate=6e-4", "steps=40", "schedule=constant", "steps=50"])
    assert changes == {"learning_rate": 6e-4, "steps": 50, "schedule": "constant"}


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("steps", "no NAME=VALUE"),
        ("size=3", "learning_rate"),
        ("steps=1.5", "steps must be int"),
        ("averaged=half", "averaged must be float"),
    ],
)
def test_a_wrong_word_is_named(word, message):
    with pytest.raises(UserError, match=message):
        training_changes([word])
