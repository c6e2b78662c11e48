"""Shipped weights: safetensors of two-byte numbers, packed with xz, in checkpoints/, each with a card of the same name.

A card (JSON) says what was trained, on what, for how long, where, and how the loss fell. The list of training files
with licence and sha256 is one CSV beside the cards, named by its hash, because all arms share it. Loading checks the
weights' sha256 against the card.
"""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from .. import files
from ..errors import UserError
from ..methods import build, default_variant
from ..methods.base import Method
from ..nn.state import read_weights, trained_state


def run_name(method: str, variant: str, encoder: str, seed: int, continued: bool = False) -> str:
    """Name of a training run and of its checkpoint, for example sanet-code-student-seed0.

    continued  of a default variant that was trained on for as long as the arms it is compared with
    """
    return f"{method}-{variant}{'-continued' if continued else ''}-{encoder}-seed{seed}"


def weights_file(name: str) -> Path:
    """Where the weights of a checkpoint lie."""
    return files.CHECKPOINTS / f"{name}.safetensors.xz"


def manifest() -> pd.DataFrame:
    """What checkpoints/ holds, from its cards: one line a file of weights."""
    lines = []
    for path in sorted(files.CHECKPOINTS.glob("*.safetensors*")):
        facts = model_card(path.name.partition(".safetensors")[0])  # names may hold dots
        settings = facts.get("settings", {})
        lines.append(
            {
                "file": path.name,
                "bytes": path.stat().st_size,
                "sha256": facts["sha256"],
                "parameters": facts.get("parameters"),
                "seed": facts.get("seed"),
                **{key: settings.get(key) for key in ("steps", "batch", "crop")},
                "start": facts.get("start"),
                "commit": facts["commit"],
                "licence": facts["licence"],
            }
        )
    return pd.DataFrame(lines).astype(dict.fromkeys(("parameters", "seed", "steps", "batch", "crop"), "Int64"))


def write_manifest() -> None:
    """Write checkpoints/manifest.csv."""
    files.write_text(files.CHECKPOINTS / "manifest.csv", manifest().to_csv(index=False, lineterminator="\n"))


def model_card(name: str) -> dict[str, Any]:
    """The card of a shipped checkpoint. Raises UserError when there is none."""
    path = files.CHECKPOINTS / f"{name}.json"
    if not path.is_file():
        raise UserError(
            f"no checkpoint {name!r}: {path} is missing; train it with `python -m replication train`, or restore it"
            " with git"
        )
    return json.loads(path.read_text(encoding="utf-8"))


def load_checkpoint(name: str) -> dict[str, Tensor]:
    """Shipped weights in float32. Raises UserError when they are missing or not those of the card."""
    facts, path = model_card(name), weights_file(name)
    if path.is_file() and files.sha256_file(path) != facts["sha256"]:
        raise UserError(f"{path} is not the file its card describes (sha256 differs); restore both with git")
    return read_weights(path)


def fill_trained(model: nn.Module, state: dict[str, Tensor], name: str) -> None:
    """Put trained parameters and buffers into a model; the frozen encoder is not among them."""
    trained = trained_state(model).keys()
    if state.keys() != trained:
        raise UserError(
            f"checkpoint {name} does not fit the model: missing {sorted(trained - state.keys())}, unknown"
            f" {sorted(state.keys() - trained)}"
        )
    model.load_state_dict(state, strict=False)


@lru_cache(maxsize=32)
def pretrained(
    method: str, variant: str | None = None, encoder: str = "student", seed: int = 0, continued: bool = False
) -> Method:
    """A method with the project's shipped weights, ready to call; loaded once and shared.

    Raises UserError for an unknown method or variant, or when no such checkpoint is shipped.
    """
    model = build(method, encoder, variant)
    name = run_name(method, variant or default_variant(method), encoder, seed, continued)
    fill_trained(model, load_checkpoint(name), name)
    model.weights = {"checkpoint": model_card(name)["sha256"]}
    return model.eval().requires_grad_(False)


def trained_or_fresh(
    method: str, variant: str | None = None, encoder: str = "student", continued: bool = False
) -> Method:
    """The shipped weights where there are any, freshly drawn ones otherwise: to look at modules, not at results.

    `model.weights` is empty for fresh ones.
    """
    if run_name(method, variant or default_variant(method), encoder, 0, continued) in shipped_names(encoder):
        return pretrained(method, variant, encoder, continued=continued)
    torch.manual_seed(0)
    model = build(method, encoder, variant).requires_grad_(False)
    model.weights = {}
    return model


def shipped_names(encoder: str = "student") -> list[str]:
    """Names of the shipped method checkpoints of an encoder."""
    return sorted(p.stem for p in files.CHECKPOINTS.glob(f"*-{encoder}-seed*.json"))
