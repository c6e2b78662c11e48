"""Files of moving pictures: reading them with their frames' own times, and writing MP4, animated WebP and GIF.

A frame is shown from its own time to the next one's, whatever its file calls a rate: videos of browsers and telephones
have none. FFmpeg, in the wheel of PyAV, reads and writes MP4 (H.264, AAC), which browsers and notebooks play. Pillow
writes WebP and GIF, and reads animated WebP, which FFmpeg does not.

Only the file itself is opened: a playlist that names other files or addresses is refused.
"""

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import PIL.Image
import PIL.ImageSequence
import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import UserError
from ..files import write_atomic, write_encoded
from .formats import CLIP_SUFFIXES
from .images import to_uint8

# Pixels a side that the formats hold, and the shortest time of a frame in seconds: browsers show a GIF's frame of less
# than 20 ms, and a WebP's of less than 11, for 100 ms.
LARGEST_SIDE = {".mp4": 16384, ".webp": 16383, ".gif": 65535}
SHORTEST = {".mp4": 0.0, ".webp": 0.011, ".gif": 0.02}
# GIF counts hundredths of a second in two bytes, WebP milliseconds in three.
LONGEST = {".mp4": float("inf"), ".webp": 16777.215, ".gif": 655.35}
# Ticks per second of the MP4 files written: whole for 24, 25, 30, 60 and 30000/1001 frames a second.
TICKS = 90_000
# Seconds between frames where a file of one frame says nothing.
USUAL = 1 / 25


@dataclass(frozen=True)
class Shown:
    """A frame, RGB in [0, 1], and when it is shown: seconds since the first frame, and for how long."""

    image: Float[Tensor, "3 height width"]
    start: float
    seconds: float


