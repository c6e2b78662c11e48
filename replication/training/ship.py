"""A finished training becomes a file of weights in checkpoints/, with its card and the list of its training files."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import files
from ..data.images import Picture
from ..errors import UserError
from ..nn.state import write_weights
from ..provenance import commit
from ..weights.shipped import (
    card_file,
    has_card,
    load_checkpoint,
    model_card,
    packed_file,
    shipped_names,
    weights_file,
    write_manifest,
)
from .loop import read_losses, read_run, read_seconds

# What a card says of weights that `pack_shipped` has rewritten.
STORED = "int8 per output channel"


def data_list(contents: list[Picture], styles: list[Picture], folder: Path | None = None) -> str:
    """Write the CSV of training files and return its name.

    folder  beside the cards that name it; None is checkpoints/
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["role", "name", "licence", "sha256"])
    for role, pictures in (("content", contents), ("style", styles)):
        writer.writerows([role, files.printable(p.name), p.licence, p.sha256] for p in pictures)
    name = f"training-data-{files.sha256_text(buffer.getvalue())[:8]}.csv"
    files.write_text((folder or files.CHECKPOINTS) / name, buffer.getvalue())
    return name


def ship(name: str, run: Path, state: dict[str, Tensor], card: dict[str, Any], dtype: torch.dtype = torch.half) -> Path:
    """Write a finished run's weights and card to checkpoints/, those of a plugged-in method to the build's.

    dtype  as which they are stored; bfloat16 packs a fifth smaller and is as training's autocast reads convolutions
    """
    losses = read_losses(run)
    seconds, settings = read_seconds(run), read_run(run)
    names = list(dict.fromkeys(key for row in losses for key in row))  # a gated term is not in every row
    curve = [
        {key: round(float(np.mean([row.get(key, 0.0) for row in part])), 5) for key in names}
        for part in np.array_split(np.array(losses, dtype=object), min(60, len(losses)))
    ]
    # The card is written last: weights without one are no checkpoint, so a kill between the two harms nothing.
    path = write_weights(weights_file(name), state, dtype)
    facts = {
        **settings["provenance"],
        "name": name,
        "sha256": files.sha256_file(path),
        "seconds": round(seconds),
        "seed": settings["seed"],
        "settings": settings["settings"],
        "precision": settings.get("precision", settings["settings"]["precision"]),
        "parameters": sum(v.numel() for v in state.values()),
        "loss_curve": curve,
        "licence": "MIT, as the project; trained on the files in `data`",
    }
    files.write_json(card_file(name), {**facts, **card})
    if path.parent == files.CHECKPOINTS:
        write_manifest()
    return path


def check_free(name: str, encoder: str) -> None:
    """Raise UserError when a checkpoint must not change: others of its width are stored as steps from it."""
    digest = model_card(name)["sha256"]
    cards = map(model_card, shipped_names(encoder))
    heirs = [card["name"] for card in cards if card.get("stored_from_sha256") == digest]
    if heirs:
        raise UserError(
            f"{', '.join(heirs)} cannot be read without {name} as it is; remove their files from"
            f" {card_file(name).parent} and train them again after it"
        )


def blend_with_start(name: str, encoder: str, share: float) -> Path:
    """Put a share of the weights that a training started from back into what came out of it; returns the file.

    A decoder that learns to paint forgets how to give a picture back. Weights between those of both can know both
    (Wortsman et al. 2022, "WiSE-FT"). Tensors that the start lacks stay as they are.

    share  of the start, above 0 and below 1

    Raises UserError for another share, a checkpoint without a start, or one that others are stored as steps from.
    """
    if not 0 < share < 1:
        raise UserError(f"the share lies between 0 and 1, got {share}")
    card = model_card(name)
    if "start" not in card:
        raise UserError(f"{name} started from nothing that is shipped; there is nothing to blend it with")
    check_free(name, encoder)
    own, start = load_checkpoint(name), load_checkpoint(card["start"])
    same = [key for key in own if key in start and own[key].shape == start[key].shape]
    state = own | {key: torch.lerp(own[key], start[key], share) for key in same}
    path = write_weights(weights_file(name), state, torch.half)
    blend = {"with": card["start"], "with_sha256": model_card(card["start"])["sha256"], "share": share}
    blend |= {"of_sha256": card["sha256"], "tensors": len(same), "commit": commit()}
    facts = {key: value for key, value in card.items() if key not in ("stored", "trained_sha256", "stored_from_sha256")}
    facts |= {"sha256": files.sha256_file(path), "blended": [*card.get("blended", []), blend]}
    files.write_json(card_file(name), facts)
    write_manifest()
    return path


def _take_packed(name: str) -> None:
    """Put packed weights in their place, when the card is theirs already; remove them when it is not."""
    packed = packed_file(name)
    if packed.is_file():
        if files.sha256_file(packed) == model_card(name)["sha256"]:
            packed.replace(weights_file(name))
        else:
            packed.unlink()


def pack_shipped(encoder: str) -> tuple[int, int]:
    """Store the methods' and the auto-encoder's weights of a width as 8-bit integers; bytes before and after.

    Weights that went on from a method's are stored as steps from them, once those are packed themselves. A card keeps
    the hash of the file that training had written, which cards of later trainings name as their start. Encoders and the
    LPIPS substitute stay as they are, because cells and cards hold the hashes of their numbers.

    A killed run is finished by the next: packed weights wait under a hidden name until their card is written.
    """
    before = after = 0
    methods = [name for name in shipped_names(encoder) if has_card(name)]
    names = [*methods, *filter(has_card, [f"autoencoder-{encoder}"])]
    for name in names:
        _take_packed(name)
    for name in sorted(names, key=lambda name: (model_card(name).get("start") in methods, name)):
        card, path = model_card(name), weights_file(name)
        before += path.stat().st_size
        if "stored" not in card:
            state, start = load_checkpoint(name), None
            card |= {"trained_sha256": card["sha256"], "stored": STORED}
            if card.get("start") in methods:
                start = load_checkpoint(card["start"])
                card["stored_from_sha256"] = model_card(card["start"])["sha256"]
            packed = write_weights(packed_file(name), state, torch.int8, start)
            files.write_json(card_file(name), card | {"sha256": files.sha256_file(packed)})
            _take_packed(name)
        after += path.stat().st_size
    write_manifest()
    return before, after
