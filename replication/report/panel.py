"""A live panel for JupyterLab: choose pictures, a method and a place, and see the result and where attention looks.

    from replication.report.panel import Panel
    Panel(Profile.load("cpu"))

Every change computes what it touches: another place only draws, another strength only transfers, another picture is
encoded. Where no kernel answers, in a report or an executed notebook, the panel shows its last picture.
"""

import base64
import html
import io
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import torch
from torch import Tensor

from .. import files, plots
from ..data.images import Picture, contents, png, read_image, styles
from ..errors import UserError
from ..evaluation import tables
from ..evaluation.health import read_health, weak_rows
from ..experiments.attention import operation
from ..methods import TITLES
from ..methods.base import Encoded
from ..nn.attention import AttentionRecord
from ..papers.rows import method_rows
from ..profiles import Profile
from ..stylise.file import has_alpha, options_for
from ..weights.shipped import pretrained

SIZES = (128, 192, 256, 384, 512)
ALL_HEADS = "all, averaged"
# How many encoded pictures and results are kept: a few of each size.
KEPT = 32


@dataclass(frozen=True)
class Choice:
    """What is to be seen.

    photograph, painting  files of pictures
    size                  side of the square that both are cut to, in pixels
    alpha                 strength of the style; None where the method has none
    """

    photograph: Path
    painting: Path
    method: str
    size: int
    alpha: float | None


@lru_cache(KEPT)
def _image(path: Path, size: int) -> Tensor:
    return read_image(path, size, True)


@lru_cache(KEPT)
def _code(method: str, encoder: str, path: Path, size: int, style: bool) -> Encoded:
    model = pretrained(method, encoder=encoder)
    return (model.encode_style if style else model.encode_content)(_image(path, size)[None])


@lru_cache(KEPT)
def result_of(choice: Choice, encoder: str) -> Tensor:
    """The stylised photograph (3, size, size). Raises UserError as the method does."""
    model = pretrained(choice.method, encoder=encoder)
    with torch.inference_mode():
        return model.decode(model.transfer(*_codes(choice, encoder), **options_for(model, choice.alpha)))[0]


@lru_cache(KEPT)
def records_of(choice: Choice, encoder: str) -> dict[str, list[AttentionRecord]]:
    """Attention of the method on the pair by operation, one record per head; none for a method without attention."""
    found: dict[str, list[AttentionRecord]] = {}
    with torch.inference_mode():
        for record in pretrained(choice.method, encoder=encoder).attention(*_codes(choice, encoder)):
            if not record.within:
                found.setdefault(operation(record), []).append(record)
    return found


def _codes(choice: Choice, encoder: str) -> tuple[Encoded, Encoded]:
    with torch.inference_mode():
        return (
            _code(choice.method, encoder, choice.photograph, choice.size, False),
            _code(choice.method, encoder, choice.painting, choice.size, True),
        )


