"""The comparison of encoders: known answers at its ends."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from replication.data.images import contents, styles
from replication.errors import UserError
from replication.nn.encoder import CONVOLUTIONS, SCALES_FILE, STUDENTS, TAPS, Encoder, load_encoder
from replication.training.student_agreement import match_agreement, scale_agreement, statistics_agreement


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return Encoder((4, 6, 8, 10, 10), name="tiny")


def test_an_encoder_agrees_with_itself(encoder):
    images = [torch.rand(3, 64, 80) for _ in range(5)]
    assert all(value == pytest.approx(1) for value in statistics_agreement(encoder, encoder, images).values())
    result = match_agreement(encoder, encoder, [(images[0], images[1])])
    assert result["first"] == 1 and result["mean relative rank"] == 0


def test_unrelated_encoders_match_no_better_than_chance(encoder):
    torch.manual_seed(1)
    # A teacher that ignores the image: every position looks alike up to noise of its weights on noise images.
    other = Encoder((4, 6, 8, 10, 10), name="other")
    pairs = [(torch.rand(3, 96, 96), torch.rand(3, 96, 96)) for _ in range(4)]
    assert match_agreement(encoder, other, pairs, "relu4_1")["mean relative rank"] > 0.2


def test_pairs_of_any_size_count_by_their_content_positions(encoder):
    torch.manual_seed(1)
    other = Encoder((4, 6, 8, 10, 10), name="other")
    small, large = ((torch.rand(3, 64, 64), torch.rand(3, side, side)) for side in (32, 160))
    alone = [match_agreement(encoder, other, [pair]) for pair in (small, large)]
    for pairs in ([small, large], [large, small]):
        both = match_agreement(encoder, other, pairs)
        assert both == {name: pytest.approx((alone[0][name] + alone[1][name]) / 2) for name in both}


def test_scales_against_themselves(tmp_path):
    ours = load_file(SCALES_FILE)
    path = tmp_path / "official.safetensors"
    save_file({name: 2 * ours[str(index)] for index, name in CONVOLUTIONS.items()}, path)
    frame = scale_agreement(path)
    assert np.allclose(frame["rank correlation"], 1) and np.allclose(frame["ratio median"], 0.5)
    save_file({"block1_conv1": ours["2"]}, path)
    with pytest.raises(UserError, match="block1_conv2"):
        scale_agreement(path)


@pytest.mark.parametrize("name", STUDENTS)
def test_distilled_encoders_order_held_out_images_like_vgg19(name):
    images = [p.tensor(96) for p in contents(4) + styles(6)]
    agreement = statistics_agreement(load_encoder("vgg19"), load_encoder(name), images)
    assert all(agreement[tap] > 0.6 for tap in TAPS), agreement
