"""How VGG-19's normalisation scales and the student encoder were made.

    python -m replication distil --content FOLDER --style FOLDER

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
from torch import Tensor, nn

from .data import Picture, spread
from .encoder import CONVOLUTIONS, STUDENT_CHANNELS, STUDENT_FILE, TAP_END, TAPS, Encoder, load_encoder
from .files import write_atomic
from .profiles import Training
from .train import train

SETTINGS = Training(
    steps=4000, batch=4, crop=128, load=192, learning_rate=1e-3, schedule="one-cycle", precision="bf16", checkpoint_every=250
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
def choose_channels(teacher: Encoder, images: list[Tensor], channels: tuple[int, ...], seed: int = 0) -> dict[int, Tensor]:
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
def refit(teacher: Encoder, images: list[Tensor], kept: dict[int, Tensor], ridge: float = 1e-3) -> tuple[Encoder, dict[int, Tensor]]:
    """A student whose convolutions are least-squares fits to the kept channels; and the standard deviations used."""
    targets = [_activations(teacher, image[None]) for image in images]
    targets = [{index: x[:, kept[index]] for index, x in t.items()} for t in targets]
    scales = {index: torch.cat([t[index].relu().flatten(2)[0] for t in targets], dim=1).std(dim=1).clamp_min(1e-6) for index in kept}
    student = Encoder(tuple(len(kept[index]) for index in (2, 9, 16, 29, 42)), name="student")
    inputs = [image[None] for image in images]
    for position, layer in enumerate(student.layers):
        if position in CONVOLUTIONS:
            size = layer.weight[0].numel() + 1
            gram = torch.zeros(size, size, dtype=torch.float64)
            moment = torch.zeros(size, layer.out_channels, dtype=torch.float64)
            for x, target in zip(inputs, targets, strict=True):
                patches = F.unfold(x, 3)[0].T
                pick = torch.randperm(len(patches), generator=torch.Generator().manual_seed(position))[:1500]
                rows = torch.cat([patches[pick], torch.ones(len(pick), 1)], dim=1).double()
                values = (target[position] / scales[position][:, None, None])[0].flatten(1).T[pick].double()
                gram += rows.T @ rows
                moment += rows.T @ values
            penalty = ridge * gram.diagonal().mean() * torch.eye(size, dtype=torch.float64)
            penalty[-1, -1] = 0
            solution = torch.linalg.solve(gram + penalty, moment)
            layer.weight.copy_(solution[:-1].T.reshape(layer.weight.shape))
            layer.bias.copy_(solution[-1])
        inputs = [layer(x) for x in inputs]
    return student, scales


class Distillation(nn.Module):
    """Objective of the fine-tuning: mean squared error to the scaled teacher channels, one term a tap."""

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


def distil(contents: list[Picture], styles: list[Picture], settings: Training = SETTINGS) -> None:
    """Make the student and write checkpoints/encoder-student.safetensors (fp16)."""
    torch.manual_seed(0)
    teacher = load_encoder("vgg19")
    images = [p.tensor(192) for p in spread(contents, 60) + spread(styles, 60)]
    kept = choose_channels(teacher, images, STUDENT_CHANNELS)
    student, scales = refit(teacher, images, kept)
    objective = Distillation(teacher, student, kept, scales)
    train("encoder-student", objective, contents, styles, settings)
    state = {key: value.detach().half().contiguous() for key, value in student.layers.state_dict().items()}
    write_atomic(STUDENT_FILE, lambda path: save_file(state, path))
