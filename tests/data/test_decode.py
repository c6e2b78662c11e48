"""Picture files of every depth, profile, size and name."""

import io
import os
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from helpers.limit import time_limit
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from replication.data import decode as decoding
from replication.data.formats import check_format
from replication.data.images import (
    Picture,
    check_values,
    pick,
    read_alpha,
    read_folder_of_pictures,
    read_image,
    write_image,
)
from replication.errors import UserError
from replication.files import check_target, write_text

RAMP = np.tile(np.linspace(0, 1, 64), (40, 1))


def close(image: torch.Tensor, expected: np.ndarray) -> bool:
    return np.abs(image.numpy() - expected).max() < 0.5 / 255 + 1e-6


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("white", [1, 255, 65535])
def test_floats_have_the_range_of_their_values(dtype, white, tmp_path):
    if dtype == "float16" and white > 255:
        white = 60000  # the largest that half precision holds is a little more
    tifffile.imwrite(tmp_path / "a.tif", (RAMP * white).astype(dtype))
    expected = RAMP * (white if white < 60000 else white * 255 / 65535) / min(white, 255)
    assert np.abs(read_image(tmp_path / "a.tif").numpy() - expected).max() < 0.01


def test_colours_of_floats_are_read_too(tmp_path):
    colours = np.stack([RAMP, 1 - RAMP, 0.5 * RAMP], axis=2).astype(np.float32)
    tifffile.imwrite(tmp_path / "a.tif", colours, photometric="rgb")
    assert close(read_image(tmp_path / "a.tif"), colours.transpose(2, 0, 1))
    tifffile.imwrite(tmp_path / "b.tif", colours.transpose(2, 0, 1), photometric="rgb", planarconfig="separate")
    assert close(read_image(tmp_path / "b.tif"), colours.transpose(2, 0, 1))


@pytest.mark.parametrize(("value", "message"), [(np.nan, "NaN"), (np.inf, "NaN"), (-0.9, "range 0 to"), (4, "range 0")])
def test_floats_without_a_range_are_refused(value, message, tmp_path):
    values = RAMP.astype(np.float32)
    values[3, 4] = value
    tifffile.imwrite(tmp_path / "odd.tif", values)
    with pytest.raises(UserError, match=f"odd.tif.*{message}"):
        read_image(tmp_path / "odd.tif")


@pytest.mark.parametrize("ending", ["png", "tif"])
@pytest.mark.parametrize("top", [1, 255, 256, 65535])
def test_the_container_decides_what_white_is(ending, top, tmp_path):
    values = (RAMP * top).round().astype(np.uint16)
    Image.fromarray(values).save(tmp_path / f"a.{ending}")
    assert close(read_image(tmp_path / f"a.{ending}"), values / 65535)


