"""Files of moving pictures: times, cut-off files, sizes, sound, and what browsers play."""

import base64
import http.server
import io
import threading

import av
import numpy as np
import PIL.Image
import pytest
import torch
from helpers.videos import loudness, make_video, picture, tone

from replication import files
from replication.__main__ import main
from replication.data import video_files
from replication.data.formats import CLIP_SUFFIXES
from replication.data.images import write_image
from replication.data.video_files import Video, frames_of, steady, write_clip, write_video
from replication.errors import UserError

UNEVEN = (0.0, 0.03, 0.1, 0.35, 1.85, 1.9)


def total(path) -> float:
    """Seconds that a file's frames are shown, all together."""
    return sum(shown.seconds for shown in Video(path).frames())


def tensors(count: int, size: tuple[int, int] = (96, 64)) -> list[torch.Tensor]:
    return [torch.from_numpy(picture(number, size)).movedim(2, 0) / 255 for number in range(count)]


@pytest.mark.parametrize("ending", CLIP_SUFFIXES)
def test_clips_are_written_and_read(ending, tmp_path):
    frames = tensors(4)
    again = list(Video(write_clip(tmp_path / f"a{ending}", iter(frames), rate=10.0)).frames())
    assert len(again) == 4 and [shown.seconds for shown in again] == pytest.approx([0.1] * 4, abs=1e-3)
    assert [shown.start for shown in again] == pytest.approx([0, 0.1, 0.2, 0.3], abs=1e-3)
    for shown, frame in zip(again, frames, strict=True):
        assert (shown.image - frame).abs().mean() < 0.03


@pytest.mark.parametrize("ending", CLIP_SUFFIXES)
@pytest.mark.parametrize("source", ["uneven.mp4", "uneven.webm", "uneven.mkv"])
def test_frames_keep_their_own_times(source, ending, tmp_path):
    given = make_video(tmp_path / source, UNEVEN, "libvpx" if source.endswith("webm") else "mpeg4")
    expected = list(Video(given).frames())
    assert [shown.start for shown in expected] == pytest.approx(UNEVEN, abs=2e-3)
    path, _ = write_video(tmp_path / f"x{ending}", Video(given).frames(), Video(given))
    found = list(Video(path).frames())
    assert [shown.start for shown in found] == pytest.approx(UNEVEN, abs=6e-3)
    assert total(path) == pytest.approx(total(given), abs=0.011)


def test_an_mp4_declares_its_duration(tmp_path):
    """Players stop where the file says that it ends, also when the last frames are far apart."""
    given = make_video(tmp_path / "a.mkv", (0.0, 0.1, 0.2, 0.3, 1.8, 1.9))
    path, _ = write_video(tmp_path / "x.mp4", Video(given).frames())
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        declared = float(stream.duration * stream.time_base)
    assert declared == pytest.approx(total(given), abs=2e-3) and declared > 1.9


def test_a_video_of_one_frame_has_a_duration(tmp_path):
    given = make_video(tmp_path / "one.webm", (0.0,), "libvpx")
    assert 0.03 < total(given) < 0.05


@pytest.mark.parametrize("rate", [60, 120, 240])
@pytest.mark.parametrize("ending", CLIP_SUFFIXES)
def test_no_frame_is_shorter_than_browsers_show(ending, rate, tmp_path):
    path, notes = write_video(tmp_path / f"x{ending}", steady(tensors(24), float(rate)))
    lengths = [shown.seconds for shown in Video(path).frames()]
    assert sum(lengths) == pytest.approx(24 / rate, abs=0.021)
    shortest = {".gif": 0.02, ".webp": 0.011, ".mp4": 0}[ending]
    assert min(lengths) >= shortest - 1e-9
    assert bool(notes) == (len(lengths) < 24) == (1 / rate < shortest)
    if rate == 60 and ending == ".gif":
        assert len(lengths) == 12 and "left out: 12" in notes[0]


