"""Small measurements that single claims need and no table of the papers prints.

Each function returns cells, one line per cell; `record` writes them with their means, where `ledger` finds them.
"""

from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from ..data.images import Picture, contents, styles
from ..data.map_pairs import own_jobs, scene_job
from ..evaluation import tables
from ..evaluation.grid import Stylist
from ..evaluation.operations import count_macs, product_macs
from ..methods import build
from ..methods.base import parameter_count
from ..methods.dagstyle import REDUCTIONS, DAConv, DAGStyle, allocation_facts
from ..methods.mixing import stylise_with_several
from ..methods.scsa import SCSA, Regions, continuous, sparse
from ..methods.stya2k import StyA2K, complexity_of_a2k
from ..metrics.image import Target, encode, psnr, style_loss
from ..nn.attention import attend, grid
from ..nn.encoder import Encoder, Image
from ..nn.layers import pad_to_multiple
from ..papers.rows import TABLES, Row, shipped_rows
from ..profiles import Profile
from ..weights.shipped import pretrained, trained_or_fresh

WEIGHTS = (0.0, 0.5, 1.0)
# (paper, table): rows and metrics.
TABLES_OF_CLAIMS = {
    ("StyA2K", "Figure 8"): (tuple(f"weight {weight:g}" for weight in WEIGHTS), ("style_loss_to_a",)),
    ("DatNet", "Identity"): (("dual attention", "full network"), ("psnr",)),
    ("DAG-Style", "Allocation"): (("DAConv",), ("correlation",)),
    ("SCSA", "Regions"): (("universal attention", "SCA", "SSA"), ("crossing", "variance")),
}
# (row, metric): what it is, of exact numbers.
COUNTED = {
    ("A2K", "macs"): "StyA2K's eq. 15 as printed, relu4_1 of 512 px, 8 blocks a side",
    ("A2K, every product", "macs"): "the same with the products that eq. 15 leaves out",
    ("all-to-all", "macs"): "2 (HW)^2 C at the same place",
    ("relu4_1", "side"): "sqrt(HW) there",
    ("A2K", "slope"): "growth of every product with the number of positions, exponent, blocks chosen best: b^4 = HW",
    ("all-to-all", "slope"): "growth of all-to-all products with the number of positions, exponent",
    ("PA", "constancy"): "share of blocks whose queries all see one region",
    ("decoder in", "channels"): "StyA2K's decoder",
    ("decoder out", "channels"): "StyA2K's decoder",
    ("DatNet 256", "attention_macs"): "products of DatNet's attention at 256 px",
    ("DatNet 512", "attention_macs"): "products of DatNet's attention at 512 px",
    ("ECA", "params"): "parameters of all channel attention",
    ("DatNet", "params"): "trained parameters at VGG-19 width",
    ("DatNet", "macs"): "multiply-adds of a stylisation at 512 px",
    ("DatNet, two blocks", "macs"): "the same without the products at relu3_1",
    ("GDPAttention", "scales"): "sizes of the painting that one layer attends to",
    ("SCSA", "new_params"): "parameters of SCSA besides the host's",
    ("SANet", "macs"): "multiply-adds on a pair with maps",
    ("SANet+SCSA", "macs"): "multiply-adds on a pair with maps",
}


def record(paper: str, table: str, cells: pd.DataFrame, profile: Profile) -> pd.DataFrame:
    """Means with 95 % intervals, a line per row and metric.

    Written with the cells to results/<profile>/<paper>-<table>.csv.
    """
    frame = tables.means(cells, *TABLES_OF_CLAIMS[paper, table])
    tables.write_results(frame, tables.slug(paper, table), profile, cells, paper=paper, table=table, size=profile.size)
    return frame


@torch.inference_mode()
def interpolation(profile: Profile, pairs: int = 4) -> pd.DataFrame:
    """StyA2K between two paintings: style loss to A of mixtures with weights 0, 0.5 and 1 of A."""
    model = pretrained("stya2k", encoder=profile.encoder)
    paintings = styles(profile.styles)[: pairs + 1]
    targets = {painting.name: Target(painting.tensor(profile.size)[None]) for painting in paintings}
    lines = []
    for photograph in contents(min(pairs, profile.contents)):
        content = photograph.tensor(profile.size)[None]
        for a, b in zip(paintings, paintings[1:], strict=False):
            for weight in WEIGHTS:
                result = stylise_with_several(
                    model, content, [targets[a.name].image, targets[b.name].image], [weight, 1 - weight]
                )
                loss = style_loss(encode(result.clamp(0, 1)), targets[a.name].statistics).item()
                lines.append(
                    {
                        "row": f"weight {weight:g}",
                        "seed": 0,
                        "content": photograph.name,
                        "style": a.name,
                        "style_loss_to_a": loss,
                    }
                )
    return pd.DataFrame(lines)