def test_whole_numbers_of_32_bits_keep_their_depth_and_black_is_said(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", (RAMP * (2**32 - 1)).astype(np.uint32))
    assert close(read_image(tmp_path / "a.tif"), RAMP)
    tifffile.imwrite(tmp_path / "dark.tif", (RAMP * 60000).astype(np.uint32))
    with pytest.raises(UserError, match="dark.tif.*black; save it with"):
        read_image(tmp_path / "dark.tif")


def swapped_profile() -> bytes:
    """sRGB with red and blue exchanged: the tags of two primaries change places in the profile's table."""
    raw = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = int.from_bytes(raw[128:132], "big")
    at = {bytes(raw[132 + 12 * i : 136 + 12 * i]): 132 + 12 * i for i in range(count)}
    red, blue = at[b"rXYZ"], at[b"bXYZ"]
    raw[red + 4 : red + 12], raw[blue + 4 : blue + 12] = raw[blue + 4 : blue + 12], raw[red + 4 : red + 12]
    return bytes(raw)


def test_profiles_are_converted_and_srgb_is_left_alone(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for name, profile in (("srgb", srgb), ("swapped", swapped_profile()), ("damaged", swapped_profile()[:200])):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png", icc_profile=profile)
    plain = torch.from_numpy(pixels).permute(2, 0, 1).float() / 255
    assert torch.equal(read_image(tmp_path / "srgb.png"), plain)
    assert torch.equal(read_image(tmp_path / "damaged.png"), plain)
    assert (read_image(tmp_path / "swapped.png") - plain.flip(0)).abs().max() < 0.02
    assert torch.equal(read_image(tmp_path / "swapped.png", profile=False), plain)
    Image.fromarray(pixels).convert("CMYK").save(tmp_path / "other.jpg", icc_profile=srgb)  # of another colour space
    Image.fromarray(pixels).convert("CMYK").save(tmp_path / "none.jpg")
    assert torch.equal(read_image(tmp_path / "other.jpg"), read_image(tmp_path / "none.jpg"))


def test_alpha_is_given_back_and_kept(tmp_path):
    alpha = np.tile(np.arange(64, dtype=np.uint8) * 4, (40, 1))
    picture = Image.new("RGB", (64, 40), (200, 10, 30))
    picture.save(tmp_path / "opaque.png")
    assert read_alpha(tmp_path / "opaque.png") is None
    picture.putalpha(Image.fromarray(alpha))
    picture.save(tmp_path / "a.png")
    found = read_alpha(tmp_path / "a.png")
    assert close(found, alpha[None] / 255) and read_alpha(tmp_path / "a.png", 80).shape == (1, 80, 128)
    for ending in ("png", "tif", "webp"):
        write_image(tmp_path / f"b.{ending}", torch.rand(3, 40, 64), found)
        assert torch.equal(read_alpha(tmp_path / f"b.{ending}"), found)
    with pytest.raises(UserError, match="endings .png, .webp, .tif"):
        write_image(tmp_path / "b.jpg", torch.rand(3, 40, 64), found)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize("ending", ["png", "tif", "jpg"])
def test_pictures_above_the_limit_are_read_at_the_size_asked_for(mode, ending, tmp_path, monkeypatch):
    if ending == "jpg" and mode not in ("L", "RGB"):
        pytest.skip("JPEG has no such mode")
    grey = Image.fromarray((np.tile(np.linspace(0, 1, 900), (600, 1)) * 255).astype(np.uint8))
    made = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257) if mode == "I;16" else grey.convert(mode)
    made.save(tmp_path / f"a.{ending}")
    whole = read_image(tmp_path / f"a.{ending}", 64)
    monkeypatch.setattr(decoding, "FULL_READ", 100_000)
    found = read_image(tmp_path / f"a.{ending}", 64)
    assert found.shape == whole.shape == (3, 64, 96)
    if mode != "1":  # dithered: taken from other places
        assert (found - whole).abs().mean() < 0.01


def test_large_files_pass_and_pillows_limit_stays(tmp_path):
    Image.new("1", (9600, 9600), 1).save(tmp_path / "large.png")
    limit = Image.MAX_IMAGE_PIXELS
    assert read_image(tmp_path / "large.png", 64).min() > 0.99
    assert limit == Image.MAX_IMAGE_PIXELS


def chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def test_bombs_are_refused_by_their_header(tmp_path):
    header = (60000).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"
    png = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(10**6)))
        + chunk(b"IEND", b"")
    )
    (tmp_path / "bomb.png").write_bytes(png)
    start = time.monotonic()
    with pytest.raises(UserError, match="bomb.png has 60000x60000 px.*shrink it"):
        read_image(tmp_path / "bomb.png", 64)
    Image.new("RGB", (1, 60000)).save(tmp_path / "thin.png")
    with pytest.raises(UserError, match="thin.png is 1x60000 px.*less extreme"):
        read_image(tmp_path / "thin.png", 256)
    assert time.monotonic() - start < 10


