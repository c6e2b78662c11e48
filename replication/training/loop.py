"""One training loop for all methods, on accelerate.

Everything random is a function of (seed, step): which images, which crop, which subset of keys. So a run that was
killed goes on from its last checkpoint with the very numbers it would have had (bit-equal on one CPU with one thread
count), and resuming needs no stored random state.

    python -m replication train --method adain --profile cpu --content FOLDER --style FOLDER
    accelerate launch -m replication train …      several GPUs or hosts: every process takes its share of the batch
    torchrun --nproc_per_node 2 -m replication train …
                                                  several processes on CPUs, of which accelerate launch --cpu starts
                                                  one without MPI, whatever --num_processes says
"""

import fcntl
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from ..data.images import Picture, read_image
from ..errors import UserError
from ..files import build_dir, read_object, sha256_text, write_atomic, write_text
from ..nn.state import trained_state
from ..profiles import Training
from ..provenance import provenance

# Decoded images kept in memory by each data set, in bytes; COCO-sized sets are decoded again every time.
CACHE_BYTES = 2 << 30
# Pixels on which every method has features to work with.
SMALLEST_CROP = 32


class Objective(nn.Module):
    """What the loop minimises: a module whose forward returns named, weighted loss terms that are summed."""

    def forward(self, content: Tensor, style: Tensor, step: int) -> dict[str, Tensor]:
        """Loss terms of a batch of images at a 0-based step."""
        raise NotImplementedError

    def prepare(self, content: Tensor) -> None:
        """Called once before the first step with the first batch of contents."""

    def published_learning_rate(self, step: int, batch: int) -> float:
        """Learning rate of the authors' training; not every objective has authors."""
        raise UserError(f"{type(self).__name__} has no published schedule; use a profile with the one-cycle schedule")


class Pairs(Dataset):
    """Random (content, style) crops: item i is a function of (seed, i) alone.

    Contents and styles run through independent endless permutations. The shorter side is resized to `load`,
    aspect ratio kept; then a random crop and a random horizontal flip. (The published scripts distort to a square;
    the papers' texts do not say so.)
    """

    def __init__(self, contents: list[Picture], styles: list[Picture], load: int, crop: int, seed: int):
        if crop > load:
            raise UserError(f"crop {crop} is larger than load {load}; the crop is taken from the resized image")
        self.sets, self.load, self.crop, self.seed = (contents, styles), load, crop, seed
        self.cache: dict[tuple[int, int], np.ndarray] = {}
        self.cached = 0

    def _image(self, which: int, index: int) -> np.ndarray:
        found = self.cache.get((which, index))
        if found is None:
            found = read_image(self.sets[which][index].path, self.load).mul(255).round().byte().numpy()
            if self.cached + found.nbytes < CACHE_BYTES:
                self.cache[which, index] = found
                self.cached += found.nbytes
        return found

    def __getitem__(self, item: int) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng((self.seed, item))
        crops = []
        for which, pictures in enumerate(self.sets):
            epoch, position = divmod(item, len(pictures))
            order = np.random.default_rng((self.seed, which, epoch)).permutation(len(pictures))
            image = self._image(which, int(order[position]))
            top = rng.integers(image.shape[1] - self.crop + 1)
            left = rng.integers(image.shape[2] - self.crop + 1)
            crop = image[:, top : top + self.crop, left : left + self.crop]
            crops.append(
                torch.from_numpy(crop[:, :, ::-1].copy() if rng.random() < 0.5 else crop.copy()).float().div_(255)
            )
        return crops[0], crops[1]


