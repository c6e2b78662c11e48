"""How VGG-19's normalisation scales and the distilled encoders were made.

    python -m replication scales --content FOLDER
    python -m replication distil --encoder NAME --content FOLDER --style FOLDER

1. Scales: mean activation of every VGG-19 filter over the photographs (encoder.normalisation_scales).
2. Channels: in each convolution keep the teacher channels that pivoted QR on their activations picks first: the ones
   least explained by those already kept.
3. Refit: each student convolution is the ridge least-squares map from the student's own inputs (3x3 patches) to the
   kept teacher channels before ReLU, layer by layer. Random weights instead stall far from the teacher.
4. Fine-tune: mean squared error to the same channels at the five taps.

Every student channel is scaled to unit standard deviation over the data. Scaling to unit mean, as in the teacher,
would divide rare channels by almost nothing.
"""

import numpy as np
import scipy.linalg
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from .. import files
from ..data.assets import find
from ..data.images import Picture, spread
from ..nn.encoder import (
    CONVOLUTIONS,
    SCALES_FILE,
    STUDENTS,
    TAP_END,
    TAPS,
    Encoder,
    dequantised_vgg19,
    encoder_hash,
    load_encoder,
    normalisation_scales,
)
from ..nn.layers import fit_convolution
from ..profiles import Training
from ..provenance import provenance
from .loop import Objective, Run, train
from .ship import data_list, ship

# Of the encoder `half`. The shipped student had 4000 steps of batch 4, see its card.
SETTINGS = Training(
    steps=6000,
    batch=2,
    crop=128,
    load=256,
    learning_rate=1e-3,
    schedule="one-cycle",
    averaged=0.0,
    kept=0.0,
    precision="bf16",
    judge="own",
    checkpoint_every=250,
)
TAP_CONVOLUTION = {tap: end - 2 for tap, end in TAP_END.items()}  # the convolution behind each tap


def _activations(encoder: Encoder, image: Tensor) -> dict[int, Tensor]:
    """Output of every convolution before its ReLU, by index."""
    outputs, x = {}, image
    for index, layer in enumerate(encoder.layers):
        x = layer(x)
        if index in CONVOLUTIONS:
            outputs[index] = x
    return outputs


@torch.no_grad()
def choose_channels(
    teacher: Encoder, images: list[Tensor], channels: tuple[int, ...], seed: int = 0
) -> dict[int, Tensor]:
    """Indices of the kept teacher channels of every convolution, by pivoted QR on sampled activations after ReLU."""
    generator = torch.Generator().manual_seed(seed)
    samples: dict[int, list[Tensor]] = {}
    for image in images:
        for index, x in _activations(teacher, image[None]).items():
            flat = x.relu()[0].flatten(1)
            samples.setdefault(index, []).append(flat[:, torch.randperm(flat.shape[1], generator=generator)[:40]])
    kept = {}
    for index, parts in samples.items():
        matrix = torch.cat(parts, dim=1).T.double()
        matrix = (matrix - matrix.mean(0)) / (matrix.std(0) + 1e-9)
        _, _, order = scipy.linalg.qr(matrix.numpy(), mode="economic", pivoting=True)
        width = channels[_block(index)]
        kept[index] = torch.from_numpy(np.sort(order[:width]))
    return kept


def _block(index: int) -> int:
    return int(CONVOLUTIONS[index][5]) - 1


@torch.no_grad()
def refit(
    teacher: Encoder, images: list[Tensor], kept: dict[int, Tensor], ridge: float = 1e-3
) -> tuple[Encoder, dict[int, Tensor]]:
    """A student whose convolutions are least-squares fits to the kept channels; and the standard deviations used."""
    targets = [_activations(teacher, image[None]) for image in images]
    targets = [{index: x[:, kept[index]] for index, x in t.items()} for t in targets]
    scales = {
        index: torch.cat([t[index].relu().flatten(2)[0] for t in targets], dim=1).std(dim=1).clamp_min(1e-6)
        for index in kept
    }
    student = Encoder(tuple(len(kept[index]) for index in (2, 9, 16, 29, 42)), name="distilled")
    inputs = [image[None] for image in images]
    for position, layer in enumerate(student.layers):
        if position in CONVOLUTIONS:
            scaled = [target[position] / scales[position][:, None, None] for target in targets]
            fit_convolution(layer, inputs, scaled, seed=position, ridge=ridge)
        inputs = [layer(x) for x in inputs]
    return student, scales


class Distillation(Objective):
    """Objective of the fine-tuning: mean squared error to the scaled teacher channels, one term per tap."""

    def __init__(self, teacher: Encoder, student: Encoder, kept: dict[int, Tensor], scales: dict[int, Tensor]):
        super().__init__()
        self.teacher, self.student = teacher, student
        for index in CONVOLUTIONS:
            student.layers[index].requires_grad_(True)
        self.kept = {tap: kept[index] for tap, index in TAP_CONVOLUTION.items()}
        self.scale = {tap: scales[index][:, None, None] for tap, index in TAP_CONVOLUTION.items()}

    def forward(self, content: Tensor, style: Tensor, step: int) -> dict[str, Tensor]:
        image = torch.cat([content, style])
        with torch.no_grad():
            target = self.teacher(image)
        output = self.student(image)
        return {
            tap: F.mse_loss(output[tap].float(), target[tap][:, self.kept[tap]].float() / self.scale[tap])
            for tap in TAPS
        }


def measure_scales(photographs: list[Picture]) -> None:
    """Measure VGG-19's mean activations at 224 px and write checkpoints/vgg19-scales.safetensors with its card."""
    encoder = Encoder()
    encoder.layers.load_state_dict(dequantised_vgg19(), strict=False)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scales = normalisation_scales(encoder, [p.tensor(224)[None] for p in photographs])
    state = {str(index): scale.contiguous() for index, scale in scales.items()}
    files.write_atomic(SCALES_FILE, lambda path: save_file(state, path))
    write_scales_card(photographs)


def write_scales_card(photographs: list[Picture]) -> None:
    """The card of the scales: what they are, over which files."""
    facts = {
        "name": SCALES_FILE.stem,
        "sha256": files.sha256_file(SCALES_FILE),
        "data": data_list(photographs, []),
        "meaning": (
            "mean activation of every VGG-19 filter at 224 px, by index of the convolution; at least a tenth of its"
            " layer's median"
        ),
        "weights": find("vgg19-8bit").sha256,
        "licence": "MIT, as the project; measured on the files in `data`",
    }
    files.write_json(SCALES_FILE.with_suffix(".json"), {**facts, **provenance()})


def make_student(name: str, contents: list[Picture], styles: list[Picture], settings: Training = SETTINGS) -> None:
    """Make the distilled encoder called `name` and ship checkpoints/encoder-NAME.safetensors.xz with its card."""
    torch.manual_seed(0)
    teacher = load_encoder("vgg19")
    images = [p.tensor(192) for p in spread(contents, 60) + spread(styles, 60)]
    kept = choose_channels(teacher, images, STUDENTS[name])
    student, scales = refit(teacher, images, kept)
    run = Run(f"encoder-{name}", contents, styles, settings)
    folder = train(run, Distillation(teacher, student, kept, scales))
    facts = {
        "method": "distillation of VGG-19",
        "teacher_sha256": encoder_hash(teacher),
        "data": data_list(contents, styles),
    }
    ship(run.name, folder, student.layers.state_dict(), facts)
