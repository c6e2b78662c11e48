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
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
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


def train(
    name: str,
    objective: Objective,
    contents: list[Picture],
    styles: list[Picture],
    settings: Training,
    seed: int = 0,
    stop_after: int | None = None,
    at_checkpoint: Callable[[Path], object] = lambda folder: None,
    skipped: Sequence[str] = (),
) -> Path:
    """Train `objective` and return the run's folder, `build/train/<name>/`.

    name           of the run; the same name with other settings, data or seed is refused, not overwritten
    stop_after     stop at this step as if killed, for tests
    at_checkpoint  called with the folder whenever a checkpoint was written, for pictures of the progress
    skipped        names of pictures that could not be read and are not among the others, for run.json

    The folder holds run.json (settings, files and hashes, provenance of the first start), losses.jsonl (one line per
    step), checkpoint.pt and, when the last step is done, final.pt with the trained parameters: those of the last step,
    or the mean over the last steps, or with a share of what they were before the first, as the settings ask.
    Raises UserError for a run of the same name with other settings or in another process, a damaged checkpoint, or a
    loss that is not finite.
    """
    if settings.steps < 1 or settings.batch < 1:
        raise UserError(f"steps and batch must be at least 1, got {settings.steps} and {settings.batch}")
    for share in ("averaged", "kept"):
        if not 0 <= getattr(settings, share) <= 1:
            raise UserError(f"{share} is a fraction, from 0 to 1, got {getattr(settings, share)}")
    # accelerate joins several CPU processes only when told that there is no other device.
    cpu = not torch.accelerator.is_available()
    device = torch.device("cpu") if cpu else torch.accelerator.current_accelerator()
    precision = usable_precision(settings.precision, device)
    accelerator = Accelerator(mixed_precision=precision, cpu=cpu)
    folder = build_dir() / "train" / name
    run = {
        "name": name,
        "seed": seed,
        "settings": asdict(settings),
        "processes": accelerator.num_processes,
        "content": {p.name: p.sha256 for p in contents},
        "style": {p.name: p.sha256 for p in styles},
    }
    run["key"] = sha256_text(json.dumps(run, sort_keys=True))
    facts = {"precision": precision, "skipped_unreadable": list(skipped), "provenance": provenance()}
    with _alone(folder, accelerator):
        _claim(folder, run | facts, accelerator)
        pairs = Pairs(contents, styles, settings.load, settings.crop, seed)
        _take_steps(run, folder, objective, pairs, settings, accelerator, stop_after, at_checkpoint)
    return folder


