"""Shipped weights: safetensors of two-byte numbers, packed with xz, in checkpoints/, each with a card of the same name.

A card (JSON) says what was trained, on what, for how long, where, and how the loss fell. The list of training files
with licence and sha256 is one CSV beside the cards, named by its hash, because all arms share it. Loading checks the
weights' sha256 against the card. Weights of plugged-in methods lie in the build's checkpoints/, in the same form.
"""

from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from .. import files
from ..data.assets import registry
from ..errors import NoWeights, UserError
from ..methods import BUILT_IN, METHODS, build, default_variant, method_name, plugged_in
from ..methods.base import Method, parameter_count
from ..nn.encoder import STUDENTS, Encoder, encoder_hash, load_encoder
from ..nn.state import read_weights, trained_state
from ..provenance import note_network


def run_name(method: str, variant: str, encoder: str, seed: int, continued: bool = False) -> str:
    """Name of a training run and of its checkpoint, for example sanet-code-student-seed0.

    continued  of a default variant that was trained on for as long as the arms it is compared with
    """
    return f"{method}-{variant}{'-continued' if continued else ''}-{encoder}-seed{seed}"


def shelf(method: str) -> Path:
    """The folder of a method's weights: a plug-in's stand among the build's files, all others in checkpoints/."""
    return files.build_dir() / "checkpoints" if method in plugged_in() else files.CHECKPOINTS


def _shelf_of(name: str) -> Path:
    """The folder of a checkpoint's weights; names of trained methods start with the method's."""
    return shelf(name.partition("-")[0])


def card_file(name: str) -> Path:
    """Where the card of a checkpoint lies."""
    return _shelf_of(name) / f"{name}.json"


def weights_file(name: str) -> Path:
    """Where the weights of a checkpoint lie."""
    return _shelf_of(name) / f"{name}.safetensors.xz"


def packed_file(name: str) -> Path:
    """Where packed weights of a checkpoint wait until its card describes them."""
    return _shelf_of(name) / f".{name}.safetensors.xz"


def card_files() -> list[Path]:
    """Every card, those of plugged-in methods last."""
    own = [path for method in plugged_in() for path in sorted(shelf(method).glob(f"{method}-*.json"))]
    return [*sorted(files.CHECKPOINTS.glob("*.json")), *own]


def _untrained_names(encoder: str) -> dict[str, tuple[str, str]]:
    """Method and variant of the plug-ins without trained parameters, by the names that their weights would have."""
    arms = [(name, variant) for name in plugged_in() for variant in METHODS[name].variants]
    return {run_name(*arm, encoder, 0): arm for arm in arms if not is_trained(*arm)}


def is_trained(method: str, variant: str) -> bool:
    """Whether a method has parameters to train."""
    return method in BUILT_IN or _has_parameters(METHODS[method], variant)


@cache
def _has_parameters(kind: type[Method], variant: str) -> bool:
    with torch.random.fork_rng():  # drawing an encoder's weights must not change what is drawn next
        return parameter_count(kind(Encoder(), kind.variants[variant])) > 0


def manifest() -> pd.DataFrame:
    """What checkpoints/ holds, from its cards: one line per file of weights.

    Files that a killed command left, hidden ones and weights without a card, are no checkpoints.
    """
    lines = []
    for path in sorted(files.CHECKPOINTS.glob("*.safetensors*")):
        name = path.name.partition(".safetensors")[0]  # names may hold dots
        if not has_card(name):
            continue
        facts = model_card(name)
        settings = facts.get("settings", {})
        lines.append(
            {
                "file": path.name,
                "bytes": path.stat().st_size,
                "sha256": facts["sha256"],
                "parameters": facts.get("parameters"),
                "seed": facts.get("seed"),
                "steps": _steps(_own_stages(facts)) or None,
                **{key: settings.get(key) for key in ("batch", "crop")},
                "start": facts.get("start"),
                "commit": facts["commit"],
                "licence": facts["licence"],
            }
        )
    columns = ["file", "bytes", "sha256", "parameters", "seed", "steps", "batch", "crop", "start", "commit", "licence"]
    return pd.DataFrame(lines, columns=columns).astype(
        dict.fromkeys(("parameters", "seed", "steps", "batch", "crop"), "Int64")
    )