def test_formats_that_start_programs_are_not_read(tmp_path):
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EOF\n")
    with pytest.raises(UserError, match="no format that is known"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html><body>quota</body></html>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "git lfs pull"),
        (bytes(5000), "zeros alone"),
    ],
)
def test_what_is_no_picture_is_named(content, message, tmp_path):
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(UserError, match=f"a.jpg.*{message}"):
        read_image(tmp_path / "a.jpg")


def encoded(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray((np.random.default_rng(1).random((24, 32, 3)) * 255).astype(np.uint8)).save(buffer, kind)
    return buffer.getvalue()


FILES = {kind: encoded(kind) for kind in ("PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP")}


@settings(max_examples=150)
@given(
    st.sampled_from(sorted(FILES)),
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=6),
    st.floats(0, 1),
)
def test_damaged_files_are_pictures_or_one_sentence(kind, changes, share):
    raw = bytearray(FILES[kind])
    for place, value in changes:
        raw[place % len(raw)] = value
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"fuzz-{os.getpid()}.bin"
    path.write_bytes(raw[: max(1, round(len(raw) * share))] if share < 0.5 else raw)
    try:
        with time_limit():
            image = read_image(path, 16, square=True)
        assert image.shape == (3, 16, 16) and torch.isfinite(image).all()
    except UserError as error:
        assert path.name in str(error) and "\n" not in str(error)
    finally:
        path.unlink()


@settings(max_examples=60)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 64), st.booleans())
def test_every_size_is_the_one_asked_for(width, height, size, square):
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"sizes-{os.getpid()}.png"
    Image.new("RGB", (width, height), (10, 200, 90)).save(path)
    image = read_image(path, size, square)
    path.unlink()
    assert min(image.shape[1:]) == size and (not square or image.shape == (3, size, size))
    assert (image - torch.tensor([10, 200, 90]).view(3, 1, 1) / 255).abs().max() < 1e-6


def test_folders_hold_pictures_alone(tmp_path):
    names = (".hidden.jpg", "._a.jpg", ".ipynb_checkpoints/a.jpg", "__MACOSX/a.jpg", "@eaDir/a.jpg/SMALL.jpg")
    for name in ("a.jpg", "sorted.jpg/b.png", *names):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    os.mkfifo(tmp_path / "pipe.jpg")
    assert [p.name for p in read_folder_of_pictures(tmp_path)] == ["a.jpg", "sorted.jpg/b.png"]
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nothing")
    with pytest.raises(UserError, match="gone.jpg is a link to nothing"):
        read_folder_of_pictures(tmp_path)
    with pytest.raises(UserError, match="gone.jpg is a link to .*nothing"):
        read_image(tmp_path / "gone.jpg")
    with pytest.raises(UserError, match="no regular file"):
        read_image(tmp_path / "pipe.jpg")


@pytest.mark.parametrize(
    ("raw", "licence"),
    [
        (b"file,licence\na.jpg,CC0\n", "CC0"),
        ("\ufefffile,licence\r\na.jpg,CC0\r\n".encode(), "CC0"),
        (b"sep=;\r\nfile;licence\r\na.jpg;CC0\r\n", "CC0"),
        (b'"File"\t"Licence"\na.jpg\tCC0\n', "CC0"),
        ("file\tlicence\na.jpg\tCC0\n".encode("utf-16"), "CC0"),
        (b"author,licence,file\nme,CC0,.\\a.jpg\nshort\n", "CC0"),
        (b"filename;author\na.jpg;me\n", "not stated"),
        ("titre;auteur\ncaf\xe9;moi\n".encode("cp1252"), "not stated"),
        (b"\0\1\2\3", "not stated"),
        (b"", "not stated"),
    ],
)
@pytest.mark.parametrize("above", [True, False])
def test_manifests_of_spreadsheets_and_of_others(raw, licence, above, tmp_path):
    (tmp_path / "set").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "set" / "a.jpg")
    folder = tmp_path if above else tmp_path / "set"
    (folder / "manifest.csv").write_bytes(raw.replace(b"a.jpg", b"set/a.jpg") if above else raw)
    if above and b"\\" in raw or raw.startswith((b"\xff\xfe", b"\xfe\xff")) and above:
        pytest.skip("the name in the folder above is written otherwise")
    assert [p.licence for p in read_folder_of_pictures(tmp_path / "set")] == [licence]


