"""Cases of ../shared/cases, where they are at hand: videos, trainings and faults of the machine."""

import shutil

import av
import numpy as np
import pytest
import torch
from PIL import Image

from replication import files, plots
from replication.__main__ import main
from replication.data.video_files import Video, write_video
from replication.errors import UserError
from replication.experiments.user_study import read_votes
from replication.weights.shipped import write_manifest


@pytest.fixture
def cases(shared):
    if not (shared / "cases").is_dir():
        pytest.skip("the cases are not at hand")
    return shared / "cases"


def converted(path, out):
    """The case's video written again unpainted: its frames' times, the notes, and the new file."""
    given = Video(path)
    _, notes = write_video(out, given.frames(), given)
    return [shown.seconds for shown in Video(out).frames()], [*given.notes, *notes]


@pytest.mark.parametrize("ending", [".mp4", ".webp", ".gif"])
def test_24_frames_keep_their_times(ending, cases, tmp_path):
    lengths, _ = converted(cases / "24-webm-of-a-browser/browser.webm", tmp_path / f"x{ending}")
    assert sum(lengths) == pytest.approx(0.67, abs=0.01)
    lengths, _ = converted(cases / "24-webm-of-a-browser/delays.gif", tmp_path / f"x{ending}")
    assert max(lengths) == pytest.approx(1.5, abs=0.01) and sum(lengths) == pytest.approx(2, abs=0.01)


def test_26_sixty_frames_a_second_as_gif(cases, tmp_path):
    lengths, notes = converted(cases / "26-sixty-frames-to-gif/fps60.mp4", tmp_path / "x.gif")
    assert min(lengths) >= 0.02 and sum(lengths) == pytest.approx(0.2, abs=0.011) and notes


@pytest.mark.parametrize(("name", "count"), [("cut.mp4", 13), ("cut.avi", 12)])
def test_28_a_cut_off_file_is_said(name, count, cases, tmp_path):
    _, notes = converted(cases / "28-video-cut-off" / name, tmp_path / "x.mp4")
    assert len(notes) == 1 and f"{count} of the 30 frames" in notes[0]


def test_29_sound(cases, tmp_path):
    _, notes = converted(cases / "29-video-with-sound/sound.avi", tmp_path / "x.mp4")
    assert Video(tmp_path / "x.mp4").sound and notes == []
    _, notes = converted(cases / "29-video-with-sound/sound.avi", tmp_path / "x.gif")
    assert "without the sound" in notes[0]


def test_30_mp4_for_browsers(cases, tmp_path):
    converted(cases / "30-mp4-in-a-browser/clip.mp4", tmp_path / "x.mp4")
    with av.open(str(tmp_path / "x.mp4")) as container:
        assert container.streams.video[0].codec_context.name == "h264"


def test_31_odd_sizes(cases, tmp_path):
    _, notes = converted(cases / "31-odd-size/odd.gif", tmp_path / "x.mp4")
    assert "97x65 to 98x66" in notes[0]


def train(content, style, *more) -> int:
    command = ["train", "--method", "adain", "--profile", "smoke", "--steps", "2", "--batch", "2"]
    return main([*command, "--content", str(content), "--style", str(style), *more])


@pytest.fixture
def shelf(tmp_path, monkeypatch, build_folder):
    monkeypatch.setattr(files, "CHECKPOINTS", tmp_path / "checkpoints")
    return tmp_path / "checkpoints"


def test_20_a_broken_picture(cases, shelf, build_folder, capsys):
    folder = cases / "20-corrupt-picture-in-training"
    assert train(folder / "set", folder / "one") == 2
    assert "p08.jpg" in capsys.readouterr().err and not (build_folder / "train").exists()
    assert train(folder / "set", folder / "one", "--skip-unreadable") == 0


def test_21_names_that_are_not_utf_8(cases, shelf, tmp_path):
    (tmp_path / "d").mkdir()
    shutil.copy(cases / "photo.jpg", tmp_path / "d" / "Mu\udcf1oz.jpg")
    assert train(tmp_path / "d", tmp_path / "d") == 0
    command = ["explore", "--content", str(tmp_path / "d" / "Mu\udcf1oz.jpg"), "--methods", "sanet", "--size", "64"]
    files.CHECKPOINTS = files.ROOT / "checkpoints"  # undone by the fixture
    assert main([*command, "--style", str(cases / "painting.jpg"), "--out", str(tmp_path / "x.html")]) == 0


def test_22_no_steps_and_weights_without_card(cases, shelf, tmp_path, capsys):
    (tmp_path / "d").mkdir()
    shutil.copy(cases / "photo.jpg", tmp_path / "d")
    assert train(tmp_path / "d", tmp_path / "d", "--steps", "0") == 2 and not shelf.exists()
    shelf.mkdir()
    (shelf / "adain-code-student-seed19.safetensors.xz").write_bytes(b"")
    assert train(tmp_path / "d", tmp_path / "d") == 0


def test_b1_temporaries(cases, shelf):
    shelf.mkdir()
    (shelf / ".adain-code-student-seed0.safetensors-k3j2h1aa.xz").touch()
    write_manifest()
    assert "adain" not in (shelf / "manifest.csv").read_text()


def test_b6_broken_votes(cases, tmp_path):
    folder = cases / "b6-broken-votes"
    for path in sorted((folder / "votes").glob("*.json")):
        own = tmp_path / path.stem
        own.mkdir()
        shutil.copy(path, own)
        if path.stem in ("good", "voter-blank-before"):
            read_votes(own, folder / "key.json")
        else:
            with pytest.raises(UserError, match=path.name):
                read_votes(own, folder / "key.json")
    (tmp_path / "folder" / "x.json").mkdir(parents=True)
    with pytest.raises(UserError, match="x.json"):
        read_votes(tmp_path / "folder", folder / "key.json")


def test_b7_dollars(cases, tmp_path):
    image = torch.from_numpy(np.array(Image.open(cases / "photo.jpg"))).movedim(2, 0) / 255
    figure = plots.image_grid([[image]], ["a $x^$ b"])
    figure.savefig(tmp_path / "a.png")
    plots.close(figure)
