"""The trained arms: which runs exist, and the command that trains and ships them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from .. import files, plots
from ..data.images import Picture, spread, training_set
from ..errors import UserError
from ..methods import METHODS, build, check_variant, default_variant, method_name
from ..methods.base import Method, parameter_count
from ..nn.encoder import encoder_hash, load_encoder
from ..nn.state import trained_state
from ..papers.choices import CHOICES
from ..papers.rows import TABLES, Row, table
from ..profiles import Profile, Training
from ..weights.shipped import (
    card_file,
    fill_trained,
    has_card,
    is_trained,
    load_checkpoint,
    model_card,
    run_name,
    write_manifest,
)
from .autoencoder import AutoEncoder, start_decoder
from .loop import Objective, read_losses, train
from .readable import readable_pictures
from .ship import check_free, data_list, ship

# Photographs that the auto-encoder's start is fitted to, and as many paintings; the side of every start's pictures.
EXAMPLES, EXAMPLE_SIZE = 60, 192


def wanted_trainings() -> list[tuple[str, str, int, bool]]:
    """(method, variant, seed, continued) of every training that the tables and `sensitivity` need.

    The compared methods come first.
    """
    tables = sorted((table(*name) for name in TABLES), key=lambda found: found.ablation)
    rows = [row for found in tables for row in found.rows] + [row for choice in CHOICES for row in choice.rows]
    arms = dict.fromkeys(row.arm for row in rows if row.method in METHODS)
    return [arm for arm in arms if is_trained(*arm[:2])]


def wanted_arms(
    methods: Sequence[str], variant: str | None, seed: int, continued: bool, with_arms: bool
) -> list[tuple[str, str, int, bool]]:
    """(method, variant, seed, continued) of the trainings that a person asks for.

    methods    names as `method_name` takes them; "all" is everything that the tables need, "autoencoder" nothing more
               than what they start from
    with_arms  also what the tables need of these methods

    Raises UserError for an unknown method or variant.
    """
    names = [method_name(name, "autoencoder", "all") for name in methods]
    if "all" in names:
        return wanted_trainings()
    named = [name for name in names if name != "autoencoder"]
    for name in named:
        check_variant(name, variant)
    arms = [Row("", name, variant, seed=seed, continued=continued).arm for name in named]
    arms += [arm for arm in wanted_trainings() if with_arms and arm[0] in named]
    return list(dict.fromkeys(arms))


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


def _train_and_ship(
    name: str,
    method: Method,
    contents: list[Picture],
    styles: list[Picture],
    skipped: list[str],
    settings: Training,
    seed: int,
    facts: dict,
    started: bool = False,
    examples: Sequence[Picture] = (),
    run_folder: str | None = None,
) -> None:
    """Train, and keep the weights.

    facts       for the card
    started     the method goes on from trained weights: nothing is set from data
    examples    as of `MethodObjective`
    run_folder  name of the run's folder; None is that of the weights
    """
    if settings.judge != "own":
        method.judge_by(load_encoder(settings.judge))
    run = train(
        run_folder or name,
        MethodObjective(method, started, examples),
        contents,
        styles,
        settings,
        seed,
        at_checkpoint=lambda folder: draw_progress(folder, method, contents, styles, settings),
        skipped=skipped,
    )
    final = torch.load(run / "final.pt", map_location="cpu", weights_only=True)["model"]
    state = {key.removeprefix("method."): value for key, value in final.items()}
    facts |= {
        "encoder": method.encoder.name,
        "encoder_sha256": encoder_hash(method.encoder),
        "data": data_list(contents, styles, card_file(name).parent),
    }
    if skipped:
        facts["skipped_unreadable"] = [files.printable(name) for name in skipped]
    # What will be packed as steps from another's weights can be coarser.
    print(f"shipped {ship(name, run, state, facts, torch.bfloat16 if 'fresh' in facts else torch.half)}")


@torch.no_grad()
def draw_progress(
    folder: Path, method: Method, contents: list[Picture], styles: list[Picture], settings: Training
) -> None:
    """Write samples.png (four training pairs and their results) and losses.png into a run's folder."""
    lines = []
    for content, style in zip(spread(contents, 4), spread(styles, 4), strict=False):
        pair = [picture.tensor(settings.load)[None] for picture in (content, style)]
        lines.append([pair[0][0], pair[1][0], method(*pair)[0]])
    curve = [{key: value for key, value in row.items() if key != "rate"} for row in read_losses(folder)]
    for name, figure in (
        ("samples", plots.image_grid(lines, ["content", "style", "result"])),
        ("losses", plots.loss_curves({folder.name: curve})),
    ):
        files.write_encoded(folder / f"{name}.png", figure.savefig)
        plots.close(figure)


