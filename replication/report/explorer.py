"""The attention explorer: one HTML file. For any point of a photograph it shows where each method looks on a painting.

    python -m replication explore --content photo.jpg --style painting.jpg --methods sanet adaattn --out page.html

The page opens from disk, without server or network. It holds queries and keys, not maps: a row of a map is computed in
the page when a point is chosen, and so is a column, for which every query's log-sum-exp is stored.

Queries and keys are whole numbers with one factor per token. They have one byte each, or two as far as LIMIT allows:
what one byte would distort most gets two first. `packing_error` says what that costs, and the page prints it.
"""

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from importlib import resources
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import spearmanr
from torch import Tensor

from .. import files
from ..data.images import data_uri, read_image
from ..errors import UserError
from ..methods import TITLES, method_name
from ..methods.base import Method
from ..nn.attention import AttentionRecord
from ..weights.choice import chosen_network
from ..weights.wanted import Choice

# Bytes that a page may have.
LIMIT = 15_000_000
# Narrower ones than the tables stand on: a page holds queries and keys of every position, twice as heavy at half width.
NETWORKS = Choice(encoder="student")


@dataclass(frozen=True)
class Quantised:
    """Tokens as whole numbers: token i is numbers[i] * factors[i]."""

    numbers: np.ndarray
    factors: np.ndarray

    @classmethod
    def of(cls, tokens: Float[Tensor, "tokens channels"], kind: type) -> "Quantised":
        """Each token is scaled to the full range of the integer type."""
        values = tokens.detach().cpu().double().numpy()
        factors = (np.abs(values).max(axis=1) / np.iinfo(kind).max).astype(np.float32)
        safe = np.where(factors > 0, factors, 1).astype(np.float64)
        return cls(np.rint(values / safe[:, None]).astype(kind), factors)

    def tokens(self) -> Float[Tensor, "tokens channels"]:
        """What the page computes with."""
        return torch.from_numpy(self.numbers.astype(np.float32) * self.factors[:, None])


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def _lists(array: Tensor | None) -> str | None:
    return None if array is None else _base64(array.cpu().numpy().astype(np.int32))


def pack(record: AttentionRecord, kind: type) -> dict[str, Any]:
    """A record as the page reads it; arrays are base64 of little-endian numbers."""
    queries, keys = (Quantised.of(tokens, kind) for tokens in (record.queries, record.keys))
    rough = seen_by_the_page(record, kind)
    sums = torch.cat(
        [rough.scores(slice(start, start + 256)).logsumexp(dim=1) for start in range(0, len(rough.queries), 256)]
    )
    return {
        "layer": record.layer,
        "step": record.step,
        "head": record.head,
        "content": list(record.content),
        "style": list(record.style),
        "scale": record.scale,
        "channels": record.keys.shape[1],
        "bytes": np.dtype(kind).itemsize,
        "queries": _base64(queries.numbers),
        "queryFactors": _base64(queries.factors),
        "keys": _base64(keys.numbers),
        "keyFactors": _base64(keys.factors),
        "sums": _base64(sums.nan_to_num(neginf=0.0).float().numpy()),
        "indices": _lists(record.indices),
        "queryGroup": _lists(record.query_group),
        "keyGroup": _lists(record.key_group),
        "matches": _lists(record.matches),
        "regions": _lists(record.regions),
    }


def seen_by_the_page(record: AttentionRecord, kind: type) -> AttentionRecord:
    """The record with quantised queries and keys."""
    queries, keys = (Quantised.of(tokens, kind).tokens() for tokens in (record.queries, record.keys))
    return replace(record, queries=queries, keys=keys)


def packing_error(record: AttentionRecord, kind: type, points: int = 64) -> dict[str, float]:
    """What quantisation changes in rows of `points` evenly spread queries: the largest total variation distance (0 to
    1), and the smallest rank correlation of the logits.
    """
    rough, distance, correlation = seen_by_the_page(record, kind), 0.0, 1.0
    for query in torch.linspace(0, len(record.queries) - 1, min(points, len(record.queries))).long().tolist():
        exact, page = (r.weights(slice(query, query + 1))[0].double() for r in (record, rough))
        distance = max(distance, 0.5 * (exact - page).abs().sum().item())
        scores = [r.scores(slice(query, query + 1))[0] for r in (record, rough)]
        finite = torch.isfinite(scores[0])
        if finite.sum() > 2 and scores[0][finite].std() > 0:
            correlation = min(correlation, float(spearmanr(*(s[finite].numpy() for s in scores)).statistic))
    return {"distance": distance, "correlation": correlation}