def _warm_up(steps: int) -> int:
    """The first 5 % of the steps."""
    return max(1, steps // 20)


def constant(step: int, steps: int, peak: float) -> float:
    """Learning rate: linear warm-up over the first 5 % of the steps, then the peak."""
    return peak * min(1.0, (step + 1) / _warm_up(steps))


def one_cycle(step: int, steps: int, peak: float) -> float:
    """Learning rate: linear warm-up over the first 5 % of the steps, then a cosine to zero."""
    warm = _warm_up(steps)
    if step < warm:
        return constant(step, steps, peak)
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def learning_rate(settings: Training, objective: Objective, step: int) -> float:
    """The rate at a 0-based step under the profile's schedule."""
    if settings.schedule == "one-cycle":
        return one_cycle(step, settings.steps, settings.learning_rate)
    if settings.schedule == "constant":
        return constant(step, settings.steps, settings.learning_rate)
    if settings.schedule == "published":
        return objective.published_learning_rate(step, settings.batch)
    raise UserError(f"unknown schedule {settings.schedule!r}; choose one-cycle, constant or published")


def usable_precision(precision: str, device: torch.device) -> str:
    """The mixed precision to train in on a device: "bf16" is "no" on processors that only emulate it.

    Without AVX-512 a bfloat16 convolution takes oneDNN 170 times as long as a float32 one (AMD EPYC of 2021). Only
    rounding differs, so a run may go on on a processor of the other kind.
    """
    native = device.type != "cpu" or torch.backends.cpu.get_cpu_capability().startswith(("AVX512", "SVE"))
    return precision if native or precision != "bf16" else "no"


@dataclass(frozen=True)
class Run:
    """What is trained on and how, all but the objective; what makes it another run of the same name.

    name              of its folder
    contents, styles  pictures that the pairs are drawn from
    seed              of the pairs and of what is drawn in a step
    skipped           names of pictures that could not be read and are not among the others, for run.json
    """

    name: str
    contents: list[Picture]
    styles: list[Picture]
    settings: Training
    seed: int = 0
    skipped: Sequence[str] = ()

    @property
    def folder(self) -> Path:
        """`build/train/<name>/`."""
        return build_dir() / "train" / self.name

    def facts(self, processes: int) -> dict[str, Any]:
        """What its results depend on, for run.json, and as "key" the hash of that."""
        facts = {
            "name": self.name,
            "seed": self.seed,
            "settings": asdict(self.settings),
            "processes": processes,
            "content": {p.name: p.sha256 for p in self.contents},
            "style": {p.name: p.sha256 for p in self.styles},
        }
        return facts | {"key": sha256_text(json.dumps(facts, sort_keys=True))}


def check_settings(settings: Training) -> None:
    """Raise UserError for sizes that no training can have."""
    for size, least in (("steps", 1), ("batch", 1), ("checkpoint_every", 1), ("crop", SMALLEST_CROP)):
        if getattr(settings, size) < least:
            raise UserError(f"{size} must be at least {least}, got {getattr(settings, size)}")
    if not 0 < settings.learning_rate < math.inf:
        raise UserError(f"learning_rate must be a positive number, got {settings.learning_rate}")
    for share in ("averaged", "kept"):
        if not 0 <= getattr(settings, share) <= 1:
            raise UserError(f"{share} is a fraction, from 0 to 1, got {getattr(settings, share)}")


def train(
    run: Run,
    objective: Objective,
    stop_after: int | None = None,
    at_checkpoint: Callable[[Path], object] = lambda folder: None,
) -> Path:
    """Train `objective` and return the run's folder.

    run            the same name with other settings, data or seed is refused, not overwritten
    stop_after     stop at this step as if killed, for tests
    at_checkpoint  called with the folder whenever a checkpoint was written, for pictures of the progress

    The folder holds run.json (settings, files and hashes, provenance of the first start), losses.jsonl (one line per
    step), checkpoint.pt and, when the last step is done, final.pt with the trained parameters: those of the last step,
    or the mean over the last steps, or with a share of what they were before the first, as the settings ask.
    Raises UserError for settings that `check_settings` refuses, a run of the same name with other settings or in
    another process, a damaged checkpoint, or a loss that is not finite.
    """
    check_settings(run.settings)
    # accelerate joins several CPU processes only when told that there is no other device.
    cpu = not torch.accelerator.is_available()
    device = torch.device("cpu") if cpu else torch.accelerator.current_accelerator()
    precision = usable_precision(run.settings.precision, device)
    accelerator = Accelerator(mixed_precision=precision, cpu=cpu)
    facts = run.facts(accelerator.num_processes)
    made_with = {"precision": precision, "skipped_unreadable": list(run.skipped), "provenance": provenance()}
    with _alone(run.folder, accelerator):
        _claim(run.folder, facts | made_with, accelerator)
        pairs = Pairs(run.contents, run.styles, run.settings.load, run.settings.crop, run.seed)
        progress = _begin(run, facts["key"], objective, pairs, accelerator)
        _take_steps(run, progress, pairs, accelerator, stop_after, at_checkpoint)
        if accelerator.is_main_process and progress.step == run.settings.steps:
            _save(run.folder / "final.pt", progress.final(run.settings.kept))
        accelerator.wait_for_everyone()
    return run.folder


@dataclass
class _Progress:
    """A run under way: what a checkpoint holds.

    key        of the run
    prepared   the objective as accelerate wraps it
    bare       the same without the wrapping
    mean       of the weights, when the settings ask for one
    start      the trained weights from before the first step, when a share of them is kept; empty otherwise
    step       steps taken
    """

    key: str
    prepared: nn.Module
    bare: nn.Module
    optimizer: AcceleratedOptimizer
    mean: AveragedModel | None
    start: dict[str, Tensor]
    step: int = 0

    def save(self, path: Path) -> None:
        """Write a checkpoint."""
        state = {
            "key": self.key,
            "step": self.step,
            "model": trained_state(self.bare),
            "optimizer": self.optimizer.state_dict(),
        }
        if self.mean:
            state["mean"] = trained_state(self.mean)
        if self.start:
            state["start"] = self.start
        _save(path, state)

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint. Raises UserError for one that cannot be read or is not of this run."""
        try:
            # To the CPU first, and to each parameter's device below: accelerate calls the CPUs of several processes
            # cpu:0, cpu:1, which torch.load does not know.
            state = torch.load(path, map_location="cpu", weights_only=True)
        except OSError as error:
            raise UserError(
                f"cannot read {path} ({error.strerror}); its permissions or the disk are at fault"
            ) from error
        except Exception as error:
            raise UserError(f"{path} is damaged ({error}); remove it to train from the start") from error
        if not isinstance(state, dict) or not {"key", "step", "model", "optimizer"} <= state.keys():
            raise UserError(f"{path} is no checkpoint of a training; remove it to train from the start")
        if state["key"] != self.key:
            raise UserError(f"{path} belongs to another run; remove it to train from the start")
        for part, wanted in (("mean", self.mean), ("start", self.start)):
            if wanted and part not in state:
                raise UserError(
                    f"{path} was written without the weights called {part}; remove it to train from the start"
                )
        missing, unexpected = self.bare.load_state_dict(state["model"], strict=False)
        frozen = {name for name, p in self.bare.named_parameters() if not p.requires_grad}
        if unexpected or set(missing) - frozen:
            raise UserError(
                f"{path} does not fit the model: missing {sorted(set(missing) - frozen)}, unexpected {unexpected}"
            )
        self.optimizer.load_state_dict(state["optimizer"])
        if self.mean:
            self.mean.load_state_dict(state["mean"], strict=False)
        if self.start:
            self.start = state["start"]
        self.step = state["step"]

    def final(self, kept: float) -> dict[str, Any]:
        """What final.pt holds.

        kept  share of the weights from before the first step in those that come out
        """
        final = trained_state(self.mean.module if self.mean else self.bare)
        for key in (key for key in self.start if final[key].is_floating_point()):
            final[key] = torch.lerp(final[key], self.start[key], kept)
        return {"key": self.key, "step": self.step, "model": final}


def _begin(run: Run, key: str, objective: Objective, pairs: Pairs, accelerator: Accelerator) -> _Progress:
    """Everything as it is before the next step: the first, or the one after the last checkpoint."""
    settings, checkpoint = run.settings, run.folder / "checkpoint.pt"
    if not checkpoint.is_file():
        objective.prepare(torch.stack([pairs[item][0] for item in range(settings.batch)]))
    start = {name: tensor.clone() for name, tensor in trained_state(objective).items()} if settings.kept else {}
    # A third faster on CPU, the same numbers up to rounding.
    objective = objective.to(memory_format=torch.channels_last)
    parameters = [p for p in objective.parameters() if p.requires_grad]
    mean = AveragedModel(objective, accelerator.device) if settings.averaged else None
    optimizer = torch.optim.Adam(parameters, lr=settings.learning_rate, fused=True)
    prepared, optimizer = accelerator.prepare(objective, optimizer)
    prepared.train()
    progress = _Progress(key, prepared, accelerator.unwrap_model(prepared), optimizer, mean, start)
    if checkpoint.is_file():
        progress.resume(checkpoint)
    return progress


def _batches(pairs: Pairs, batch: int, steps: range, accelerator: Accelerator) -> DataLoader:
    """This process's share of the pairs of these steps, (share, 3, crop, crop) contents and styles."""
    share = batch // accelerator.num_processes
    if share * accelerator.num_processes != batch:
        raise UserError(f"batch {batch} does not divide over {accelerator.num_processes} processes")
    items = [step * batch + accelerator.process_index * share + i for step in steps for i in range(share)]
    workers = 4 if accelerator.device.type == "cuda" else 0
    return DataLoader(pairs, batch_size=share, sampler=items, num_workers=workers, pin_memory=workers > 0)


def _take_steps(
    run: Run,
    progress: _Progress,
    pairs: Pairs,
    accelerator: Accelerator,
    stop_after: int | None,
    at_checkpoint: Callable[[Path], object],
) -> None:
    """Train to the last step, or to `stop_after`, and write losses and checkpoints on the way."""
    settings = run.settings
    end = settings.steps if stop_after is None else min(stop_after, settings.steps)
    bar = tqdm(
        _batches(pairs, settings.batch, range(progress.step, end), accelerator),
        initial=progress.step,
        total=settings.steps,
        desc=run.name,
        mininterval=5,
        disable=not accelerator.is_main_process,
    )
    losses, started = [], time.time()
    for pair in bar:
        losses.append(_take_step(run, progress, pair, accelerator))
        bar.set_postfix(loss=f"{losses[-1]['loss']:.3f}", refresh=False)
        if progress.mean and progress.step > settings.steps * (1 - settings.averaged):
            progress.mean.update_parameters(progress.bare)
        at_end = progress.step == settings.steps
        if accelerator.is_main_process and (progress.step % settings.checkpoint_every == 0 or at_end):
            _append_losses(run.folder, losses)
            progress.save(run.folder / "checkpoint.pt")
            _note_time(run.folder, time.time() - started)
            at_checkpoint(run.folder)
            losses, started = [], time.time()


def _take_step(
    run: Run, progress: _Progress, pair: Sequence[Tensor], accelerator: Accelerator
) -> dict[str, float | int]:
    """One step of the optimiser on (batch, 3, crop, crop) contents and styles; returns its line of losses.jsonl."""
    step, optimizer = progress.step, progress.optimizer
    rate = learning_rate(run.settings, progress.bare, step)
    for group in optimizer.param_groups:
        group["lr"] = rate
    # Dropout and noise, too, are functions of (seed, step).
    torch.manual_seed(int(np.random.SeedSequence((run.seed, step, accelerator.process_index)).generate_state(1)[0]))
    with accelerator.autocast():
        images = (image.to(accelerator.device, memory_format=torch.channels_last) for image in pair)
        terms = progress.prepared(*images, step)
    loss = sum(terms.values())
    values = {name: term.item() for name, term in terms.items()}
    if not torch.isfinite(loss):
        raise UserError(
            f"{run.name}: the loss is not finite at step {step} ({values}); lower the learning rate: the profile's, or"
            " the variant's in the method's file"
        )
    optimizer.zero_grad(set_to_none=True)
    accelerator.backward(loss)
    optimizer.step()
    progress.step += 1
    return {"step": step, "rate": rate, "loss": loss.item(), **values}


def _save(path: Path, state: dict) -> None:
    write_atomic(path, lambda temporary: torch.save(state, temporary))


AGAIN = "remove the folder that it lies in to train from the start"


def read_losses(folder: Path) -> list[dict[str, float | int]]:
    """The loss terms of every step so far. Raises UserError that names the file and the line that is damaged."""
    path = folder / "losses.jsonl"
    if not path.is_file():
        return []
    rows = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}, line {number}, is damaged ({error}); {AGAIN}") from error
        if not isinstance(row, dict) or not all(type(value) in (int, float) for value in row.values()):
            raise UserError(f"{path}, line {number}, is damaged (no numbers by name); {AGAIN}")
        if type(row.get("step")) is not int:
            raise UserError(f"{path}, line {number}, is damaged (no step); {AGAIN}")
        rows.append(row)
    return rows