def train_arms(
    method: str,
    variant: str | None,
    profile: str,
    encoder: str | None,
    seed: int,
    content: list[str],
    style: list[str],
    continued: bool = False,
    skip_unreadable: bool = False,
    further: bool = False,
    **changes: Any,
) -> None:
    """Train one arm, or all that the tables need, unless their weights are there, and first what they start from.

    Default variants start their mirrored decoders from the shared auto-encoder. Other variants, and a default one that
    is `continued`, go on from the method's default variant of seed 0.

    method           a name as `method_name` takes it; "all"; or "autoencoder", which trains that shared start alone
    skip_unreadable  leave out pictures that cannot be read; run.json and the card name them
    further          train the arm's shipped weights on, on pairs in another order, and put the result in their place
    changes          sizes of the arms' trainings, by the names of `Training`, that are not as in the profile

    Raises UserError for an unknown method or variant, for less than one step, and, before the first step, for pictures
    that cannot be read, and for weights to train on that are not there or that others are stored as steps from.
    """
    method = method_name(method, "autoencoder", "all")
    if method == "all":
        wanted = wanted_trainings()
    elif method == "autoencoder":
        wanted = []
    else:
        wanted = [Row("", method, variant, seed=seed, continued=continued).arm]
    sizes = Profile.load(profile)
    width = encoder or sizes.encoder
    contents, styles = training_set("photograph", content), training_set("painting", style)
    settings = [replace(sizes.train, **changes), sizes.ablation, sizes.autoencoder]
    if any(part.steps < 1 or part.batch < 1 for part in settings):
        raise UserError(f"steps and batch must be at least 1, got {changes}")
    checked: list[tuple[list[Picture], list[Picture], list[str]]] = []

    def readable() -> tuple[list[Picture], list[Picture], list[str]]:
        """Both sets and the names left out; every file is opened once, before the first step of the first training."""
        if not checked:
            (photographs, without), (paintings, others) = (
                readable_pictures(pictures, skip_unreadable) for pictures in (contents, styles)
            )
            checked.append((photographs, paintings, [*without, *others]))
        return checked[0]

    def make(arm: str, reading: str, seed: int, continued: bool) -> str:
        name = run_name(arm, reading, width, seed, continued)
        if has_card(name):
            print(f"{name}: already in {card_file(name).parent}")
            return name
        default = default_variant(arm)
        start = make(arm, default, 0, False) if continued or reading != default else None
        torch.manual_seed(seed)
        model, facts = build(arm, width, reading).train(), {"method": arm, "variant": reading}
        if parameter_count(model) == 0:
            raise UserError(f"{arm} has no parameters to train in its variant {reading}; use it as it is")
        if start:
            facts |= {"start": start, "fresh": start_from(model, load_checkpoint(start))}
        elif model.mirrored:
            start_decoder(model.decoder, decoder())
            facts["start"] = autoencoder
        if "start" in facts:
            facts["start_sha256"] = model_card(facts["start"])["sha256"]
        settings = replace(sizes.ablation if start else sizes.train, **changes)
        examples = spread(readable()[0], model.examples)
        _train_and_ship(name, model, *readable(), settings, seed, facts, start is not None, examples)
        return name

    def make_further(arm: str, reading: str, seed: int, continued: bool) -> None:
        name = run_name(arm, reading, width, seed, continued)
        card, model = model_card(name), build(arm, width, reading).train()
        check_free(name, width)
        fill_trained(model, load_checkpoint(name), name)
        stage = {
            key: card[key] for key in ("sha256", "commit", "seconds", "settings", "data", "blended") if key in card
        }
        earlier = [*card.get("earlier", []), stage]
        facts = {key: card[key] for key in ("method", "variant", "start", "start_sha256", "fresh") if key in card}
        order = seed + 1000 * len(earlier)  # the seed of the pairs, so that they do not come as they came before
        _train_and_ship(
            name,
            model,
            *readable(),
            replace(sizes.ablation if continued or reading != default_variant(arm) else sizes.train, **changes),
            order,
            facts | {"seed": seed, "earlier": earlier},
            started=True,
            run_folder=f"{name}-from-{card['sha256'][:8]}",
        )

    def decoder() -> dict[str, torch.Tensor]:
        if not has_card(autoencoder):
            photographs, paintings, skipped = readable()
            examples = spread(photographs, EXAMPLES) + spread(paintings, EXAMPLES)
            model, facts = AutoEncoder(load_encoder(width)).train(), {"method": "autoencoder"}
            _train_and_ship(
                autoencoder, model, photographs, paintings, skipped, sizes.autoencoder, 0, facts, examples=examples
            )
        return {key.removeprefix("decoder."): value for key, value in load_checkpoint(autoencoder).items()}

    autoencoder = f"autoencoder-{width}"
    if method == "autoencoder":
        decoder()
    for arm in wanted:
        (make_further if further else make)(*arm)
    write_manifest()  # a command killed after a card was written has not written it
