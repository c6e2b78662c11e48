"""The encoders by name."""

import pytest
import torch

from replication.__main__ import parser
from replication.errors import UserError
from replication.nn.encoder import STUDENTS, VGG19_CHANNELS, encoder_hash, load_encoder
from replication.weights.shipped import model_card


@pytest.mark.parametrize(("name", "part"), [("student", 4), ("half", 2)])
def test_a_distilled_encoder_is_as_wide_as_its_name_says(name, part):
    encoder = load_encoder(name)
    assert encoder.name == name and encoder.channels == STUDENTS[name] == tuple(c // part for c in VGG19_CHANNELS)
    assert not any(p.requires_grad for p in encoder.parameters())
    assert model_card(f"encoder-{name}")["teacher_sha256"] == encoder_hash(load_encoder("vgg19"))


def test_the_shipped_auto_encoders_belong_to_their_encoders():
    for name in STUDENTS:
        facts = model_card(f"autoencoder-{name}")
        assert facts["encoder"] == name and facts["method"] == "autoencoder"
    assert model_card("autoencoder-half")["encoder_sha256"] == encoder_hash(load_encoder("half"))


def test_an_unknown_encoder_is_told_the_known_ones():
    with pytest.raises(UserError, match="choose vgg19, student or half"):
        load_encoder("third")


def test_commands_offer_every_encoder():
    commands = next(action for action in parser()._actions if action.dest == "command").choices
    offered = {
        name: next((a.choices for a in command._actions if a.dest == "encoder"), None)
        for name, command in commands.items()
    }
    assert set(offered["train"]) == {*STUDENTS, "vgg19"} and set(offered["distil"]) == set(STUDENTS)


def test_a_shared_encoder_serves_training_whoever_loads_it_first():
    load_encoder.cache_clear()
    with torch.inference_mode():
        encoder = load_encoder("student")
    image = torch.rand(1, 3, 32, 32, requires_grad=True)
    encoder(image)["relu1_1"].sum().backward()
    assert image.grad is not None