def read_run(folder: Path) -> dict[str, Any]:
    """run.json: settings, files and provenance of a run. Raises UserError when it is missing or damaged."""
    path = folder / "run.json"
    run = read_object(path, AGAIN)
    lacking = [name for name in ("key", "seed", "settings", "provenance") if name not in run]
    if lacking or not isinstance(run["provenance"], dict):
        raise UserError(f"{path} is damaged (lacks {', '.join(lacking) or 'provenance'}); {AGAIN}")
    return run


def read_seconds(folder: Path) -> float:
    """Seconds that the run has computed; 0 before its first checkpoint. Raises UserError when the file is damaged."""
    path = folder / "seconds.json"
    if not path.is_file():
        return 0.0
    seconds = read_object(path, "remove it: only the time of the run is lost, not the run").get("seconds")
    if type(seconds) not in (int, float) or not 0 <= seconds < math.inf:
        raise UserError(f"{path} is damaged (no seconds); remove it: only the time of the run is lost, not the run")
    return float(seconds)


@contextmanager
def _alone(folder: Path, accelerator: Accelerator) -> Iterator[None]:
    """Keep other commands out of a run's folder: two would take every step twice, over each other's checkpoints."""
    if not accelerator.is_main_process:  # the others of a distributed run belong to it
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"another process trains in {folder}; wait until it ends, or stop it and give the command again: it"
                " goes on at the last checkpoint"
            ) from error
        yield


def _claim(folder: Path, run: dict, accelerator: Accelerator) -> None:
    path = folder / "run.json"
    if path.is_file():
        if read_run(folder)["key"] != run["key"]:
            raise UserError(
                f"{folder} holds a run of the same name with other settings, data or seed; finish it with those, choose"
                " another --seed, or remove the folder to train anew"
            )
    elif accelerator.is_main_process:
        write_text(path, json.dumps(run, indent=1, sort_keys=True))


def _append_losses(folder: Path, rows: list[dict[str, float | int]]) -> None:
    # A kill between a step and its checkpoint must not leave that step twice: keep only what comes before these.
    earlier = [row for row in read_losses(folder) if row["step"] < rows[0]["step"]]
    write_text(folder / "losses.jsonl", "".join(json.dumps(row) + "\n" for row in [*earlier, *rows]))


def _note_time(folder: Path, seconds: float) -> None:
    path = folder / "seconds.json"
    write_text(path, json.dumps({"seconds": read_seconds(folder) + seconds}))