def _take_steps(
    run: dict[str, Any],
    folder: Path,
    objective: Objective,
    pairs: Pairs,
    settings: Training,
    accelerator: Accelerator,
    stop_after: int | None,
    at_checkpoint: Callable[[Path], object],
) -> None:
    name, seed = run["name"], run["seed"]
    start = {key: tensor.clone() for key, tensor in trained_state(objective).items()} if settings.kept else {}
    if not (folder / "checkpoint.pt").is_file():
        objective.prepare(torch.stack([pairs[item][0] for item in range(settings.batch)]))
    objective = objective.to(
        memory_format=torch.channels_last
    )  # a third faster on CPU, the same numbers up to rounding
    parameters = [p for p in objective.parameters() if p.requires_grad]
    mean = AveragedModel(objective, accelerator.device) if settings.averaged else None
    optimizer = torch.optim.Adam(parameters, lr=settings.learning_rate, fused=True)
    objective, optimizer = accelerator.prepare(objective, optimizer)
    bare = accelerator.unwrap_model(objective)
    objective.train()
    step = _resume(folder, run["key"], bare, optimizer, mean)

    share = settings.batch // accelerator.num_processes
    if share * accelerator.num_processes != settings.batch:
        raise UserError(f"batch {settings.batch} does not divide over {accelerator.num_processes} processes")
    end = settings.steps if stop_after is None else min(stop_after, settings.steps)
    items = [s * settings.batch + accelerator.process_index * share + i for s in range(step, end) for i in range(share)]
    workers = 4 if accelerator.device.type == "cuda" else 0
    batches = DataLoader(pairs, batch_size=share, sampler=items, num_workers=workers, pin_memory=workers > 0)

    losses: list[str] = []
    started, bar = (
        time.time(),
        tqdm(
            batches,
            initial=step,
            total=settings.steps,
            desc=name,
            mininterval=5,
            disable=not accelerator.is_main_process,
        ),
    )
    for content, style in bar:
        rate = learning_rate(settings, bare, step)
        for group in optimizer.param_groups:
            group["lr"] = rate
        # Dropout and noise, too, are functions of (seed, step).
        torch.manual_seed(int(np.random.SeedSequence((seed, step, accelerator.process_index)).generate_state(1)[0]))
        with accelerator.autocast():
            terms = objective(
                *(x.to(accelerator.device, memory_format=torch.channels_last) for x in (content, style)), step
            )
        loss = sum(terms.values())
        if not torch.isfinite(loss):
            raise UserError(
                f"{name}: the loss is not finite at step {step} ({ {k: v.item() for k, v in terms.items()} }); lower"
                " the learning rate: the profile's, or the variant's in the method's file"
            )
        optimizer.zero_grad(set_to_none=True)
        accelerator.backward(loss)
        optimizer.step()
        losses.append(
            json.dumps({"step": step, "rate": rate, "loss": loss.item(), **{k: v.item() for k, v in terms.items()}})
        )
        bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
        step += 1
        if mean and step > settings.steps * (1 - settings.averaged):
            mean.update_parameters(bare)
        if accelerator.is_main_process and (step % settings.checkpoint_every == 0 or step == settings.steps):
            _append_losses(folder, losses, step)
            state = {"key": run["key"], "step": step, "model": trained_state(bare), "optimizer": optimizer.state_dict()}
            _save(folder / "checkpoint.pt", state | {"mean": trained_state(mean)} if mean else state)
            _note_time(folder, time.time() - started)
            at_checkpoint(folder)
            started = time.time()
    if accelerator.is_main_process and step == settings.steps:
        final = trained_state(mean.module if mean else bare)
        for key in (key for key in start if final[key].is_floating_point()):
            final[key] = torch.lerp(final[key], start[key], settings.kept)
        _save(folder / "final.pt", {"key": run["key"], "step": step, "model": final})
    accelerator.wait_for_everyone()


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


def _resume(folder: Path, key: str, objective: nn.Module, optimizer, mean: AveragedModel | None) -> int:
    path = folder / "checkpoint.pt"
    if not path.is_file():
        return 0
    try:
        # To the CPU first, and to each parameter's device below: accelerate calls the CPUs of several processes cpu:0,
        # cpu:1, which torch.load does not know.
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror}); its permissions or the disk are at fault") from error
    except Exception as error:
        raise UserError(f"{path} is damaged ({error}); remove it to train from the start") from error
    parts = {"key", "step", "model", "optimizer"} | ({"mean"} if mean else set())
    if not isinstance(state, dict) or not parts <= state.keys():
        raise UserError(f"{path} is no checkpoint of a training; remove it to train from the start")
    if state["key"] != key:
        raise UserError(f"{path} belongs to another run; remove it to train from the start")
    missing, unexpected = objective.load_state_dict(state["model"], strict=False)
    frozen = {name for name, p in objective.named_parameters() if not p.requires_grad}
    if unexpected or set(missing) - frozen:
        raise UserError(
            f"{path} does not fit the model: missing {sorted(set(missing) - frozen)}, unexpected {unexpected}"
        )
    optimizer.load_state_dict(state["optimizer"])
    if mean:
        mean.load_state_dict(state["mean"], strict=False)
    return state["step"]


def _append_losses(folder: Path, lines: list[str], step: int) -> None:
    # A kill between a step and its checkpoint must not leave that step twice: keep only what the checkpoint covers.
    kept: Iterable[str] = (
        line for line in map(json.dumps, read_losses(folder)) if json.loads(line)["step"] < step - len(lines)
    )
    write_text(folder / "losses.jsonl", "\n".join([*kept, *lines]) + "\n")
    lines.clear()


def _note_time(folder: Path, seconds: float) -> None:
    path = folder / "seconds.json"
    write_text(path, json.dumps({"seconds": read_seconds(folder) + seconds}))