@torch.inference_mode()
def identity(profile: Profile) -> pd.DataFrame:
    """PSNR of DatNet's arms when the photograph is given as both inputs, against the photograph."""
    named = TABLES_OF_CLAIMS["DatNet", "Identity"][0]
    lines = []
    for row in shipped_rows([row for row in TABLES["DatNet", "Table 3"].rows if row.name in named], profile.encoder):
        for photograph in contents(profile.contents):
            image = photograph.tensor(profile.size)[None]
            result = _alone(row, photograph, image, profile.encoder)
            lines.append(
                {
                    "row": row.name,
                    "seed": row.seed,
                    "pair": photograph.name,
                    "psnr": psnr(result.clamp(0, 1), image).item(),
                }
            )
    return pd.DataFrame(lines)


def _alone(row: Row, photograph: Picture, image: Image, encoder: str) -> Image:
    return Stylist(row, encoder).stylise((photograph, image), (photograph, image))


@torch.inference_mode()
def first_allocation(model: DAGStyle, image: Image) -> Float[Tensor, "1 4 c h w"]:
    """Shares of the kernel sizes in the first DAConv of the second stage, for every channel and pixel."""
    stage = model.extractor.stages[1]
    before = stage[:2](model.encode_content(image).features["x1"])
    return next(layer for layer in stage if isinstance(layer, DAConv)).allocation(before)


def allocation(profile: Profile) -> pd.DataFrame:
    """Whether DAConv takes larger kernels away from edges: rank correlation on every photograph."""
    model = pretrained("dagstyle", encoder=profile.encoder)
    lines = []
    for photograph in contents(profile.contents):
        image = photograph.tensor(profile.size)[None]
        facts = allocation_facts(first_allocation(model, image), pad_to_multiple(image, 64))
        lines.append(
            {"row": "DAConv", "pair": photograph.name, "correlation": facts["correlation with distance to edges"]}
        )
    return pd.DataFrame(lines)


def region_facts(
    see: Callable[[Float[Tensor, "1 m _"]], Float[Tensor, "1 n _"]],
    values: Float[Tensor, "1 m c"],
    own: Int[Tensor, " n"],
    theirs: Int[Tensor, " m"],
) -> dict[str, float]:
    """What attention does to classes, over the queries whose class the style has.

    see           attention from n queries to m positions, as a function of what lies there
    own, theirs   classes of the queries and of the positions

    crossing  share of attention on other classes than the query's
    variance  of the attended values inside a class, mean over channels and classes
    """
    shared = torch.isin(own, theirs)
    right = see(F.one_hot(theirs, int(max(own.max(), theirs.max())) + 1).to(values)[None])[0].gather(1, own[:, None])[
        :, 0
    ]
    attended = see(values)[0]
    spread = [attended[own == label].var(dim=0, correction=0).mean().item() for label in own[shared].unique()]
    return {"crossing": 1 - right[shared].mean().item(), "variance": float(np.mean(spread))}


@torch.inference_mode()
def regions(profile: Profile) -> pd.DataFrame:
    """SANet's attention at relu4_1 beside SCSA's two, on our pairs with maps: `region_facts`."""
    host = pretrained("sanet", encoder=profile.encoder)
    block, lines = host.transformer.sanet4_1, []
    for number, job in enumerate(own_jobs(profile.size, profile.contents)):
        side = (profile.size, profile.size)
        images = job.content, job.style, *(m.picture(side) for m in job.maps)
        c, s, cm, sm = (host.encode_content(image).features["relu4_1"] for image in images)
        labels = [m.labels(tuple(x.shape[2:])) for m, x in zip(job.maps, (c, s), strict=True)]
        (q, k, v), (q1, k1, _), inside = block.project(c, s), block.project(cm, sm), Regions(*labels)
        for row, see in {
            "universal attention": lambda values, q=q, k=k: attend(q, k, values),
            "SCA": lambda values, q=q1, k=k1, inside=inside: continuous(q, k, values, inside),
            "SSA": lambda values, q=q, k=k, inside=inside: sparse(q, k, values, inside, keep=1),
        }.items():
            lines.append(
                {
                    "row": row,
                    "pair": number // 2,
                    "job": job.name,
                    **region_facts(see, v, *(x.flatten() for x in labels)),
                }
            )
    return pd.DataFrame(lines)


