"""Many pictures: what is named, what is kept, what is reported, and how often a picture is encoded."""

import json
import os
import subprocess
import sys

import pytest
import torch
from PIL import Image

from replication.__main__ import main
from replication.data.images import contents, read_image, styles, write_image
from replication.methods.base import Method
from replication.stylise import folder as painting
from replication.stylise import jobs
from replication.stylise.file import with_colours_of


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Three photographs, one of them in a folder below, and two paintings."""
    monkeypatch.chdir(tmp_path)
    for index, place in enumerate(("photos/a.jpg", "photos/b.png", "photos/more/c.jpg")):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        Image.open(contents(3)[index].path).convert("RGB").resize((90, 70)).save(tmp_path / place)
    (tmp_path / "paintings").mkdir()
    for index in range(2):
        Image.open(styles(2)[index].path).convert("RGB").resize((80, 80)).save(f"paintings/{index}.jpg")
    return tmp_path


def call(*words: str, methods: tuple[str, ...] = ("adain",)) -> int:
    return main(["stylise", "--method", *methods, "--style", "paintings", "--out", "out", *words])


def names(folder) -> list[str]:
    return sorted(path.name for path in (folder / "out").glob("*.png"))


def test_every_combination_is_painted_as_one_by_one(folder, capsys):
    assert call("--content", "photos", methods=("AdaIN", "sanet")) == 0
    assert len(names(folder)) == 3 * 2 * 2 and "c--1--sanet.png" in names(folder)
    assert capsys.readouterr().out.count("\n") == 12
    alone = ["stylise", "--method", "sanet", "--content", "photos/more/c.jpg", "--style", "paintings/1.jpg"]
    assert main([*alone, "--out", "alone.png"]) == 0
    assert torch.equal(read_image("alone.png"), read_image("out/c--1--sanet.png"))


def test_pictures_are_encoded_once(folder, monkeypatch):
    counts, whole = {"encode_content": 0, "encode_style": 0}, painting.encode_named

    def counted(encode, image, path):
        counts[encode.__name__] += 1
        return whole(encode, image, path)

    monkeypatch.setattr(painting, "encode_named", counted)
    assert call("--content", "photos") == 0 and counts == {"encode_content": 3, "encode_style": 2}
    monkeypatch.setattr(painting, "STYLES_AT_ONCE", 1)
    assert call("--content", "photos", "--alpha", "0.5") == 0 and counts == {"encode_content": 9, "encode_style": 4}


def test_finished_results_are_kept_until_something_changes(folder, capsys):
    def said(*words) -> str:
        capsys.readouterr()
        assert call("--content", "photos/a.jpg", "photos/*.png", *words) == 0
        return capsys.readouterr().out

    assert "kept" not in said() and said().count("kept") == 4
    (folder / "out/a--1--adain.png").unlink()
    assert said().count("kept") == 3
    assert said("--alpha", "0.5").count("kept") == 0
    Image.new("RGB", (70, 70), "red").save("paintings/0.jpg")
    assert said("--alpha", "0.5").count("kept") == 2


def test_one_bad_file_is_reported_and_the_rest_done(folder, capsys):
    (folder / "photos/broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    (folder / "paintings/zzz.png").write_text("text")
    assert call("--content", "photos", "--json") == 1
    shown = capsys.readouterr()
    lines = [json.loads(line) for line in shown.out.splitlines()]
    failed = [line for line in lines if line["status"] == "failed"]
    assert len(lines) == 4 * 3 and len(names(folder)) == 6 and len(failed) == 6
    assert all("broken.jpg" in line["error"] or "zzz.png" in line["error"] for line in failed)
    assert shown.err.startswith("6 of 12 results failed")


def test_why_a_picture_cannot_be_read_is_said_once(folder, capsys):
    (folder / "photos/broken.jpg").write_bytes(b"")
    assert call("--content", "photos") == 1
    failed = [line for line in capsys.readouterr().out.splitlines() if ": failed: " in line]
    first = failed[0].partition("]")[0].removeprefix("[")
    assert len(failed) == 2 and "broken.jpg" in failed[0].partition("failed: ")[2]
    assert failed[1].endswith(f"failed: for the reason of {first}")


def test_results_in_the_folder_of_pictures_are_no_pictures(folder):
    words = ["stylise", "--method", "adain", "--content", ".", "--style", "paintings/0.jpg", "--out", "photos/done"]
    assert main(words) == 0 and main(words) == 0
    assert len(list((folder / "photos/done").glob("*.png"))) == 5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--content", "photos", "--out", "photos"], "name another --out"),
        (["--content", "photos", "--out", "x.png"], "x.png is one file; name a folder"),
        (["--content", "nothing*"], "nothing* holds no image"),
        (["--content", "photos/a.jpg", "no.jpg"], "no.jpg does not exist"),
        (["--content", "photos", "--alpha", "2"], "alpha must be between 0 and 1"),
        (["--content", "photos", "--size", "9"], "size must be at least 64"),
        (["--content", "photos", "--sheet", "x.doc"], "x.doc: give it one of the endings"),
        (["--content", "photos", "other/photos", "--out", "out"], "would give results of one name"),
    ],
)
def test_mistakes_are_found_before_anything_is_painted(words, message, folder, monkeypatch, capsys):
    (folder / "other/photos").mkdir(parents=True)
    Image.new("RGB", (70, 70)).save("other/photos/a.jpg")
    monkeypatch.setattr(Method, "decode", lambda *_: pytest.fail("computed"))
    assert call(*words) == 2
    shown = capsys.readouterr().err
    assert message in shown and shown.count("\n") == 1


def test_pictures_of_other_formats_in_a_folder_are_named(folder, capsys):
    for name in ("IMG_1.HEIC", "more/shot.avif", ".hidden.heic"):
        (folder / "photos" / name).write_bytes(b"x")
    assert call("--content", "photos", "photos/*") == 0 and len(names(folder)) == 6
    assert capsys.readouterr().err == "left out: IMG_1.HEIC, shot.avif; convert them to PNG or JPEG\n"
    (folder / "phone").mkdir()
    (folder / "phone/IMG_2.HEIC").write_bytes(b"x")
    assert call("--content", "phone") == 2
    assert "phone holds no image" in (said := capsys.readouterr().err) and "only IMG_2.HEIC; convert" in said


def test_all_methods_without_a_strength_are_named_at_once(folder, capsys):
    assert call("--content", "photos", "--alpha", "0.5", methods=("adain", "adaattn", "datnet")) == 2
    assert "AdaAttN, DatNet: no alpha" in capsys.readouterr().err and not names(folder)


def test_large_photographs_are_said_to_be_slow(folder, monkeypatch, capsys):
    assert call("--content", "photos", "--size", "64") == 0 and not capsys.readouterr().err
    monkeypatch.setattr(jobs, "SLOW", 90 * 70 - 1)
    assert call("--content", "photos") == 0
    assert capsys.readouterr().err == "3 photographs, up to a.jpg (90x70 px): large, so slow; --size 1080 is quicker\n"
    (folder / "broken.jpg").write_bytes(b"x")
    note = jobs.slow_note([folder / "broken.jpg", folder / "photos/b.png"], jobs.DEFAULTS)
    assert note.startswith("b.png (90x70 px)")


def test_pictures_on_a_contact_sheet_are_whole(tmp_path):
    rows = torch.arange(0, 1, 1 / 800).expand(3, 100, 800)
    write_image(tmp_path / "wide.png", rows)
    small = painting._small(tmp_path / "wide.png")
    assert small.shape == (3, 32, 256) and small[0, 0, 0] < 0.01 and small[0, 0, -1] > 0.98
    (tmp_path / "broken.png").write_bytes(b"")
    assert painting._small(tmp_path / "broken.png") is None


def test_equal_names_of_two_folders_are_told_apart(folder):
    (folder / "other").mkdir()
    Image.new("RGB", (70, 70)).save("other/a.jpg")
    assert call("--content", "photos/a.jpg", "other") == 0
    assert {"photos-a-jpg--0--adain.png", "other-a-jpg--0--adain.png"} < set(names(folder))


def test_a_contact_sheet_has_a_line_a_pair_and_a_column_a_method(folder):
    (folder / "photos/broken.jpg").write_bytes(b"")
    assert call("--content", "photos", "--sheet", "sheet.jpg", methods=("adain", "sanet")) == 1
    height, width = read_image("sheet.jpg").shape[1:]
    assert height == pytest.approx(width * 8 / 4, rel=0.1)


def test_colours_are_preserved(folder, tmp_path):
    assert main(
        ["stylise", "--method", "adain", "--content", "photos/a.jpg", "--style", "paintings/0.jpg"]
        + ["--out", "kept.png", "--preserve-colour"]
    ) == 0  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    content, stylised = (torch.rand(1, 3, 5, 4, generator=generator) for _ in range(2))
    made = with_colours_of(content, stylised)
    to_yiq = torch.tensor([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
    (y, i, q), (y_style, *_), (_, i_photo, q_photo) = (
        torch.einsum("kc,bchw->kbhw", to_yiq, image) for image in (made, stylised, content)
    )
    assert torch.allclose(y, y_style, atol=1e-5)
    assert torch.allclose(i, i_photo, atol=1e-4) and torch.allclose(q, q_photo, atol=1e-4)
    plain = read_image("photos/a.jpg")
    assert (read_image("kept.png") - plain).std(dim=0).mean() < 0.3 * (read_image("kept.png") - plain).std()


def test_two_pairs_of_one_name_are_said_before_anything_is_painted(folder, capsys):
    for name in ("photos/x.png", "photos/x--y.png", "paintings/y--z.png", "paintings/z.png"):
        Image.new("RGB", (70, 70), "red").save(folder / name)
    assert call("--content", "photos") == 2
    assert "would give results of one name" in capsys.readouterr().err and not names(folder)


def test_a_name_that_no_folder_takes_is_said_before_anything_is_painted(folder, capsys):
    (folder / "photos/b.png").rename(folder / f"photos/{'b' * 250}.png")
    assert call("--content", "photos") == 2
    assert "too long a name" in capsys.readouterr().err and not names(folder)


def test_an_empty_word_is_no_folder(folder, capsys):
    assert call("--content", "") == 2
    assert "empty" in capsys.readouterr().err and not names(folder)


def test_a_link_to_itself_and_a_folder_with_an_ending_of_pictures_stop_nothing(folder, capsys):
    (folder / "photos/loop.jpg").symlink_to("loop.jpg")
    (folder / "photos/sorted.png").mkdir()
    count = len(list((folder / "photos").glob("*.png"))) - 1
    assert call("--content", "photos", "--json") == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    failed = [line for line in lines if line["status"] == "failed"]
    assert failed and all("loop.jpg" in line["error"] for line in failed) and len(names(folder)) >= count


def test_pictures_inside_the_folder_of_results_are_said_to_be_there(folder, capsys):
    words = ["stylise", "--method", "adain", "--content", "photos", "--style", "paintings/0.jpg", "--out", "."]
    assert main(words) == 2
    assert "lies in the folder of results" in capsys.readouterr().err


def test_a_sheet_in_a_format_that_cannot_be_drawn_is_said_first(folder, capsys):
    assert call("--content", "photos", "--sheet", "sheet.bmp") == 2
    assert "sheet.bmp" in capsys.readouterr().err and not names(folder)


def test_letters_that_the_terminal_lacks_end_no_command(folder):
    (folder / "photos/b.png").rename(folder / "photos/\u00e9.png")
    words = ["stylise", "--method", "adain", "--content", "photos", "--style", "paintings/0.jpg", "--out", "new"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-m", "replication", *words, "--size", "64"], env=environment, cwd=folder, capture_output=True
    )
    assert done.returncode == 0 and b"\\xe9" in done.stdout, done.stderr
