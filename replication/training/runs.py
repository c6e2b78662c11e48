"""Train arms and ship their weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from .. import files, plots
from ..data.images import Picture, spread
from ..methods import build
from ..methods.base import Method
from ..nn.encoder import encoder_hash, load_encoder
from ..nn.state import trained_state
from ..profiles import Profile, Training
from ..weights.shipped import card_file, fill_trained, has_card, load_checkpoint, model_card, write_manifest
from .arms import AUTOENCODER, Arm, missing_trainings
from .autoencoder import AutoEncoder, start_decoder
from .loop import Objective, Run, check_settings, read_losses, train
from .readable import readable_pictures
from .ship import check_free, data_list, ship

# Photographs that the auto-encoder's start is fitted to, and as many paintings; the side of every start's pictures.
EXAMPLES, EXAMPLE_SIZE = 60, 192


@dataclass(frozen=True)
class Recipe:
    """What the trainings of one command have in common.

    profile           sizes of everything
    encoder           width of the networks
    contents, styles  pictures to train on
    changes           sizes of the arms' trainings, by the names of `Training`, that are not as in the profile; the
                      auto-encoder's stay
    skipped           names of pictures that were left out because they cannot be read
    """

    profile: Profile
    encoder: str
    contents: list[Picture]
    styles: list[Picture]
    changes: Mapping[str, Any] = field(default_factory=dict)
    skipped: Sequence[str] = ()

    def settings(self, arm: Arm) -> Training:
        """Sizes of an arm's training."""
        if arm == AUTOENCODER:
            return self.profile.autoencoder
        return replace(self.profile.ablation if arm.goes_on else self.profile.train, **self.changes)

    def run(self, arm: Arm) -> Run:
        """The training of an arm from its start."""
        return Run(arm.checkpoint(self.encoder), self.contents, self.styles, self.settings(arm), arm.seed, self.skipped)

    def readable(self, skip: bool) -> "Recipe":
        """The same with the pictures that can be read; every file is opened once.

        skip  leave out what cannot be read; otherwise raises UserError that names it
        """
        (contents, without), (styles, others) = (
            readable_pictures(pictures, skip) for pictures in (self.contents, self.styles)
        )
        return replace(self, contents=contents, styles=styles, skipped=(*without, *others))


class MethodObjective(Objective):
    """A method's losses as a forward pass, so that distributed training sees it.

    started   it goes on from trained weights: nothing is set from data
    examples  pictures for `Method.begin`; a method begins as it was made when there are none
    """

    def __init__(self, method: Method, started: bool = False, examples: Sequence[Picture] = ()):
        super().__init__()
        self.method, self.started, self.examples = method, started, examples

    def forward(self, content: torch.Tensor, style: torch.Tensor, step: int) -> dict[str, torch.Tensor]:
        return self.method.losses(content, style, step)

    def prepare(self, content: torch.Tensor) -> None:
        """The method's own start from data, unless it goes on from trained weights."""
        if self.started:
            return
        if self.examples:
            self.method.begin([picture.tensor(EXAMPLE_SIZE)[None] for picture in self.examples])
        self.method.prepare(content)

    def published_learning_rate(self, step: int, batch: int) -> float:
        """The method's own schedule."""
        return self.method.published_learning_rate(step, batch)


def start_from(method: Method, trained: dict[str, torch.Tensor]) -> list[str]:
    """Copy trained parameters and buffers of equal name and shape; returns the names of those that stay fresh."""
    own = trained_state(method)
    same = {key: value for key, value in trained.items() if key in own and own[key].shape == value.shape}
    method.load_state_dict(same, strict=False)
    return sorted(own.keys() - same.keys())


def train_arms(arms: Sequence[Arm], recipe: Recipe, skip_unreadable: bool = False) -> None:
    """Train arms unless their weights are there, and first what they start from.

    skip_unreadable  leave out pictures that cannot be read; run.json and the cards name them

    Raises UserError, before the first step, for an arm that has nothing to train, settings that `check_settings`
    refuses, and pictures that cannot be read.
    """
    for name in (arm.checkpoint(recipe.encoder) for arm in arms):
        if has_card(name):
            print(f"{name}: already in {card_file(name).parent}")
    missing = missing_trainings(arms, recipe.encoder)
    for arm in missing:
        check_settings(recipe.settings(arm))
    if missing:
        recipe = recipe.readable(skip_unreadable)
    for arm in missing:
        _train_from_start(arm, recipe)
    write_manifest()  # a command killed after a card was written has not written it