class Video:
    """A video file.

    notes  what is amiss with it, a sentence each; complete when all frames were read
    sound  whether it has a sound track

    Raises UserError for a missing file, a folder, or a file without moving pictures.
    """

    def __init__(self, path: str | Path):
        self.path, self.notes = Path(path), []
        if self.path.is_dir():
            raise UserError(f"{self.path} is a folder; name one video file")
        if not self.path.is_file():
            raise UserError(f"{self.path} does not exist; check the path")
        with open(self.path, "rb") as file:
            head = file.read(12)
        self._webp = head[:4] == b"RIFF" and head[8:] == b"WEBP"
        self.sound = False
        if self._webp:
            self._still().close()
        else:
            with self._open() as container:
                self._pictures(container)
                self.sound = bool(container.streams.audio)

    def _unreadable(self, reason: object) -> UserError:
        return UserError(f"cannot read {self.path} as a video ({reason}); convert it to MP4 (H.264)")

    def _still(self) -> PIL.Image.Image:
        try:
            return PIL.Image.open(self.path)
        except (OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError) as error:
            raise self._unreadable(error) from error

    @contextmanager
    def _open(self) -> Iterator[av.container.InputContainer]:
        with open(self.path, "rb") as file:
            try:
                # With no protocol allowed, FFmpeg reads this file and nothing that it names.
                container = av.open(file, metadata_errors="replace", options={"protocol_whitelist": "none"})
            except (av.FFmpegError, OSError, ValueError) as error:  # OSError where it seeks before the beginning
                raise self._unreadable(getattr(error, "strerror", None) or error) from error
            with container:
                yield container

    def _pictures(self, container: av.container.InputContainer) -> av.VideoStream:
        for stream in container.streams.video:
            if not stream.disposition & av.stream.Disposition.attached_pic:  # the cover of a song
                return stream
        raise self._unreadable("it holds no moving pictures")

    def frames(self) -> Iterator[Shown]:
        """The frames in order, all of the first one's size. Raises UserError when there is none."""
        pictures = self._webp_frames() if self._webp else self._decoded()
        size = first = before = None
        step = USUAL
        for image, time, lasting in pictures:
            if before is None:
                size, first = image.shape[:2], time or 0.0
                start = 0.0
            else:
                # Some files repeat a time or go back: a frame has at least a millisecond.
                start = max(before[1] + 0.001, before[1] + before[2] if time is None else time - first)
                step = start - before[1]
                yield Shown(before[0], before[1], step)
            if image.shape[:2] != size:
                image = np.asarray(PIL.Image.fromarray(image).resize(size[::-1], PIL.Image.Resampling.BICUBIC))
            tensor = torch.from_numpy(image.copy()).movedim(2, 0).float().div_(255)
            before = tensor, start, lasting or step
        if before is None:
            raise self._unreadable("no frame can be decoded")
        yield Shown(*before)

    def _webp_frames(self) -> Iterator[tuple[np.ndarray, float | None, float]]:
        time = 0.0
        with self._still() as file:
            for frame in PIL.ImageSequence.Iterator(file):
                rgba = frame.convert("RGBA")
                lasting = frame.info.get("duration", 0) / 1000
                yield _on_white(np.asarray(rgba)), time, lasting
                time += lasting or USUAL

    def _decoded(self) -> Iterator[tuple[np.ndarray, float | None, float]]:
        """Pixels, time and duration of every frame; what is missing is noted at the end."""
        with self._open() as container:
            stream = self._pictures(container)
            whole, began = container.duration, container.start_time or 0
            declared, rate = stream.frames, stream.average_rate or stream.guessed_rate
            usual = float(1 / rate) if rate and rate <= 240 else USUAL  # 1000 stands for "not known"
            read = broken = 0
            end = 0.0
            packets = container.demux()
            while True:
                try:
                    packet = next(packets, None)
                except (av.FFmpegError, OSError, ValueError):
                    broken += 1
                    break
                if packet is None:
                    break
                last = packet.pts if packet.pts is not None else packet.dts
                if last is not None:
                    end = max(end, float((last + (packet.duration or 0)) * packet.time_base))
                if packet.stream is not stream:
                    continue
                try:
                    decoded = packet.decode()
                except (av.FFmpegError, OSError, ValueError):
                    broken += 1
                    continue
                for frame in decoded:
                    read += 1
                    broken += frame.is_corrupt
                    lasting = float(frame.duration * frame.time_base) if frame.time_base else 0.0
                    yield _pixels(frame), frame.time, lasting or (0.0 if read > 1 else usual)
            seconds = 0.0 if whole is None else (began + whole) / av.time_base
            short = seconds - end > max(0.1, 2 * usual)
            # MP4 files may declare frames that an edit list leaves out: there the time decides.
            fewer = declared > read + 1 and ("mp4" not in container.format.name or short)
            if fewer or short:
                of = f"{read} of the {declared} frames" if fewer else f"{end:.1f} of the {seconds:.1f} seconds"
                self.notes.append(f"{self.path} is cut off or damaged: {of} that it declares could be read")
            elif broken:
                self.notes.append(f"{self.path} is damaged: {broken} of its parts could not be read")


def _on_white(rgba: np.ndarray) -> np.ndarray:
    """Transparency is laid on white, as for images."""
    if (rgba[:, :, 3] == 255).all():
        return rgba[:, :, :3]
    image = PIL.Image.fromarray(rgba)
    return np.asarray(PIL.Image.alpha_composite(PIL.Image.new("RGBA", image.size, "white"), image).convert("RGB"))


def _pixels(frame: av.VideoFrame) -> np.ndarray:
    """Bytes (height, width, 3), turned as the file says that it was held."""
    if any(component.is_alpha for component in frame.format.components):
        pixels = _on_white(frame.to_ndarray(format="rgba"))
    else:
        pixels = frame.to_ndarray(format="rgb24")
    return np.rot90(pixels, round(frame.rotation / 90))


def frames_of(path: str | Path) -> Iterator[Float[Tensor, "3 height width"]]:
    """The frames of a video file, RGB in [0, 1], one after another. Raises UserError as `Video`."""
    return (shown.image for shown in Video(path).frames())


def steady(frames: Iterable[Float[Tensor, "3 height width"]], rate: float) -> Iterator[Shown]:
    """Frames shown for equal times, `rate` a second."""
    return (Shown(frame, number / rate, 1 / rate) for number, frame in enumerate(frames))


