"""How the LPIPS substitute was fitted: non-negative channel weights on VGG-19, against LPIPS with SqueezeNet.

    python -m replication fit-lpips --content FOLDER --style FOLDER --squeezenet FILE

The target is the published LPIPS-SqueezeNet distance, whose trunk (torchvision's squeezenet1_1 features) the user gives
as a file. Pairs are photographs with distorted copies of themselves and with results of the shipped AdaIN at random
strength. Half of the photographs are held out; the card reports the correlation on them.
"""

from pathlib import Path

import lpips
import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import nnls
from scipy.stats import pearsonr, spearmanr
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms
from tqdm import tqdm

from .. import files
from ..data.images import Picture, spread
from ..metrics.backbones import load_lpips
from ..metrics.image import SUBSTITUTE, channel_differences, directions, encode
from ..nn.encoder import TAPS, load_encoder, vgg19_hash
from ..nn.state import write_weights
from ..provenance import provenance
from ..weights.shipped import model_card, pretrained, run_name, weights_file
from .ship import data_list

SIZE = 256
PHOTOGRAPHS = 240


def distort(image: Tensor, rng: np.random.Generator) -> Tensor:
    """One random distortion at random strength: noise, blur, JPEG, colour, contrast, warp."""
    strength = rng.uniform(0.1, 1.0)
    kind = rng.integers(6)
    if kind == 0:
        return (image + 0.3 * strength * torch.from_numpy(rng.standard_normal(image.shape)).float()).clamp(0, 1)
    if kind == 1:
        return transforms.gaussian_blur(image, 21, [0.3 + 4 * strength])
    if kind == 2:
        return transforms.jpeg((image * 255).byte(), int(60 - 55 * strength)).float() / 255
    if kind == 3:
        shift = torch.from_numpy(rng.uniform(-0.5, 0.5, (3, 1, 1))).float() * strength
        return (image + shift).clamp(0, 1)
    if kind == 4:
        return ((image - 0.5) * (1 + rng.choice([-0.8, 2.0]) * strength) + 0.5).clamp(0, 1)
    coarse = torch.from_numpy(rng.standard_normal((1, 2, 8, 8))).float() * 0.12 * strength
    field = F.interpolate(coarse, image.shape[1:], mode="bicubic").permute(0, 2, 3, 1)
    grid = F.affine_grid(torch.eye(2, 3)[None], [1, 3, *image.shape[1:]], align_corners=False)
    return F.grid_sample(image[None], grid + field, padding_mode="reflection", align_corners=False)[0]


@torch.inference_mode()
def collect(contents: list[Picture], styles: list[Picture], target: lpips.LPIPS, seed: int) -> dict[str, np.ndarray]:
    """Channel differences (pairs, channels), target distances (pairs,), and which pairs are stylised.

    Four pairs per photograph.
    """
    rng = np.random.default_rng(seed)
    model = pretrained("adain", encoder="student")
    rows, distances, stylised = [], [], []
    for photograph in tqdm(contents, mininterval=5):
        image = photograph.tensor(SIZE)
        code, features = model.encode_content(image[None]), directions(encode(image[None]))
        for index in range(4):
            if index < 2:
                other = distort(image, rng)
            else:
                style = styles[rng.integers(len(styles))].tensor(SIZE)[None]
                other = model.decode(model.transfer(code, model.encode_style(style), alpha=float(rng.uniform(0, 1))))[
                    0
                ].clamp(0, 1)
            rows.append(channel_differences(directions(encode(other[None])), features)[0].double().numpy())
            distances.append(target(image[None] * 2 - 1, other[None] * 2 - 1).item())
            stylised.append(index >= 2)
    return {"rows": np.stack(rows), "distances": np.array(distances), "stylised": np.array(stylised)}


def fit_substitute(contents: list[Picture], styles: list[Picture], squeezenet: str | Path, ridge: float = 1e-2) -> None:
    """Fit on every second photograph and report on the others.

    Writes checkpoints/lpips-substitute.safetensors.xz and its card.
    """
    target, contents = load_lpips("squeezenet", Path(squeezenet)), spread(contents, PHOTOGRAPHS)
    train, test = collect(contents[::2], styles[::2], target, 0), collect(contents[1::2], styles[1::2], target, 1)
    scale = train["rows"].std(axis=0) + 1e-12
    matrix = np.vstack([train["rows"] / scale, ridge * np.sqrt(len(train["rows"])) * np.eye(len(scale))])
    solution, _ = nnls(matrix, np.concatenate([train["distances"], np.zeros(len(scale))]), maxiter=20 * len(scale))
    weights = torch.from_numpy(solution / scale).float()
    predicted = test["rows"] @ weights.double().numpy()
    agreement = {}
    for name, chosen in (("distorted", ~test["stylised"]), ("stylised", test["stylised"])):
        pair = predicted[chosen], test["distances"][chosen]
        agreement[name] = {
            "spearman": round(spearmanr(*pair).statistic, 4),
            "pearson": round(pearsonr(*pair).statistic, 4),
            "pairs": int(chosen.sum()),
        }
    path = write_weights(weights_file(SUBSTITUTE), {"weights": weights}, torch.float32)
    files.write_json(
        files.CHECKPOINTS / f"{SUBSTITUTE}.json",
        {
            "name": SUBSTITUTE,
            "sha256": files.sha256_file(path),
            "held_out_agreement": agreement,
            "size": SIZE,
            "ridge": ridge,
            "meaning": (
                f"non-negative weights of the {len(weights)} channels of {', '.join(TAPS)}; a substitute for LPIPS, not"
                " LPIPS"
            ),
            "non_zero": int((weights > 0).sum()),
            "target": "lpips 0.1 SqueezeNet",
            "squeezenet_sha256": files.sha256_file(squeezenet),
            "vgg19_sha256": vgg19_hash(),
            "stylised_with": model_card(run_name("adain", "code", "student", 0))["sha256"],
            "channels": list(load_encoder("vgg19").channels),
            "data": data_list(contents, styles),
            "licence": "MIT, as the project; fitted on the files in `data`",
            **provenance(),
        },
    )
    print(agreement)