@pytest.mark.parametrize("source", ["cut.mp4", "cut.avi", "cut.mkv"])
@pytest.mark.parametrize("share", [0.4, 0.75])
def test_a_file_that_breaks_off_is_said(source, share, tmp_path):
    whole = make_video(tmp_path / f"whole-{source}", [n / 25 for n in range(40)], "mjpeg")
    video = Video(whole)
    assert len(list(video.frames())) == 40 and video.notes == []
    data = whole.read_bytes()
    if source.endswith("mp4"):  # the index first, as downloads have it
        with av.open(str(whole)) as file, av.open(str(tmp_path / "f.mp4"), "w", options={"movflags": "faststart"}) as o:
            stream = o.add_stream_from_template(file.streams.video[0])
            for packet in file.demux(video=0):
                if packet.dts is not None:
                    packet.stream = stream
                    o.mux(packet)
        data = (tmp_path / "f.mp4").read_bytes()
    (tmp_path / source).write_bytes(data[: int(share * len(data))])
    cut = Video(tmp_path / source)
    count = len(list(cut.frames()))
    assert count < 40 * share + 2
    (note,) = cut.notes
    assert source in note and "cut off" in note and (f"{count} of the 40" in note or "of the 1.6 seconds" in note)


def test_damage_in_the_middle_is_said(tmp_path):
    whole = make_video(tmp_path / "a.avi", [n / 25 for n in range(20)], "mjpeg")
    data = bytearray(whole.read_bytes())
    middle = data.index(b"00dc", len(data) // 2) + 8
    length = int.from_bytes(data[middle - 4 : middle], "little")
    data[middle : middle + length] = bytes(length)
    (tmp_path / "b.avi").write_bytes(data)
    video = Video(tmp_path / "b.avi")
    assert len(list(video.frames())) >= 18 and len(video.notes) == 1 and "b.avi" in video.notes[0]


@pytest.mark.parametrize("size", [(97, 65), (96, 65), (97, 64)])
def test_odd_sides_are_kept_or_padded_and_said(size, tmp_path):
    frames = tensors(2, size)
    for ending in CLIP_SUFFIXES:
        path, notes = write_video(tmp_path / f"x{ending}", steady(frames, 10.0))
        (first, _) = frames_of(path)
        height, width = frames[0].shape[1:]
        if ending == ".mp4":
            assert first.shape[1:] == (height + height % 2, width + width % 2) and "padded from" in notes[0]
            assert (first[:, -1, :width] - frames[0][:, -1]).abs().mean() < 0.05, "the border repeats"
        else:
            assert first.shape[1:] == (height, width) and notes == []
        assert (first[:, :height, :width] - frames[0]).abs().mean() < 0.03


@pytest.mark.parametrize("source", ["a.mp4", "a.avi", "a.mkv"])
def test_sound_is_carried_over_or_said_to_be_dropped(source, tmp_path):
    given = make_video(tmp_path / source, [n / 25 for n in range(25)], "mjpeg", sound=1.0)
    path, notes = write_video(tmp_path / "x.mp4", Video(given).frames(), Video(given))
    before, after = loudness(given), loudness(path)
    assert notes == [] and len(after) >= 10 and after[2:9] == pytest.approx(before[2:9], rel=0.1)
    for ending in (".gif", ".webp"):
        _, notes = write_video(tmp_path / f"x{ending}", Video(given).frames(), Video(given))
        assert len(notes) == 1 and "without the sound" in notes[0]


def test_sound_that_begins_later_stays_with_its_pictures(tmp_path):
    given = make_video(tmp_path / "a.mkv", [n / 25 for n in range(30)], "mjpeg", sound=0.6, sound_from=0.5)
    path, _ = write_video(tmp_path / "x.mp4", Video(given).frames(), Video(given))
    after = loudness(path)
    assert max(after[:4]) < 0.02 and min(after[6:10]) > 0.2


def test_mp4_is_what_browsers_play(tmp_path, browser):
    path = write_clip(tmp_path / "x.mp4", iter(tensors(6)), rate=10.0)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert stream.codec_context.colorspace == 1 and path.read_bytes().index(b"moov") < path.read_bytes().index(
            b"mdat"
        )
    address = "data:video/mp4;base64," + base64.b64encode(path.read_bytes()).decode()
    opened = browser.new_page()
    opened.set_content(f'<video src="{address}" muted></video>')
    facts = opened.evaluate(
        """async () => {
          const video = document.querySelector("video");
          await video.play();
          await new Promise((done) => { video.onended = done; });
          const shown = video.getVideoPlaybackQuality().totalVideoFrames;
          return [video.duration, video.videoWidth, video.videoHeight, shown];
        }"""
    )
    assert facts[:3] == pytest.approx([0.6, 96, 64], abs=0.02) and facts[3] >= 5


def test_colours_survive(tmp_path):
    for colour in ((0.9, 0.1, 0.1), (0.1, 0.8, 0.2), (0.2, 0.2, 0.9)):
        frame = torch.tensor(colour).view(3, 1, 1).expand(3, 48, 64)
        (again,) = frames_of(write_clip(tmp_path / "x.mp4", iter([frame])))
        assert again.mean(dim=(1, 2)).tolist() == pytest.approx(colour, abs=0.03)


def test_a_video_held_upright_is_read_upright(tmp_path):
    """Telephones write how they were held beside pictures that lie."""
    given = make_video(tmp_path / "a.mp4", (0.0, 0.04))
    data = bytearray(given.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    quarter = [0, 0x10000, 0, -0x10000, 0, 0, 64 << 16, 0, 0x40000000]  # a quarter turn clockwise, as MP4 writes it
    data[at : at + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in quarter)
    (tmp_path / "turned.mp4").write_bytes(data)
    lying, upright = (next(iter(frames_of(path))) for path in (given, tmp_path / "turned.mp4"))
    assert torch.equal(upright, lying.rot90(-1, (1, 2)))


def test_transparent_pictures_lie_on_white(tmp_path):
    images = [PIL.Image.new("RGBA", (32, 32), (255, 0, 0, alpha)) for alpha in (0, 255)]
    for ending in (".webp", ".png"):
        path = tmp_path / f"a{ending}"
        images[0].save(path, save_all=True, append_images=images[1:], duration=100, lossless=True)
        clear, red = frames_of(path)
        assert (clear > 0.98).all() and red[1].max() < 0.02


def test_a_size_that_changes_in_the_middle_is_brought_to_the_first(tmp_path):
    images = [PIL.Image.fromarray(picture(n, (64, 48))) for n in range(2)]
    written = [io.BytesIO(), io.BytesIO()]
    for image, buffer, size in zip(images, written, ((64, 48), (32, 24)), strict=True):
        image.resize(size).save(buffer, "JPEG", quality=95)
    (tmp_path / "a.mjpeg").write_bytes(b"".join(buffer.getvalue() for buffer in written))
    shapes = [frame.shape for frame in frames_of(tmp_path / "a.mjpeg")]
    assert shapes == [(3, 48, 64)] * 2


def test_mistakes_are_named(tmp_path, monkeypatch):
    (tmp_path / "x.mp4").write_text("not a video")
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "x.webp").write_bytes(b"RIFF\0\0\0\0WEBPVP8 ")
    with av.open(str(tmp_path / "song.mp4"), "w") as container:
        track = container.add_stream("aac", rate=16_000)
        frame = av.AudioFrame.from_ndarray(tone(0.1), format="s16", layout="mono")
        frame.rate = 16_000
        for packet in (*track.encode(frame), *track.encode(None)):
            container.mux(packet)
    for name, match in (
        ("x.mp4", "cannot read .*x.mp4"),
        ("empty.mp4", "cannot read"),
        ("x.webp", "cannot read"),
        ("y.mp4", "does not exist"),
        ("folder.mp4", "is a folder"),
        ("song.mp4", "no moving pictures"),
    ):
        with pytest.raises(UserError, match=match):
            list(frames_of(tmp_path / name))
    with pytest.raises(UserError, match="one of the endings"):
        write_clip(tmp_path / "a.avi", iter(tensors(1)))
    with pytest.raises(UserError, match="no frames"):
        write_clip(tmp_path / "a.webp", iter(()))
    monkeypatch.setitem(video_files.LARGEST_SIDE, ".webp", 80)
    with pytest.raises(UserError, match="96x64 px; .webp holds at most 80 px"):
        write_clip(tmp_path / "a.webp", iter(tensors(1)))
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("ending", CLIP_SUFFIXES)
def test_a_full_disk_is_said_and_leaves_nothing(ending, tmp_path, monkeypatch):
    """/dev/full takes no byte."""
    write_atomic = files.write_atomic
    for module in (files, video_files):
        monkeypatch.setattr(
            module, "write_atomic", lambda path, write: write_atomic(path, lambda temporary: full(temporary, write))
        )

    def full(temporary, write):
        link = temporary.with_name(f"link{temporary.suffix}")
        link.symlink_to("/dev/full")
        try:
            write(link)
        finally:
            link.unlink()

    with pytest.raises(UserError, match=f"cannot write .*x{ending}.*[Nn]o space left"):
        write_clip(tmp_path / f"x{ending}", iter(tensors(3)))
    assert list(tmp_path.iterdir()) == []


def test_a_playlist_opens_nothing_else(tmp_path):
    """Lists of files or addresses are videos to FFmpeg; here no other file is read and nothing is asked for."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_):
            pass

    make_video(tmp_path / "other.ts", [n / 25 for n in range(5)], "mpeg4")
    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        address = f"http://127.0.0.1:{server.server_port}/a.ts"
        for name, text in (
            ("a.m3u8", f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{address}\n#EXT-X-ENDLIST\n"),
            ("b.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nother.ts\n#EXT-X-ENDLIST\n"),
            ("c.ffconcat", "ffconcat version 1.0\nfile other.ts\n"),
        ):
            (tmp_path / name).write_text(text)
            with pytest.raises(UserError, match="cannot read"):
                list(frames_of(tmp_path / name))
    finally:
        server.shutdown()
        server.server_close()
    assert asked == []


def test_a_video_is_stylised_from_the_command_line(tmp_path, capsys):
    given = make_video(tmp_path / "in.avi", [n / 25 for n in range(3)], "mjpeg", (97, 65), sound=0.1)
    write_image(tmp_path / "style.png", tensors(1)[0])
    command = ["stylise", "--method", "adain", "--video", str(given), "--style", str(tmp_path / "style.png"), "--out"]
    assert main([*command, str(tmp_path / "out.webp")]) == 0
    assert "out.webp. without the sound" in capsys.readouterr().out
    with PIL.Image.open(tmp_path / "out.webp") as file:
        assert file.n_frames == 3
    assert main([*command, str(tmp_path / "out.mp4")]) == 0
    assert "padded" in capsys.readouterr().out and Video(tmp_path / "out.mp4").sound
    given.rename(tmp_path / "in.mp4")
    before = (tmp_path / "in.mp4").read_bytes()
    command[4] = str(tmp_path / "in.mp4")
    assert main([*command, str(tmp_path / "in.mp4")]) == 2
    assert "is what is read" in capsys.readouterr().err and (tmp_path / "in.mp4").read_bytes() == before
    assert main(["stylise", "--method", "adain", "--style", "x", "--out", "y.png"]) == 2
    assert "--content or --video" in capsys.readouterr().err


def test_names_that_are_not_utf_8_are_read_and_written(tmp_path):
    given = make_video(tmp_path / "a.mp4", (0.0, 0.04))
    name = tmp_path / "Mu\udcf1oz.mp4"
    given.rename(name)
    path, _ = write_video(tmp_path / "x\udcf1.mp4", Video(name).frames(), Video(name))
    assert len(list(frames_of(path))) == 2
    assert np.isfinite(total(path))