def _slope(counts: Iterable[float], positions: Iterable[int]) -> float:
    return float(np.polyfit(np.log(list(positions)), np.log(list(counts)), 1)[0])


@torch.inference_mode()
def constancy(model: StyA2K, content: Image, style: Image) -> float:
    """Share of progressive attention's blocks, over layers and heads, whose queries all see one region of the style."""
    same = []
    for record in model.attention(model.encode_content(content), model.encode_style(style)):
        if record.step == "PA 2":
            sides = model.variant.sides(record.layer, record.content)
            blocks = F.unfold(grid(record.query_group[None, :, None].float(), record.content), sides, stride=sides)[0]
            same.append((blocks == blocks[:1]).all(dim=0).float().mean().item())
    return float(np.mean(same))


def counts(profile: Profile) -> pd.DataFrame:
    """Exact numbers that claims are about, counted on the code itself; written to results/<profile>/counts.csv."""
    wide = Encoder()
    datnet, stya2k = build("datnet", wide), build("stya2k", wide)
    at_512 = complexity_of_a2k(512, 4, 512, 8)
    sizes = (256, 512, 1024, 2048)
    best = [complexity_of_a2k(size, 4, 512, round((size // 8) ** 0.5)) for size in sizes]
    positions = [facts["positions"] for facts in best]
    products = {size: product_macs(datnet, (size, size), (size, size)) for size in (256, 512)}
    shallow = (512 // 4) ** 4 * (sum(wide.channels[:3]) + 2 * wide.channels[2])
    datnet_macs = count_macs(datnet.to("meta"), *(torch.empty(1, 3, 512, 512, device="meta") for _ in range(2)))
    decoder = [layer for layer in stya2k.decoder.modules() if isinstance(layer, torch.nn.Conv2d)]
    # What is counted is the same for any weights, so a width at which nothing is trained has counts too.
    host, job = trained_or_fresh("sanet", encoder=profile.encoder), scene_job(0, profile.size)
    semantic = SCSA(host)
    found = {
        ("A2K", "macs"): at_512["eq_15"],
        ("A2K, every product", "macs"): at_512["all_steps"],
        ("all-to-all", "macs"): at_512["all_to_all"],
        ("relu4_1", "side"): at_512["positions"] ** 0.5,
        ("A2K", "slope"): _slope((facts["all_steps"] for facts in best), positions),
        ("all-to-all", "slope"): _slope((facts["all_to_all"] for facts in best), positions),
        ("PA", "constancy"): constancy(trained_or_fresh("stya2k", encoder=profile.encoder), job.content, job.style),
        ("decoder in", "channels"): decoder[0].in_channels,
        ("decoder out", "channels"): decoder[-1].out_channels,
        **{(f"DatNet {size}", "attention_macs"): count for size, count in products.items()},
        ("ECA", "params"): parameter_count(datnet.eca),
        ("DatNet", "params"): parameter_count(datnet),
        ("DatNet", "macs"): datnet_macs,
        ("DatNet, two blocks", "macs"): datnet_macs - shallow,
        ("GDPAttention", "scales"): len(REDUCTIONS),
        ("SCSA", "new_params"): sum(
            parameter_count(part)
            for part in vars(semantic).values()
            if isinstance(part, torch.nn.Module) and part is not host
        ),
        ("SANet", "macs"): count_macs(host, job.content, job.style),
        ("SANet+SCSA", "macs"): count_macs(
            lambda content, style: semantic(content, style, job.maps), job.content, job.style
        ),
    }
    frame = pd.DataFrame(
        [
            {"row": row, "metric": metric, "value": float(value), "what": COUNTED[row, metric]}
            for (row, metric), value in found.items()
        ]
    )
    tables.write_results(frame, "counts", profile)
    return frame
