"""Semantic maps as programs, networks and photographs' formats write them."""

import numpy as np
import pytest
import torch
from PIL import Image

from replication.data.maps import (
    COLOURS,
    check_aspect,
    clear_colours,
    describe_maps,
    find_palette,
    read_folder_of_maps,
    read_maps,
)
from replication.errors import UserError


def labels(height: int = 96, width: int = 96, classes: int = 3, turned: bool = False) -> np.ndarray:
    """Stripes of classes 0, 1, 2, …"""
    stripes = np.tile(np.arange(height)[:, None] * classes // height, (1, width))
    return stripes.T.copy() if turned else stripes


def save(path, numbers: np.ndarray, kind: str):
    """A map of class numbers as one of the ways that people write them."""
    if kind == "grey":
        Image.fromarray(numbers.astype(np.uint8)).save(path)
    elif kind == "16 bit":
        Image.fromarray(numbers.astype(np.uint16)).save(path)
    elif kind == "grey in colour":
        Image.fromarray(np.repeat(numbers.astype(np.uint8)[:, :, None], 3, axis=2)).save(path)
    elif kind == "palette":
        image = Image.fromarray(numbers.astype(np.uint8)).convert("P")
        image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0] + [0] * 756)
        image.save(path)
    elif kind == "clear":
        Image.fromarray((COLOURS.numpy()[numbers] * 255).round().astype(np.uint8)).save(path)
    elif kind == "clear JPEG":
        Image.fromarray((COLOURS.numpy()[numbers] * 255).round().astype(np.uint8)).save(path, "JPEG", quality=60)


KINDS = ("grey", "16 bit", "grey in colour", "palette", "clear", "clear JPEG")


@pytest.mark.parametrize("kind", KINDS)
def test_every_way_of_writing_classes_gives_the_same_regions(kind, tmp_path):
    numbers = labels(), labels(turned=True)
    for name, part in zip(("a.png", "b.png"), numbers, strict=True):
        save(tmp_path / name, part, kind)
    maps = read_maps(tmp_path / "a.png", tmp_path / "b.png", resize="nearest")
    found = [m.labels((96, 96)).numpy() for m in maps]
    assert len(maps[0].palette) == 3 and torch.pdist(maps[0].palette).min() > 0.4
    order = [found[0][numbers[0] == n][200] for n in range(3)]
    assert len(set(order)) == 3
    for mine, true in zip(found, numbers, strict=True):
        assert (mine == np.array(order)[true]).mean() > 0.97


def test_maps_of_one_pair_may_have_different_depth(tmp_path):
    save(tmp_path / "a.png", labels(), "grey")
    save(tmp_path / "b.png", labels(turned=True), "16 bit")
    assert describe_maps(read_maps(tmp_path / "a.png", tmp_path / "b.png")).count("33% with 33%") == 3
    save(tmp_path / "b.png", labels(turned=True) * 300, "16 bit")
    with pytest.warns(UserWarning, match="a.png alone has.*b.png alone has"):
        read_maps(tmp_path / "a.png", tmp_path / "b.png")


@pytest.mark.parametrize("classes", [2, 7, 19, 90])
def test_many_numbered_classes_stay_apart(classes, tmp_path):
    for name, turned in (("a.png", False), ("b.png", True)):
        save(tmp_path / name, labels(classes * 8, classes * 8, classes, turned), "grey")
    maps = read_maps(tmp_path / "a.png", tmp_path / "b.png")
    assert len(maps[0].palette) == classes and torch.pdist(maps[0].palette).min() > 40 / 255


def test_colours_that_jpeg_scatters_are_one_class():
    noisy = torch.from_numpy(COLOURS.numpy()[labels()]).movedim(2, 0) + 0.02 * torch.randn(
        3, 96, 96, generator=torch.Generator().manual_seed(0)
    ).round(decimals=0)
    assert len(find_palette([noisy.clamp(0, 1)])) == 3


def test_clear_colours_are_far_apart():
    for count in (1, 6, 7, 27, 200):
        colours = clear_colours(count)
        assert colours.shape == (count, 3) and (count == 1 or torch.pdist(colours).min() > 40 / 255)


def test_classes_of_one_map_alone_are_named(tmp_path):
    save(tmp_path / "a.png", labels(), "clear")
    save(tmp_path / "b.png", labels(classes=2), "clear")
    with pytest.warns(UserWarning, match=r"a.png alone has #e60000 \(33% of it\); in both: #00e600, #e6e600"):
        read_maps(tmp_path / "a.png", tmp_path / "b.png")
    save(tmp_path / "c.png", labels(classes=2) + 3, "clear")
    with pytest.raises(UserError, match="no class in common.*a.png alone has.*c.png alone has.*equal colours"):
        read_maps(tmp_path / "a.png", tmp_path / "c.png")


def test_maps_keep_the_shape_of_their_photograph(tmp_path):
    save(tmp_path / "a.png", labels(60, 120), "clear")
    save(tmp_path / "b.png", labels(80, 80), "clear")
    whole, square = (read_maps(tmp_path / "a.png", tmp_path / "b.png", square=x)[0] for x in (False, True))
    assert whole.image.shape == (3, 60, 120) and square.image.shape == (3, 60, 60)
    save(tmp_path / "c.png", labels(120, 60), "clear")
    for one, other in (("c.png", "a.png"), ("a.png", "c.png")):
        found = read_maps(tmp_path / one, tmp_path / other, square=True)[0]
        # Of three stripes over 120 pixels, the middle 60 have the second's 40 between halves of the others.
        expected = labels(120, 60)[30:90] if one == "c.png" else labels(60, 120)[:, 30:90]
        assert torch.equal(found.image.movedim(0, 2), COLOURS[torch.from_numpy(expected)])
    check_aspect(whole, (256, 512), "content")
    check_aspect(whole, (37, 75), "content")
    check_aspect(square, (256, 256), "content")
    for semantic, size in ((square, (256, 512)), (whole, (256, 256)), (whole, (512, 256))):
        with pytest.raises(UserError, match="differ in shape"):
            check_aspect(semantic, size, "content")


def test_photographs_are_no_maps(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (80, 80, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    with pytest.raises(UserError, match="flat colours"):
        read_maps(tmp_path / "a.png", tmp_path / "a.png")
    Image.fromarray(np.full((8, 8), 0.5, np.float32)).save(tmp_path / "f.tif")
    with pytest.raises(UserError, match="whole numbers"):
        read_maps(tmp_path / "f.tif", tmp_path / "f.tif")


def test_hidden_folders_are_no_pairs(tmp_path):
    for name in ("1", ".ipynb_checkpoints", "__MACOSX"):
        (tmp_path / name).mkdir()
    for end in (".jpg", "_paint.jpg", "_sem.png", "_paint_sem.png"):
        save(tmp_path / "1" / f"1{end}", labels(), "clear")
    assert [pair.name for pair in read_folder_of_maps(tmp_path)] == ["1"]