@torch.inference_mode()
def page(
    content: Float[Tensor, "3 h w"],
    style: Float[Tensor, "3 _ _"],
    models: dict[str, Method],
    title: str = "Attention explorer",
) -> str:
    """The page as text, for a photograph, a painting and methods by title.

    Raises UserError when a method has no attention, or when the page would pass LIMIT even with one byte per number.
    """
    encoded, found = {}, {}
    for name, model in models.items():
        encoded[name] = model.encode_content(content[None]), model.encode_style(style[None])
        found[name] = [_on_cpu(record) for record in model.attention(*encoded[name]) if not record.within]
        if not found[name]:
            raise UserError(f"{name} has no attention over positions of the painting; leave it out")
    # Base64 of one byte per number, which the page holds in any case: known before anything is transferred or packed.
    numbers = sum(record.queries.numel() + record.keys.numel() for records in found.values() for record in records)
    _check_limit(4 * numbers // 3)
    recorded: dict[str, tuple[Tensor, list[AttentionRecord]]] = {
        name: (model.decode(model.transfer(*encoded[name]))[0], found[name]) for name, model in models.items()
    }
    every = [record for _, records in recorded.values() for record in records]
    template = resources.files(__package__).joinpath("explorer.html").read_text(encoding="utf-8")
    pictures = {"title": title, "photograph": data_uri(content), "painting": data_uri(style)}
    results = {name: data_uri(result) for name, (result, _) in recorded.items()}

    def text(kinds: Sequence[type], errors: Sequence[dict[str, float]]) -> str:
        packed = map(pack, every, kinds)
        shown = [
            {
                **{"name": name, "encoder": models[name].encoder.name, "result": results[name]},
                "records": list(islice(packed, len(records))),
            }
            for name, (_, records) in recorded.items()
        ]
        facts = {
            **pictures,
            "methods": shown,
            "wide": sum(kind is np.int16 for kind in kinds),
            "all": len(every),
            "distance": max(e["distance"] for e in errors),
            "correlation": min(e["correlation"] for e in errors),
        }
        return template.replace("/*DATA*/null", files.json_in_page(facts)).replace("<!--TITLE-->", html.escape(title))

    kinds: list[type] = [np.int8] * len(every)
    errors = [packing_error(record, np.int8) for record in every]
    smallest = text(kinds, errors)
    room = LIMIT - len(smallest.encode())
    _check_limit(LIMIT - room)
    for number in sorted(range(len(every)), key=lambda n: min(errors[n]["correlation"], 1 - errors[n]["distance"])):
        more = (
            4 * (every[number].queries.numel() + every[number].keys.numel()) // 3 + 16
        )  # base64; and the facts may take more digits
        if more <= room:
            kinds[number], errors[number] = np.int16, packing_error(every[number], np.int16)
            room -= more
    return text(kinds, errors)


def _on_cpu(record: AttentionRecord) -> AttentionRecord:
    values = {part.name: getattr(record, part.name) for part in fields(record)}
    return replace(record, **{name: value.cpu() for name, value in values.items() if isinstance(value, Tensor)})


def _check_limit(size: int) -> None:
    if size > LIMIT:
        raise UserError(
            f"the page would have {size / 1e6:.0f} MB (limit {LIMIT / 1e6:.0f} MB); take a smaller --size or fewer"
            " --methods"
        )


def explore_files(
    content: Path, style: Path, methods: Sequence[str], out: Path, size: int, choice: Choice = NETWORKS
) -> Path:
    """Read two image files and write the page. Raises UserError for every mistake a user can make, before computing."""
    if out.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"cannot write {out}: give it the ending .html")
    if size < 64:
        raise UserError(f"size must be at least 64 px, got {size}")
    files.check_target(out, (content, style))
    models = {TITLES[name]: chosen_network(name, choice) for name in map(method_name, methods)}
    images = [read_image(path, size, True).to(choice.device) for path in (content, style)]
    return files.write_text(
        out, page(*images, models, f"{files.printable(content.stem)} and {files.printable(style.stem)}")
    )


def widget(text: str, height: int = 720):
    """The page inside a notebook: an isolated frame with the same file in it."""
    from IPython.display import HTML

    return HTML(
        f'<div><iframe srcdoc="{html.escape(text, quote=True)}" style="width: 100%; height: {height}px; border: 1px'
        ' solid #8888" title="Attention explorer"></iframe></div>'
    )