def train_further(arm: Arm, recipe: Recipe, skip_unreadable: bool = False) -> None:
    """Train an arm's shipped weights on, on pairs in another order, and put the result in their place.

    skip_unreadable  as of `train_arms`

    Raises UserError, before the first step, as `train_arms`, and for weights that are not there or that others are
    stored as steps from.
    """
    name = arm.checkpoint(recipe.encoder)
    card = model_card(name)
    check_free(name, recipe.encoder)
    check_settings(recipe.settings(arm))
    recipe = recipe.readable(skip_unreadable)
    method = build(arm.method, recipe.encoder, arm.variant).train()
    fill_trained(method, load_checkpoint(name), name)
    stage = {key: card[key] for key in ("sha256", "commit", "seconds", "settings", "data", "blended") if key in card}
    earlier = [*card.get("earlier", []), stage]
    facts = {key: card[key] for key in ("method", "variant", "start", "start_sha256", "fresh") if key in card}
    facts |= {"seed": arm.seed, "earlier": earlier}
    order = arm.seed + 1000 * len(earlier)  # the seed of the pairs, so that they do not come as they came before
    run = replace(recipe.run(arm), name=f"{name}-from-{card['sha256'][:8]}", seed=order)
    _train_and_ship(name, run, MethodObjective(method, started=True), facts, _stored_as(arm))


def _train_from_start(arm: Arm, recipe: Recipe) -> None:
    """Train an arm whose start is there."""
    run = recipe.run(arm)
    torch.manual_seed(arm.seed)
    if arm == AUTOENCODER:
        # Not the shared encoder. Who loads that first draws random numbers, so an arm would begin otherwise where this
        # process has trained the auto-encoder before it.
        encoder = load_encoder.__wrapped__(recipe.encoder)
        method, facts = AutoEncoder(encoder).train(), {"method": arm.method}
        examples = spread(run.contents, EXAMPLES) + spread(run.styles, EXAMPLES)
    else:
        method = build(arm.method, recipe.encoder, arm.variant).train()
        facts = {"method": arm.method, "variant": arm.variant} | _start(method, arm, recipe.encoder)
        examples = spread(run.contents, method.examples)
    _train_and_ship(run.name, run, MethodObjective(method, arm.goes_on, examples), facts, _stored_as(arm))


def _start(method: Method, arm: Arm, encoder: str) -> dict[str, Any]:
    """Put the weights that an arm starts from into its method; returns what the card says of them."""
    if arm.start is None:
        return {}
    name = arm.start.checkpoint(encoder)
    weights, facts = load_checkpoint(name), {"start": name}
    if arm.goes_on:
        facts["fresh"] = start_from(method, weights)
    else:
        start_decoder(method.decoder, {key.removeprefix("decoder."): value for key, value in weights.items()})
    return facts | {"start_sha256": model_card(name)["sha256"]}


def _stored_as(arm: Arm) -> torch.dtype:
    """What will be packed as steps from another's weights can be coarser."""
    return torch.bfloat16 if arm.goes_on else torch.half


def _train_and_ship(name: str, run: Run, objective: MethodObjective, facts: dict[str, Any], dtype: torch.dtype) -> None:
    """Train, and keep the weights.

    name   of the weights
    facts  for their card
    dtype  as which they are stored
    """
    method = objective.method
    if run.settings.judge != "own":
        method.judge_by(load_encoder(run.settings.judge))
    folder = train(run, objective, at_checkpoint=lambda folder: draw_progress(folder, method, run))
    final = torch.load(folder / "final.pt", map_location="cpu", weights_only=True)["model"]
    state = {key.removeprefix("method."): value for key, value in final.items()}
    facts |= {
        "encoder": method.encoder.name,
        "encoder_sha256": encoder_hash(method.encoder),
        "data": data_list(run.contents, run.styles, card_file(name).parent),
    }
    if run.skipped:
        facts["skipped_unreadable"] = [files.printable(name) for name in run.skipped]
    print(f"shipped {ship(name, folder, state, facts, dtype)}")


@torch.no_grad()
def draw_progress(folder: Path, method: Method, run: Run) -> None:
    """Write samples.png (four training pairs and their results) and losses.png into a run's folder."""
    lines = []
    for content, style in zip(spread(run.contents, 4), spread(run.styles, 4), strict=False):
        pair = [picture.tensor(run.settings.load)[None] for picture in (content, style)]
        lines.append([pair[0][0], pair[1][0], method(*pair)[0]])
    curve = [{key: value for key, value in row.items() if key != "rate"} for row in read_losses(folder)]
    for name, figure in (
        ("samples", plots.image_grid(lines, ["content", "style", "result"])),
        ("losses", plots.loss_curves({folder.name: curve})),
    ):
        files.write_encoded(folder / f"{name}.png", figure.savefig)
        plots.close(figure)