class Panel(widgets.VBox):
    """The panel; its controls are attributes, so that code can set them as a hand does.

    profile     its encoder and its health are those of the networks; `cpu` has the small, quick ones
    methods     keys of METHODS to choose from; all with weights at this width when none is given
    """

    def __init__(self, profile: Profile, methods: Sequence[str] = ()):
        self.encoder = profile.encoder
        rows = [row for row in method_rows(profile.encoder) if not methods or row.method in methods]
        if not rows:
            raise UserError(f"none of {', '.join(methods)} has weights at {profile.encoder} width; name another method")
        self.weak = {row.method: weak_rows([row], self.encoder, _health(profile)).get(row.name, "") for row in rows}
        self._uploads = tempfile.TemporaryDirectory(prefix="panel-")
        names = plots.mark_weak(
            [TITLES[row.method] for row in rows], [TITLES[m] for m, why in self.weak.items() if why]
        )
        wide = {"description_width": "6em"}
        self.photograph = widgets.Dropdown(options=_options(contents(40)), description="photograph", style=wide)
        self.painting = widgets.Dropdown(options=_options(styles(40)), description="painting", style=wide)
        self.own_photograph = widgets.FileUpload(accept="image/*", description="own photograph")
        self.own_painting = widgets.FileUpload(accept="image/*", description="own painting")
        methods_by_name = dict(zip(names, (row.method for row in rows), strict=True))
        self.method = widgets.Dropdown(options=methods_by_name, description="method", style=wide)
        if "stya2k" in self.weak:
            self.method.value = "stya2k"
        sizes = sorted({*SIZES, profile.size})
        self.size = widgets.Dropdown(options=sizes, value=profile.size, description="size, px", style=wide)
        self.alpha = self._slider("strength α", 1.0, 1.0)
        self.layer = widgets.Dropdown(description="layer", style=wide)
        self.head = widgets.Dropdown(description="head", style=wide)
        self.across, self.down = self._slider("across", 0.45, 0.99), self._slider("down", 0.3, 0.99)
        # Side by side where the page is wide enough.
        self.result, self.map = (widgets.Image(format="png", layout=_at_most(width)) for width in ("15rem", "44rem"))
        self.said = widgets.HTML()
        self._filling = False
        for control in (self.photograph, self.painting, self.method, self.size, self.alpha):
            control.observe(lambda _: self.update(), "value")
        self.layer.observe(lambda _: self._fill_heads(), "value")
        for control in (self.head, self.across, self.down):
            control.observe(lambda _: self._draw_map(), "value")
        self.own_photograph.observe(lambda change: self._take(change["new"], self.photograph), "value")
        self.own_painting.observe(lambda change: self._take(change["new"], self.painting), "value")
        super().__init__(
            [
                widgets.HBox([self.photograph, self.own_photograph, self.painting, self.own_painting], layout=_wrap()),
                widgets.HBox([self.method, self.size, self.alpha], layout=_wrap()),
                widgets.HBox([self.layer, self.head, self.across, self.down], layout=_wrap()),
                self.said,
                widgets.HBox([self.result, self.map], layout=_wrap()),
            ]
        )
        self.update()

    def _slider(self, name: str, value: float, most: float) -> widgets.FloatSlider:
        return widgets.FloatSlider(
            value=value, min=0.0, max=most, step=0.01, description=name, continuous_update=False,
            style={"description_width": "6em"},
        )  # fmt: skip

    @property
    def choice(self) -> Choice:
        """What the controls say."""
        alpha = self.alpha.value if has_alpha(pretrained(self.method.value, encoder=self.encoder)) else None
        return Choice(self.photograph.value, self.painting.value, self.method.value, self.size.value, alpha)

    def update(self) -> None:
        """Stylise as the controls say, and offer the layers that the method attends at.

        A mistake is told in the panel; the last result stays.
        """
        if self._filling:
            return
        start, choice = time.perf_counter(), self.choice
        self.alpha.disabled = choice.alpha is None
        try:
            result = result_of(choice, self.encoder)
            operations = list(records_of(choice, self.encoder))
        except UserError as error:
            self._say(str(error))
            return
        self.result.value = png(result)
        self._fill(self.layer, operations)
        self._fill_heads()
        self._say(f"stylised in {time.perf_counter() - start:.2f} s")

    def _fill(self, control: widgets.Dropdown, options: Sequence[str]) -> None:
        """Offer options, and keep the one that is chosen where it is still among them."""
        self._filling, kept = True, control.value
        control.options = list(options)
        control.value = kept if kept in options else next(iter(options), None)
        self._filling = False

    def _fill_heads(self) -> None:
        if self._filling:
            return
        records = records_of(self.choice, self.encoder).get(self.layer.value, [])
        heads = [f"{record.head + 1}" for record in records] if len(records) > 1 else []
        self._fill(self.head, [ALL_HEADS, *heads] if heads else ["1"] if records else [])
        self._draw_map()

    def _draw_map(self) -> None:
        """The query, and what attention is before and after softmax (or arg-max); blank where there is none."""
        if self._filling:
            return
        choice = self.choice
        records = records_of(choice, self.encoder).get(self.layer.value, [])
        chosen = records if self.head.value == ALL_HEADS else [r for r in records if f"{r.head + 1}" == self.head.value]
        chosen = chosen or records
        columns = {"scores": (chosen, False), "attention": (chosen, True)} if chosen else {}
        images = _image(choice.photograph, choice.size), _image(choice.painting, choice.size)
        if columns:
            figure = plots.attention_panels(*images, columns, [(self.down.value, self.across.value)])
        else:
            figure = plots.image_grid([list(images)], ["photograph", "painting; no attention over it"], side=2.2)
        self.map.value = _png(figure)

    def _take(self, uploaded: Sequence[Mapping[str, Any]], control: widgets.Dropdown) -> None:
        """An uploaded picture becomes one of the choices, and the choice."""
        for file in uploaded:
            path = Path(self._uploads.name) / f"{len(control.options)}{Path(file['name']).suffix}"
            path.write_bytes(bytes(file["content"]))
            try:
                read_image(path, SIZES[0], True)
            except UserError as error:
                self._say(str(error).replace(str(path), file["name"]))
                return
            control.options = [*control.options, (files.printable(Path(file["name"]).stem), path)]
            control.value = path

    def _say(self, text: str) -> None:
        """A line below the controls, and why the method's weights are not good enough where they are not."""
        weak = self.weak[self.method.value]
        reason = f"† {tables.WEAK} to say anything about the method: {weak}" if weak else ""
        self.said.value = "<br>".join(html.escape(part) for part in (text, reason) if part)

    def _repr_mimebundle_(self, **options: Any) -> Any:
        """The widget, and the last map as a picture for pages without a kernel."""
        bundle = super()._repr_mimebundle_(**options)
        if isinstance(bundle, dict) and self.map.value:
            bundle["image/png"] = base64.b64encode(self.map.value).decode()
        return bundle


def _at_most(width: str) -> widgets.Layout:
    """For a picture: its own size, or what the page has."""
    return widgets.Layout(max_width=f"min({width}, 100%)", object_fit="contain")


def _wrap() -> widgets.Layout:
    return widgets.Layout(flex_flow="row wrap", align_items="center")


def _options(pictures: Sequence[Picture]) -> list[tuple[str, Path]]:
    return [(picture.caption[:60] or picture.name, picture.path) for picture in pictures]


def _health(profile: Profile) -> dict[str, str]:
    """Why networks are not good enough: as measured here, else as in the committed reference."""
    return read_health(files.RESULTS / profile.name) or read_health(files.reference_results("cpu"))


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    plots.close(figure)
    return buffer.getvalue()
