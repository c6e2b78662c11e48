"""Clips whose flow is known, errors along it, and files of moving pictures."""

import numpy as np
import pytest
import torch
from torchvision.models.optical_flow import raft_small

from replication.data import assets
from replication.data.clips import (
    Clip,
    _raft,
    evaluation_clips,
    flow_estimator,
    optical_flow,
    registered_clip,
    synthetic,
    visible,
)
from replication.data.images import contents
from replication.data.video_files import frames_of
from replication.errors import UserError
from replication.evaluation import tables
from replication.experiments import video
from replication.experiments.video import INPUT, by_flow, by_style, measure_clips, over_time, side_by_side
from replication.methods.mixing import corners
from replication.metrics.flicker import temporal_errors


def clip(kind: str, size: int = 64, count: int = 4) -> Clip:
    return synthetic(kind, contents(1)[0], size, count)


@pytest.mark.parametrize("kind", ["pan", "zoom", "rotation"])
def test_synthetic_flow_is_exact(kind):
    """Warping by the flow gives the next frame but for interpolation; warping by none, or backwards, does not."""
    made = clip(kind, 128)
    along, still, against = (
        temporal_errors(made.frames, Clip("", made.frames, factor * made.flow, made.visible))["flow_error"]
        for factor in (1, 0, -1)
    )
    assert along < 0.6 * still < 0.6 * against and made.visible.float().mean() > 0.9


def test_the_flow_of_a_pan_is_its_speed():
    made = clip("pan")
    assert torch.allclose(made.flow[:, 0], torch.tensor(1.5)) and torch.allclose(made.flow[:, 1], torch.tensor(0.7))
    assert not made.visible[:, :, -1].any() and made.visible[:, 5, 5].all()


def test_brightness_and_noise_do_not_move():
    for kind in ("brightness", "noise"):
        made = clip(kind)
        assert made.flow.abs().max() < 1e-9 and made.visible.all()
    means = clip("brightness").frames.mean(dim=(1, 2, 3))
    assert (means[1:] > means[:-1]).all()
    error = temporal_errors(clip("noise").frames, clip("noise"))["flow_error"]
    assert error == pytest.approx(100 * 0.03 * 2**0.5, rel=0.1)


def test_the_earlier_frame_is_warped_to_the_later():
    """A step that moves right by one: only so is nothing left where the picture can be traced."""
    wide = torch.rand(3, 6, 8, generator=torch.Generator().manual_seed(0))
    frames, flow = torch.stack([wide[..., 1:], wide[..., :-1]]), torch.zeros(1, 2, 6, 7)
    flow[:, 0] = -1.0
    mask = torch.ones(1, 6, 7, dtype=torch.bool)
    mask[..., 0] = False
    right = temporal_errors(frames, Clip("", frames, flow, mask))
    other = temporal_errors(frames.flip(0), Clip("", frames, flow, mask))
    assert right["flow_error"] < 1e-4 < other["flow_error"] and right["flow_error_lai"] < 1e-9 < other["flow_error_lai"]


def test_errors_are_the_loop():
    frames = torch.rand(3, 3, 6, 5, generator=torch.Generator().manual_seed(0))
    flow = torch.zeros(2, 2, 6, 5)
    flow[0, 0], flow[1, 1] = 1.0, -2.0
    mask = torch.rand(2, 6, 5, generator=torch.Generator().manual_seed(1)) > 0.4
    found = temporal_errors(frames, Clip("", frames, flow, mask))
    steps = []
    for t in range(2):
        values = []
        for y in range(6):
            for x in range(5):
                before = frames[t][
                    :, min(max(y + int(flow[t, 1, y, x]), 0), 5), min(max(x + int(flow[t, 0, y, x]), 0), 4)
                ]
                if mask[t, y, x]:
                    values.append(((frames[t + 1][:, y, x] - before) ** 2).sum().item() / 3)
        steps.append(np.mean(values))
    assert found["flow_error"] == pytest.approx(100 * np.sqrt(np.mean(steps)), rel=1e-4)
    assert found["flow_error_lai"] == pytest.approx(np.mean(steps), rel=1e-4)
    assert found["steps"] == pytest.approx([100 * s**0.5 for s in steps], rel=1e-4)
    difference = (frames[1:] - frames[:-1]).abs().mean(dim=1) * 100
    assert found["adjacent_mean"] == pytest.approx(difference.mean().item(), rel=1e-5)
    pixels = difference.flatten(1).double().numpy()
    assert found["adjacent_variance"] == pytest.approx(pixels.var(axis=1, ddof=1).mean(), rel=1e-5)


def test_estimated_flow_finds_a_known_motion_and_hides_what_is_covered():
    made = clip("pan", 128, 2)
    flow = optical_flow(made.frames[1], made.frames[0])
    inner = flow[:, 20:-20, 20:-20]
    assert (inner[0].median() - 1.5).abs() < 0.3 and (inner[1].median() - 0.7).abs() < 0.3
    forward = optical_flow(made.frames[0], made.frames[1])
    assert visible(flow, forward)[20:-20, 20:-20].float().mean() > 0.7
    assert visible(torch.zeros(2, 8, 8), torch.full((2, 8, 8), 3.0)).sum() == 0
    for miss, seen in ((0.6, True), (0.8, False)):  # flow and counter-flow may differ by half a pixel, squared
        counter_flow = torch.zeros(2, 8, 8)
        counter_flow[0] = miss
        assert (visible(torch.zeros(2, 8, 8), counter_flow) == seen).all()
    torn = torch.zeros(2, 8, 8)
    torn[0, :, 4:] = 5.0
    assert not visible(torn, -torn)[:, 3:5].any()


