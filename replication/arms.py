"""The trained arms: which runs exist, and the command that trains and ships them."""

from dataclasses import replace
from pathlib import Path

import torch

from . import files, plots
from .autoencoder import AutoEncoder, start_decoder
from .checkpoints import card, data_list, load_checkpoint, run_name, ship
from .data import Picture, spread, training_set
from .encoder import encoder_hash, load_encoder
from .errors import UserError
from .methods import METHODS, Method
from .profiles import Profile, Training
from .provenance import provenance
from .train import Objective, read_losses, train

# Every arm that the shipped results need: (method, variant).
ARMS = (("adain", "code"), ("sanet", "code"), ("adaattn", "exact"), ("stya2k", "code"))


class MethodObjective(Objective):
    """A method's losses as a forward pass, so that distributed training sees it."""

    def __init__(self, method: Method):
        super().__init__()
        self.method = method

    def forward(self, content: torch.Tensor, style: torch.Tensor, step: int) -> dict[str, torch.Tensor]:
        return self.method.losses(content, style, step)

    def prepare(self, content: torch.Tensor) -> None:
        """The method's own start from data."""
        self.method.prepare(content)

    def published_learning_rate(self, step: int, batch: int) -> float:
        """The method's own schedule."""
        return self.method.published_learning_rate(step, batch)


def _train_and_ship(name: str, method: Method, contents: list[Picture], styles: list[Picture], settings: Training, seed: int, facts: dict) -> None:
    run = train(name, MethodObjective(method), contents, styles, settings, seed, at_checkpoint=lambda folder: draw(folder, method, contents, styles, settings))
    final = torch.load(run / "final.pt", map_location="cpu", weights_only=True)["model"]
    state = {key.removeprefix("method."): value for key, value in final.items()}
    facts |= {"encoder": method.encoder.name, "encoder_sha256": encoder_hash(method.encoder), "data": data_list(contents, styles)}
    print(f"shipped {ship(name, run, state, {**facts, **provenance()})}")


@torch.no_grad()
def draw(folder: Path, method: Method, contents: list[Picture], styles: list[Picture], settings: Training) -> None:
    """Write samples.png (four training pairs and their results) and losses.png into a run's folder."""
    lines = []
    for content, style in zip(spread(contents, 4), spread(styles, 4), strict=False):
        pair = [picture.tensor(settings.load)[None] for picture in (content, style)]
        lines.append([pair[0][0], pair[1][0], method(*pair)[0]])
    curve = [{key: value for key, value in row.items() if key != "rate"} for row in read_losses(folder)]
    for name, figure in (("samples", plots.image_grid(lines, ["content", "style", "result"])), ("losses", plots.loss_curves({folder.name: curve}))):
        files.write_atomic(folder / f"{name}.png", figure.savefig)
        plots.close(figure)


def train_arms(
    method: str, variant: str | None, profile: str, encoder: str | None, seed: int, content: list[str], style: list[str],
    steps: int | None = None, batch: int | None = None,
) -> None:  # fmt: skip
    """Train one arm, or all of ARMS, that checkpoints/ does not hold yet, and the shared auto-encoder first.

    Raises UserError for an unknown method or variant.
    """
    if method != "all" and method not in METHODS:
        raise UserError(f"unknown method {method!r}; choose {', '.join(METHODS)} or all")
    arms = ARMS if method == "all" else ((method, variant or next(iter(METHODS[method].variants))),)
    sizes = Profile.load(profile)
    changes = {key: value for key, value in (("steps", steps), ("batch", batch)) if value is not None}
    settings = replace(sizes.train, **changes)
    width = encoder or sizes.encoder
    contents, styles = training_set("photograph", content), training_set("painting", style)

    start = f"autoencoder-{width}"
    if not _shipped(start):
        torch.manual_seed(0)
        _train_and_ship(start, AutoEncoder(load_encoder(width)), contents, styles, sizes.autoencoder, 0, {"method": "autoencoder"})
    decoder = {key.removeprefix("decoder."): value for key, value in load_checkpoint(start).items()}
    for arm, reading in arms:
        name = run_name(arm, reading, width, seed)
        if _shipped(name):
            print(f"{name}: already in {files.CHECKPOINTS}")
            continue
        from . import build

        torch.manual_seed(seed)
        model = build(arm, width, reading).train()
        facts = {"method": arm, "variant": reading}
        if model.mirrored:
            start_decoder(model.decoder, decoder)
            facts["start"] = card(start)["sha256"]
        _train_and_ship(name, model, contents, styles, settings, seed, facts)


def _shipped(name: str) -> bool:
    return (files.CHECKPOINTS / f"{name}.json").is_file()