def check_clip_name(path: Path) -> None:
    """Raises UserError for an ending that no clip has."""
    if path.suffix.lower() not in CLIP_SUFFIXES:
        raise UserError(f"cannot write {path}: give it one of the endings {', '.join(CLIP_SUFFIXES)}")


def write_video(
    path: str | Path, frames: Iterator[Shown], sound: Video | None = None, quality: int = 80
) -> tuple[Path, list[str]]:
    """Write frames for their own times; returns the path, and what differs from the frames given, a sentence each.

    sound    a video whose sound is copied; only MP4 holds sound
    quality  of WebP, 0 to 100

    An odd side of an MP4 is padded by repeating the border, because H.264 halves the colours.
    Raises UserError for another ending, for no frame, or for frames larger than the format holds.
    """
    path, notes = Path(path), []
    check_clip_name(path)
    kind = path.suffix.lower()
    first = next(frames, None)
    if first is None:
        raise UserError(f"nothing to write to {path}: there are no frames")
    height, width = first.image.shape[1:]
    if max(height, width) > LARGEST_SIDE[kind]:
        raise UserError(
            f"cannot write {path}: {width}x{height} px; {kind} holds at most {LARGEST_SIDE[kind]} px a side; make it"
            " smaller with --size"
        )

    def every() -> Iterator[Shown]:
        yield first
        yield from frames

    if kind == ".mp4":
        write_atomic(path, lambda temporary: _write_mp4(temporary, every(), (height, width), sound, notes))
    else:
        write_encoded(path, lambda buffer: _write_moving(buffer, every(), kind, quality, notes))
    if kind == ".mp4" and (height % 2 or width % 2):
        notes.append(f"padded from {width}x{height} to {width + width % 2}x{height + height % 2} px, which H.264 needs")
    if kind != ".mp4" and sound is not None and sound.sound:
        notes.append(f"without the sound, which {kind} cannot hold; take .mp4 to keep it")
    return path, notes


def write_clip(
    path: str | Path, frames: Iterable[Float[Tensor, "3 height width"]], rate: float = 25.0, quality: int = 80
) -> Path:
    """Write frames, `rate` a second, as MP4, animated WebP or GIF. Raises UserError as `write_video`."""
    return write_video(path, steady(frames, rate), quality=quality)[0]


def _write_moving(buffer: io.BytesIO, frames: Iterator[Shown], kind: str, quality: int, notes: list[str]) -> None:
    unit = 0.01 if kind == ".gif" else 0.001
    durations: list[int] = []  # milliseconds; Pillow asks for a frame's after it took the frame

    def pictures() -> Iterator[PIL.Image.Image]:
        kept, left_out, end = None, 0, 0.0
        for shown in frames:
            end = shown.start + shown.seconds
            if kept is not None and shown.start - kept.start < SHORTEST[kind] - 1e-6:
                left_out += 1
                continue
            if kept is not None:
                durations.append(_whole(kept.start, shown.start, unit, kind))
                yield PIL.Image.fromarray(to_uint8(kept.image))
            kept = shown
        durations.append(_whole(kept.start, end, unit, kind))
        yield PIL.Image.fromarray(to_uint8(kept.image))
        if left_out:
            notes.append(f"frames left out: {left_out}, because {kind} shows at most {1 / SHORTEST[kind]:.0f} a second")

    images = pictures()
    options = {"append_images": images, "duration": durations, "loop": 0, "quality": quality}
    next(images).save(buffer, kind[1:].upper(), save_all=True, **options)


def _whole(start: float, end: float, unit: float, kind: str) -> int:
    """Milliseconds between two times, rounded so that the errors of many frames do not add up."""
    steps = round(end / unit) - round(start / unit)
    shortest, longest = (round(limit[kind] / unit) for limit in (SHORTEST, LONGEST))
    return round(min(max(steps, shortest), longest) * unit * 1000)