def test_a_manifest_in_another_encoding_is_named(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.jpg")
    (tmp_path / "manifest.csv").write_bytes("file,licence\na.jpg,© Björn\n".encode("cp1252"))
    with pytest.raises(UserError, match="manifest.csv.*save it as CSV in UTF-8"):
        read_folder_of_pictures(tmp_path)


NAMES = [
    "写" * 82 + ".png",
    "a" * 251 + ".png",
    os.fsdecode(b"Mu\xf1oz.png"),
    "x.png",
    os.fsdecode(b"\xff" * 251 + b".png"),
]


@pytest.mark.parametrize("name", NAMES)
def test_every_name_that_the_file_system_takes(name, tmp_path):
    path = write_image(tmp_path / name, torch.rand(3, 5, 7))
    assert read_image(path).shape == (3, 5, 7) and os.listdir(tmp_path) == [name]
    (picture,) = read_folder_of_pictures(tmp_path)
    assert picture.name.encode() and picture.caption.encode()


def test_endings_may_be_long_too(tmp_path):
    assert write_text(tmp_path / ("a." + "b" * 253), "x").read_text() == "x"


def test_targets_are_checked_before_the_work(tmp_path):
    picture = write_image(tmp_path / "a.png", torch.rand(3, 5, 7))
    (tmp_path / "b.png").symlink_to(picture)
    (tmp_path / "c.png").hardlink_to(picture)
    for name in ("a.png", "b.png", "c.png", "sub/../a.png"):
        (tmp_path / "sub").mkdir(exist_ok=True)
        with pytest.raises(UserError, match="would be replaced"):
            check_target(tmp_path / name, [picture])
    check_target(tmp_path / "new.png", [picture])
    assert not (tmp_path / "new.png").exists()
    for path, message in (
        (tmp_path, "is a folder"),
        (tmp_path / ("x" * 300), "shorter name"),
        (picture / "d.png", "cannot have the same"),
        (Path("/proc/x/y.png"), "folder you may write to"),
        (tmp_path / "a\0b", "another name"),
    ):
        with pytest.raises(UserError, match=message):
            check_target(path)


def test_limits_of_formats_are_known_before_the_work(tmp_path):
    check_format("a.png", size=(70000, 10))
    for name, side in (("a.jpg", 65501), ("a.JPEG", 65501), ("a.webp", 16384)):
        check_format(name, size=(10, side - 1))
        with pytest.raises(UserError, match=f"{side - 1} px a side.*take .png"):
            check_format(name, size=(side, 10))
    with pytest.raises(UserError, match="take .png"):
        write_image(tmp_path / "a.jpg", torch.rand(3, 2, 66000))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.rand(1, 3, 4, 5), r"result\[0\]"),
        (torch.rand(4, 5), r"\(3, height, width\)"),
        (torch.rand(3, 4, 5) * 255, "divide bytes by 255"),
        ((torch.rand(3, 4, 5) * 255).byte(), "divide bytes by 255"),
        (2 * torch.rand(3, 14, 15) - 1, "(image + 1) / 2"),
    ],
)
def test_what_is_no_picture_is_not_written(image, message, tmp_path):
    with pytest.raises(UserError) as error:
        write_image(tmp_path / "a.png", image)
    assert message.replace("\\", "") in str(error.value) and not list(tmp_path.iterdir())


def test_a_little_beyond_the_range_is_a_picture():
    check_values(torch.rand(3, 20, 20) * 1.4 - 0.2, "image")
    check_values(torch.zeros(3, 20, 20) - 0.01, "image")


def test_a_picture_that_is_not_there():
    with pytest.raises(UserError, match="no picture 3; choose from 0 to 2"):
        pick([Picture("a", Path("a.jpg"), "", "", "")] * 3, 3)