def test_registered_clips_are_read_from_the_middle():
    made = registered_clip("carphone", 64, 3)
    assert made.frames.shape == (3, 3, 64, 64) and made.flow.shape == (2, 2, 64, 64)
    every = list(frames_of(assets.find("carphone").path()))
    middle = every[(len(every) - 3) // 2]
    side, left = middle.shape[1], (middle.shape[2] - middle.shape[1]) // 2
    square = torch.nn.functional.interpolate(middle[None, :, :, left : left + side], 64, mode="area")[0]
    assert (made.frames[0] - square).abs().mean() < 0.02
    assert (made.frames[0] - square).abs().mean() < (made.frames[2] - square).abs().mean()
    assert temporal_errors(made.frames, made)["flow_error"] < 6
    assert [c.name for c in evaluation_clips(64, 2, contents(2))][-3:] == ["bikes", "carphone", "bigbuckbunny"]


def test_mistakes_are_named():
    with pytest.raises(UserError, match="unknown kind"):
        clip("wobble")
    made = clip("pan")
    with pytest.raises(UserError, match="frames have shape"):
        temporal_errors(made.frames[:2], made)


def test_corners_are_the_styles_and_rows_sum_to_one():
    grid = corners(5)
    assert [grid[y][x] for y, x in ((0, 0), (0, 4), (4, 0), (4, 4))] == [
        [1, 0, 0, 0],
        [0, 1, 0, 0],
        [0, 0, 1, 0],
        [0, 0, 0, 1],
    ]
    assert all(sum(weights) == pytest.approx(1) for line in grid for weights in line)


def test_cells_of_clips_are_stored_and_the_input_is_its_own_floor(monkeypatch):
    from dataclasses import replace

    from replication.data.images import styles
    from replication.papers.rows import Row
    from replication.profiles import Profile

    sizes = replace(Profile.load("smoke"), bootstrap=50)
    rows, made = [Row("AdaIN", "adain"), INPUT], [clip("pan"), clip("noise")]
    cells = measure_clips(rows, made, styles(2), sizes)
    assert len(cells) == 8 and cells[cells.row == "input clip"].flow_error.to_numpy() == pytest.approx(
        [temporal_errors(c.frames, c)["flow_error"] for c in made for _ in range(2)]
    )
    with torch.inference_mode():  # frames that are encoded once for all paintings give what each would by itself
        whole = video.measure_clip(rows[0], made[0], styles(2)[1].tensor(sizes.size)[None], sizes.encoder)
    assert cells.flow_error[1] == pytest.approx(whole["flow_error"], rel=1e-6)
    monkeypatch.setattr(video, "stylise_clip", lambda *_: pytest.fail("a stored cell was computed again"))
    again = measure_clips(rows, made, styles(2), sizes)
    assert again.equals(cells)
    curve = over_time(cells, ["AdaIN"])
    assert curve.step.tolist() == [1, 2, 3] and (curve.low <= curve.measured).all()
    columns = by_style(cells)
    first = columns[columns.row == "AdaIN"].groupby("style", sort=False).flow_error.mean().iloc[0]
    found = tables.estimate(columns, "AdaIN", "flow_error_style1")
    assert found["measured"] == pytest.approx(first) and found["n"] == 2 and found["low"] < first < found["high"]
    assert "flow_error_style3" not in columns, "two paintings fill two columns"
    assert set(by_flow(cells, [made[1].name]).columns) == {"filmed, estimated flow", "synthetic, exact flow"}
    assert side_by_side([made[0].frames, made[1].frames]).shape == (4, 3, 64, 132)


def test_raft_takes_the_place_of_dis_where_its_weights_are_given(tmp_path, monkeypatch):
    torch.manual_seed(0)
    path = tmp_path / "raft.pth"
    torch.save(raft_small(weights=None).state_dict(), path)
    monkeypatch.setenv("REPLICATION_RAFT", str(path))
    frames = clip("pan", 132).frames
    renamed = {
        ("module.fnet.conv1.weight" if number == 0 else str(number)): value
        for number, value in enumerate(raft_small(weights=None).state_dict().values())
    }
    torch.save(renamed, tmp_path / "authors.pth")
    assert torch.equal(
        next(iter(_raft(str(tmp_path / "authors.pth")).state_dict().values())), renamed["module.fnet.conv1.weight"]
    )
    flow = optical_flow(frames[1], frames[0])
    assert flow.shape == (2, 132, 132) and flow.isfinite().all() and flow_estimator()["flow"] == "RAFT, small"
    with pytest.raises(UserError, match="at least 128 px"):
        optical_flow(frames[1][:, :64], frames[0][:, :64])
    wrong = tmp_path / "wrong.pth"
    torch.save({"weight": torch.zeros(1)}, wrong)
    monkeypatch.setenv("REPLICATION_RAFT", str(wrong))
    with pytest.raises(UserError, match=r"wrong.pth does not hold RAFT's small network"):
        optical_flow(frames[1], frames[0])
    wrong.write_bytes(b"no weights")
    _raft.cache_clear()
    with pytest.raises(UserError, match=r"wrong.pth does not hold"):
        optical_flow(frames[1], frames[0])


@pytest.mark.parametrize("raft", [False, True])
def test_estimated_flow_of_a_pan_is_its_speed(raft, request, monkeypatch):
    if raft:
        monkeypatch.setenv("REPLICATION_RAFT", str(request.getfixturevalue("shared") / "weights" / "raft_small.pth"))
    made = clip("pan", 192)
    flow = optical_flow(made.frames[1], made.frames[0])
    inner = (flow - made.flow[0]).square().sum(dim=0).sqrt()[16:-16, 16:-16]
    assert inner.median() < 0.25, "pixels"