def _write_mp4(
    temporary: Path, frames: Iterator[Shown], size: tuple[int, int], sound: Video | None, notes: list[str]
) -> None:
    height, width = size
    try:
        with av.open(str(temporary.absolute()), "w", options={"movflags": "faststart"}) as container:
            # The rate is only a hint to the encoder; ticks give the times. Frames that refer to later ones (bf) would
            # be stored out of order, and MP4 then takes uneven times for another duration.
            stream = container.add_stream("libx264", rate=25, options={"crf": "18", "bf": "0"})
            stream.width, stream.height, stream.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
            stream.codec_context.time_base = stream.time_base = Fraction(1, TICKS)
            _bt709(stream.codec_context)
            track = _Sound(container, sound, notes) if sound is not None and sound.sound else None
            lasting: dict[int, int] = {}
            for shown in frames:
                pixels = np.pad(to_uint8(shown.image), ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(
                    format="yuv420p",
                    dst_colorspace=av.video.reformatter.Colorspace.ITU709,
                    src_color_range=av.video.reformatter.ColorRange.JPEG,
                    dst_color_range=av.video.reformatter.ColorRange.MPEG,
                )
                frame.pts, frame.time_base = round(shown.start * TICKS), Fraction(1, TICKS)
                lasting[frame.pts] = max(1, round((shown.start + shown.seconds) * TICKS) - frame.pts)
                _mux(container, stream.encode(frame), lasting)
                if track is not None:
                    track.write_until(shown.start)
            _mux(container, stream.encode(None), lasting)
            if track is not None:
                track.write_until(float("inf"))
    except av.FFmpegError as error:
        raise OSError(error.errno, error.strerror or str(error)) from error


def _bt709(context: av.VideoCodecContext) -> None:
    """Say which colours are meant: players take untagged ones for BT.601 or BT.709 by the size of the picture."""
    context.colorspace, context.color_primaries, context.color_trc = 1, 1, 1
    context.color_range = 1


def _mux(container: av.container.OutputContainer, packets: list[av.Packet], lasting: dict[int, int]) -> None:
    for packet in packets:
        # Without it the last frame would last as long as the one before.
        packet.duration = lasting.pop(packet.pts)
        container.mux(packet)


class _Sound:
    """The sound of a video, encoded anew as AAC beside the pictures of a container."""

    def __init__(self, container: av.container.OutputContainer, source: Video, notes: list[str]):
        self.container, self.source, self.notes = container, source, notes
        self.ahead = self._encoded()
        self.waiting = None
        with source._open() as file:
            given, pictures = file.streams.audio[0], source._pictures(file)
            self.began = float((pictures.start_time or 0) * pictures.time_base)
            rates = av.codec.Codec("aac", "w").audio_rates
            rate = given.rate if given.rate in rates else 48_000
            layout = "mono" if given.channels == 1 else "stereo"
        self.stream = container.add_stream("aac", rate=rate, layout=layout)

    def _encoded(self) -> Iterator[tuple[float, list[av.Packet]]]:
        """Packets, and the time in seconds that they begin at."""
        rate, time = self.stream.rate, 0.0
        with self.source._open() as file:
            resampler = av.AudioResampler("fltp", self.stream.layout, rate)
            place = None
            try:
                for frame in file.decode(audio=0):
                    time = (frame.time or 0.0) - self.began
                    if time < -0.001:  # before the first picture
                        continue
                    for piece in resampler.resample(frame):
                        place = round(time * rate) if place is None else place
                        piece.pts, piece.time_base = place, Fraction(1, rate)
                        place += piece.samples
                        yield time, self.stream.encode(piece)
            except (av.FFmpegError, OSError, ValueError) as error:
                self.notes.append(f"the sound breaks off at {time:.1f} s ({getattr(error, 'strerror', error)})")
            yield time, self.stream.encode(None) if place is not None else []

    def write_until(self, time: float) -> None:
        """Write the sound up to a time in seconds, so that sound and pictures lie beside each other in the file."""
        while True:
            if self.waiting is None:
                self.waiting = next(self.ahead, None)
            if self.waiting is None or self.waiting[0] > time:
                return
            for packet in self.waiting[1]:
                self.container.mux(packet)
            self.waiting = None