def _own_stages(card: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    """The trainings that a card tells of: the earlier ones, and the last."""
    return (*card.get("earlier", ()), card)


def _steps(stages: Iterable[dict[str, Any]]) -> int:
    return sum(stage["settings"]["steps"] for stage in stages if "settings" in stage)


def training_steps(name: str) -> int:
    """Optimiser steps of a shipped checkpoint, those of the trained method that it went on from among them.

    The shared auto-encoder's do not count. 0 for a method without trained parameters. Raises UserError as `model_card`.
    """
    return _steps(_stages(name))


def training_pairs(name: str) -> int:
    """Pairs of pictures that those steps have seen: a step sees a batch. Raises UserError as `model_card`."""
    return sum(
        stage["settings"]["steps"] * stage["settings"]["batch"] for stage in _stages(name) if "settings" in stage
    )


def is_mean_of_weights(name: str) -> bool:
    """Whether what is shipped is a mean: with weights from before its last training, or over the steps of that.

    Raises UserError as `model_card`.
    """
    card = model_card(name)
    settings = card.get("settings", {})
    return bool(card.get("blended") or settings.get("kept") or settings.get("averaged"))


def photographs_among_styles(name: str) -> bool:
    """Whether a shipped checkpoint, or what it went on from, was ever trained with photographs as styles.

    By the lists of training files: of pictures on both sides, all but the paintings that "builtin" has there count as
    photographs. Raises UserError as `model_card`.
    """
    lists = {_shelf_of(name) / stage["data"] for stage in _stages(name) if stage.get("data")}
    return any(_has_photographs_among_styles(path) for path in lists if path.is_file())


@cache
def _has_photographs_among_styles(data_list: Path) -> bool:
    role = pd.read_csv(data_list).set_index("role").sha256
    paintings = {asset.sha256 for asset in registry() if asset.kind == "painting"}
    return bool(set(role.loc[["content"]]) & set(role.loc[["style"]]) - paintings)


def _stages(name: str) -> Iterator[dict[str, Any]]:
    """Every training that a checkpoint has had, as its card and those of what it went on from tell."""
    for card in _cards_since_the_start(name):
        yield from _own_stages(card)


def _cards_since_the_start(name: str) -> Iterator[dict[str, Any]]:
    """The card of a checkpoint, and those of what it went on from, the shared auto-encoder not among them."""
    card = model_card(name)
    yield card
    if not card.get("start", "autoencoder-").startswith("autoencoder-"):
        yield from _cards_since_the_start(card["start"])


def write_manifest() -> None:
    """Write checkpoints/manifest.csv, unless it says so already."""
    path, text = files.CHECKPOINTS / "manifest.csv", manifest().to_csv(index=False, lineterminator="\n")
    if not path.is_file() or path.read_bytes() != text.encode():
        files.write_text(path, text)


def has_card(name: str) -> bool:
    """Whether a checkpoint was shipped whole: its card is written last."""
    return not name.startswith(".") and card_file(name).is_file()


def model_card(name: str) -> dict[str, Any]:
    """The card of a shipped checkpoint; of a method without trained parameters, that it needs none.

    Raises UserError when there is none, or it is damaged.
    """
    path = card_file(name)
    for width in (*STUDENTS, "vgg19"):
        if name in _untrained_names(width):
            method, variant = _untrained_names(width)[name]
            facts = {"name": name, "method": method, "variant": variant, "parameters": 0, "sha256": None}
            return facts | {"encoder": width, "encoder_sha256": encoder_hash(load_encoder(width))}
    if not path.is_file():
        raise UserError(
            f"no checkpoint {name!r}: {path} is missing; train it with `python -m replication train`, or restore it"
            " with git"
        )
    card = files.read_object(path, "restore it with git")
    lacking = sorted({"sha256", "commit", "licence"} - card.keys())
    if lacking:
        raise UserError(f"{path} is damaged (lacks {', '.join(lacking)}); restore it with git")
    return card


def load_checkpoint(name: str) -> dict[str, Tensor]:
    """Shipped weights in float32.

    Raises UserError when they, or the weights that they are stored as steps from, are missing or not those of the card.
    """
    facts, path = model_card(name), weights_file(name)
    if path.is_file() and files.sha256_file(path) != facts["sha256"]:
        way_out = "run `python -m replication pack` again" if packed_file(name).is_file() else "restore both with git"
        raise UserError(f"{path} is not the file its card describes (sha256 differs); {way_out}")
    return read_weights(path, _stored_from(facts))


def _stored_from(card: dict[str, Any]) -> dict[str, Tensor] | None:
    """The weights that a card's are stored as steps from, if they are."""
    if "stored_from_sha256" not in card:
        return None
    if model_card(card["start"])["sha256"] != card["stored_from_sha256"]:
        raise UserError(
            f"{card['name']} is stored as steps from {card['start']}, which has changed since; restore both with git"
        )
    return load_checkpoint(card["start"])


def fill_trained(model: nn.Module, state: dict[str, Tensor], name: str) -> None:
    """Put trained parameters and buffers into a model; the frozen encoder is not among them."""
    trained = trained_state(model).keys()
    if state.keys() != trained:
        raise UserError(
            f"checkpoint {name} does not fit the model: missing {sorted(trained - state.keys())}, unknown"
            f" {sorted(state.keys() - trained)}"
        )
    model.load_state_dict(state, strict=False)


def _arms(method: str, encoder: str) -> set[str]:
    """What is shipped of a method at a width: names without the width."""
    return {
        name.replace(f"-{encoder}-seed", "-seed") for name in shipped_names(encoder) if name.startswith(f"{method}-")
    }


def _widths_up_to(encoder: str) -> list[str]:
    """A distilled encoder and the narrower ones, the widest first; none for VGG-19, which stands for itself alone."""
    widths = sorted(STUDENTS, key=lambda name: STUDENTS[name], reverse=True)
    return widths[widths.index(encoder) :] if encoder in widths else []


def _stands(name: str, encoder: str) -> bool:
    """Whether tables may stand on a checkpoint of a width: always on a method as it is compared with others.

    Arms are compared with each other, so they change to a wider encoder together, when the last of them has.
    """
    method = name.partition("-")[0]
    if name == run_name(method, default_variant(method), encoder, 0):
        return has_card(name)
    return has_card(name) and all(_arms(method, each) <= _arms(method, encoder) for each in _widths_up_to(encoder))


def fitting_encoder(
    method: str, variant: str | None = None, seed: int = 0, continued: bool = False, encoder: str | None = None
) -> str:
    """The encoder of an arm's shipped weights: the widest distilled one that has any, and no wider than `encoder`.

    Arms of ablations count at a width when it has all arms of the method that narrower ones have. An arm without
    weights has `encoder` itself, or the narrowest where none is given. VGG-19 stands for itself alone.
    """
    widths = _widths_up_to(encoder or max(STUDENTS, key=lambda name: STUDENTS[name]))
    chosen = variant or default_variant(method)
    there = (name for name in widths if _stands(run_name(method, chosen, name, seed, continued), name))
    return next(there, encoder or widths[-1])


def pretrained(
    method: str, variant: str | None = None, encoder: str | None = None, seed: int = 0, continued: bool = False
) -> Method:
    """A method with the project's shipped weights, ready to call; loaded once and shared.

    encoder  the widest that may be taken, as `fitting_encoder` says; not given, the widest of all, which paints best

    A plug-in has the weights that were trained here, or needs none when nothing in it is trained.
    Raises UserError for an unknown method or variant, or when no such checkpoint is shipped.
    """
    method = method_name(method)
    fitting = fitting_encoder(method, variant, seed, continued, encoder)
    return shipped_network(method, variant or default_variant(method), fitting, seed, continued)


@lru_cache(maxsize=32)
@torch.inference_mode(False)  # shared as well
def shipped_network(method: str, variant: str, encoder: str, seed: int, continued: bool) -> Method:
    """`pretrained` at this width and no other."""
    model, name = build(method, encoder, variant), run_name(method, variant, encoder, seed, continued)
    if name in _untrained_names(encoder):
        model.weights = {"checkpoint": "none: nothing in it is trained"}
        return model.eval().requires_grad_(False)
    if not has_card(name):
        words = f"--method {method} --variant {variant} --encoder {encoder} --seed {seed}"
        words += " --continued" * continued + " --plugin FILE" * (method in plugged_in())
        raise missing_weights(
            encoder,
            f"no checkpoint {name!r}: {card_file(name)} is missing; train it with `python -m replication train"
            f" {words}`, or restore it with git",
        )
    fill_trained(model, load_checkpoint(name), name)
    model.weights = {"checkpoint": model_card(name)["sha256"]}
    note_network(name, model.weights)
    return model.eval().requires_grad_(False)


def missing_weights(encoder: str, reason: str) -> UserError:
    """The error for weights that are missing: NoWeights where nothing at all is trained at that width."""
    return UserError(reason) if shipped_names(encoder) else NoWeights(reason)


def trained_or_fresh(
    method: str, variant: str | None = None, encoder: str = "student", continued: bool = False
) -> Method:
    """The shipped weights where there are any, freshly drawn ones otherwise: to look at modules, not at results.

    `model.weights` is empty for fresh ones.
    """
    fitting = fitting_encoder(method, variant, 0, continued, encoder)
    if run_name(method, variant or default_variant(method), fitting, 0, continued) in fitting_names(encoder):
        return pretrained(method, variant, encoder, continued=continued)
    torch.manual_seed(0)
    model = build(method, encoder, variant).requires_grad_(False)
    model.weights = {}
    return model


def shipped_names(encoder: str = "student") -> list[str]:
    """Names of the shipped method checkpoints of an encoder, and of plug-ins that are trained or need no training."""
    found = {path.stem for path in card_files() if fnmatch(path.stem, f"*-{encoder}-seed*") and has_card(path.stem)}
    return sorted(found | _untrained_names(encoder).keys())


def fitting_names(encoder: str) -> list[str]:
    """Names of the checkpoints that a width's tables stand on, as `fitting_encoder` says, one for each arm."""
    found: dict[str, str] = {}
    for width in _widths_up_to(encoder) or [encoder]:
        for name in shipped_names(width):
            if _stands(name, width) or name in _untrained_names(width):
                found.setdefault(name.replace(f"-{width}-seed", "-seed"), name)
    return sorted(found.values())
