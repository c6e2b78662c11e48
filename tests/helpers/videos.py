"""Videos made for tests: frames at given times, with or without sound."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def picture(number: int, size: tuple[int, int] = (96, 64)) -> np.ndarray:
    """A smooth picture of width and height `size`, another one for every number."""
    width, height = size
    y, x = np.mgrid[:height, :width]
    parts = [128 + 100 * np.sin(x / 17 + number), 128 + 100 * np.cos(y / 13 - number), 0 * x + 20 * (number % 12)]
    return np.stack(parts, axis=2).round().astype(np.uint8)


def tone(seconds: float, rate: int = 16_000, pitch: float = 440.0) -> np.ndarray:
    """A sine as 16-bit numbers (1, samples)."""
    return (12_000 * np.sin(2 * np.pi * pitch * np.arange(round(seconds * rate)) / rate)).astype(np.int16)[None]


def make_video(
    path: Path,
    times: Sequence[float],
    codec: str = "mpeg4",
    size: tuple[int, int] = (96, 64),
    sound: float = 0.0,
    sound_from: float = 0.0,
) -> Path:
    """Write one picture at each time (seconds, to the millisecond), and `sound` seconds of a tone beside them."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options={"g": "10"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.time_base = Fraction(1, 25 if path.suffix == ".avi" else 1000)
        track = container.add_stream("aac" if path.suffix == ".mp4" else "pcm_s16le", rate=16_000) if sound else None
        if track is not None:
            track.layout = "mono"
            frame = av.AudioFrame.from_ndarray(tone(sound), format="s16", layout="mono")
            frame.rate, frame.pts, frame.time_base = 16_000, round(sound_from * 16_000), Fraction(1, 16_000)
            for packet in (*track.encode(frame), *track.encode(None)):
                container.mux(packet)
        for number, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(picture(number, size), format="rgb24").reformat(format=stream.pix_fmt)
            frame.time_base = stream.codec_context.time_base
            frame.pts = round(time / frame.time_base)
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)
    return path


def loudness(path: Path) -> list[float]:
    """Root mean square of the sound in every tenth of a second, between 0 and 1, from the beginning of the file."""
    parts: dict[int, list[np.ndarray]] = {}
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            values = frame.to_ndarray().astype(np.float64).reshape(-1)
            values /= 1 if frame.format.name.startswith("flt") else 32768
            for number, value in enumerate(values):
                parts.setdefault(int(10 * (frame.time + number / frame.rate)), []).append(value)
    return [float(np.sqrt(np.mean(np.square(parts.get(n, [0.0]))))) for n in range(max(parts) + 1)]
