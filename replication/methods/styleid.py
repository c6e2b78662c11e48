"""StyleID: Chung et al., "Style Injection in Diffusion: A Training-free Approach for Adapting Large-scale Diffusion
Models for Style Transfer", CVPR 2024, arXiv 2312.09008. And SCSA inside it.

A latent diffusion model, unchanged. Content and style are inverted to noise with DDIM. While a new latent is denoised,
self-attention of the upper layers takes its keys and values from the style's inversion, and part of its queries from
the content's.

    DDIM       x_to = sqrt(a_to) x0 + sqrt(1 - a_to) eps,
               x0 = (x - sqrt(1 - a_at) eps) / sqrt(a_at),  eps = UNet(x, at)
    start      z = (z_c - mean z_c) / std z_c * std z_s + mean z_s,  over the latents at the noisiest level
    injection  Q~ = gamma Q_c + (1 - gamma) Q,   softmax(T Q~ K_s^T / sqrt(d)) V_s

Notation: a_t is the cumulative product of 1 - beta at t; Q_c, K_s, V_s were recorded at the same t and layer; T > 1
sharpens what mixing queries blurs. Steps: 50, at t = 1, 21, .., 981 (jiwoogit/StyleID is the code); the noisiest
sampling step is left out.

Two truths
  consistent   sampling starts from the latent that has the noise level of its first step. The default.
  published    it starts from the latent after the last inversion step (`faithful_start`), which is noisier than its
               first step assumes.

SCSA here (scn-00/SCSA): gamma is not used, and the maps are inverted like images. With x a layer's input before its
normalisation LN,

    SCA  q = a_1 Q_csem + (1 - a_1) W_q LN(x~_c),  k = a_1 K_ssem + (1 - a_1) W_k LN(x_s),  v = V_s
    SSA  q = a_2 W_q LN(x~_c) + (1 - a_2) W_q IN(x),  k = K_s,  v = V_s

where x~_c = S-AdaIN(x_c; x_s) and IN normalises over tokens. Both are masked by class, their logits are multiplied by
T, and alpha_1 SCA + alpha_2 SSA is added to x. The start is S-AdaIN of the latents. The blog restricts S-AdaIN to the
start; the code has it in every layer: `adain_in_layers`.

Works over the interface of diffusers' UNet2DConditionModel (`pip install replication-workbook[diffusion]`). Stable
Diffusion's weights are the user's: `stable_diffusion(FOLDER)`.

Public code, read for facts: jiwoogit/StyleID@35436fc:run_styleid.py, ldm/modules/attention.py; scn-00/SCSA.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ..data.images import check_values
from ..data.maps import SemanticMap, check_aspect
from ..errors import UserError
from ..nn.attention import Tokens, attend, grid, tokens
from ..nn.encoder import AnyImage, Image, check_image
from .base import crop_to
from .scsa import Regions, continuous, s_adain, sparse

Latent = Float[Tensor, "1 channels height width"]
TRAINED_STEPS = 1000


@dataclass(frozen=True)
class Backbone:
    """A latent diffusion model.

    unet      with diffusers' call: unet(latent, t, encoder_hidden_states=context).sample is eps
    alphas    cumulative products of 1 - beta, (1000,)
    context   embedding of the empty prompt, (1, tokens, dims)
    encode, decode   images (1, 3, h, w) in [0, 1] to latents and back
    stride    sides of images must be a multiple of it
    """

    unet: nn.Module
    alphas: Float[Tensor, " steps"]
    context: Float[Tensor, "1 words dims"]
    encode: Callable[[Image], Latent]
    decode: Callable[[Latent], Image]
    stride: int = 8


@dataclass(frozen=True)
class Settings:
    """StyleID's parameters.

    steps         of inversion and of sampling
    skip          noisiest sampling steps left out
    gamma         share of the content's queries
    temperature   factor T on the logits
    initial_adain, injection   its two parts, for ablations
    faithful_start             see the module's text
    """

    steps: int = 50
    skip: int = 1
    gamma: float = 0.75
    temperature: float = 1.5
    initial_adain: bool = True
    injection: bool = True
    faithful_start: bool = False

    def times(self) -> list[int]:
        """Levels of noise that the UNet is asked at, from the least. Raises UserError when none is left to sample."""
        if not 1 <= self.steps < TRAINED_STEPS:
            raise UserError(f"StyleID takes from 1 to {TRAINED_STEPS - 1} steps, not {self.steps}")
        if not 0 <= self.skip < self.steps:
            raise UserError(
                f"of {self.steps} steps {self.skip} are skipped, which leaves none; take a skip from 0 to"
                f" {self.steps - 1}"
            )
        return list(range(1, TRAINED_STEPS, TRAINED_STEPS // self.steps))[: self.steps]


@dataclass(frozen=True)
class SemanticSettings:
    """SCSA's parameters inside StyleID; `temperature` replaces StyleID's."""

    sca: float = 0.8
    ssa: float = 0.2
    map_share: float = 0.3
    content_share: float = 0.5
    temperature: float = 1.2
    keys: int | None = 1
    masked: bool = True
    adain_in_layers: bool = True


@dataclass(frozen=True)
class Recorded:
    """What a self-attention layer saw: its input before normalisation, and queries, keys, values."""

    x: Tokens
    q: Tokens
    k: Tokens
    v: Tokens


@dataclass(frozen=True)
class Inversion:
    """Latents by level of noise (that of the clean one is 0), and what the layers saw by (level, layer)."""

    latents: dict[int, Latent]
    layers: dict[tuple[int, int], Recorded] = field(default_factory=dict)


# What a layer computes instead of self-attention, from (layer, block, x, q, k, v); None keeps it.
Rule = Callable[[int, nn.Module, Recorded], Tokens | None]


class _Processor:
    """A self-attention whose result `rule` may replace; x is the input of the block, before its normalisation."""

    def __init__(self, number: int, block: nn.Module, rule: Rule):
        self.number, self.block, self.rule, self.x = number, block, rule, None

    def remember(self, module: nn.Module, inputs: tuple, named: dict) -> None:
        """A hook on the block."""
        self.x = inputs[0] if inputs else named["hidden_states"]

    def __call__(self, attention: nn.Module, hidden_states: Tokens, *unused, **ignored) -> Tokens:
        q, k, v = (project(hidden_states) for project in (attention.to_q, attention.to_k, attention.to_v))
        found = self.rule(self.number, self.block, Recorded(self.x, q, k, v))
        return attention.to_out[0](attend(q, k, v, attention.scale, attention.heads)) if found is None else found


def layers_of(unet: nn.Module, count: int = 6) -> list[nn.Module]:
    """The transformer blocks of the last `count` self-attentions on the way up.

    6 are those at the two finest grids of Stable Diffusion 1.
    """
    found = [block for name, block in unet.named_modules() if name.startswith("up_blocks") and hasattr(block, "attn1")]
    if not found:
        raise UserError("this UNet has no self-attention on its way up; StyleID needs a UNet2DConditionModel")
    return found[-count:]


@contextmanager
def ruled(unet: nn.Module, rule: Rule, count: int = 6) -> Iterator[None]:
    """Inside, the last `count` self-attentions follow `rule`."""
    blocks = layers_of(unet, count)
    before, hooks = [block.attn1.processor for block in blocks], []
    for number, block in enumerate(blocks):
        processor = _Processor(number, block, rule)
        hooks.append(block.register_forward_pre_hook(processor.remember, with_kwargs=True))
        block.attn1.processor = processor
    try:
        yield
    finally:
        for block, processor, hook in zip(blocks, before, hooks, strict=True):
            block.attn1.processor = processor
            hook.remove()


def ddim(backbone: Backbone, latent: Latent, at: int, to: int) -> Latent:
    """One DDIM step without noise from a level to another; level 0 is the clean latent."""
    eps = backbone.unet(latent, at, encoder_hidden_states=backbone.context).sample
    here, there = (backbone.alphas[level].to(latent) if level else latent.new_tensor(1.0) for level in (at, to))
    clean = (latent - (1 - here).sqrt() * eps) / here.sqrt()
    return there.sqrt() * clean + (1 - there).sqrt() * eps


@torch.inference_mode()
def invert(backbone: Backbone, latent: Latent, settings: Settings) -> Inversion:
    """The latent with more and more noise, as the model itself explains it.

    What layers saw is kept in memory for every level.
    """
    times, found = settings.times(), Inversion({0: latent})
    now: list[int] = [0]

    def keep(number: int, block: nn.Module, seen: Recorded) -> None:
        found.layers[now[0], number] = seen

    latent_at = latent
    with ruled(backbone.unet, keep):
        for at, to in zip(times, [*times[1:], TRAINED_STEPS - 1], strict=True):
            now[0] = at
            found.latents[at] = latent_at
            latent_at = ddim(backbone, latent_at, at, to)
    found.latents[TRAINED_STEPS - 1] = latent_at
    return found


@torch.inference_mode()
def sample(backbone: Backbone, latent: Latent, times: Sequence[int], rule: Callable[[int], Rule]) -> Latent:
    """Denoise through levels, the noisiest last in `times`, with a rule for every level."""
    for at, to in zip(reversed(times), [*reversed(times[:-1]), 0], strict=True):
        with ruled(backbone.unet, rule(at)):
            latent = ddim(backbone, latent, at, to)
    return latent


def latent_adain(content: Latent, style: Latent) -> Latent:
    """The content's latent with the style's mean and deviation of every channel (unbiased, as the code)."""
    (c, mean_c), (s, mean_s) = ((torch.std_mean(x, dim=(2, 3), keepdim=True)) for x in (content, style))
    return (content - mean_c) / c * s + mean_s


def plain(at: int) -> Rule:
    """No injection at any level."""
    return lambda number, block, seen: None


def injected(content: Inversion, style: Inversion, settings: Settings) -> Callable[[int], Rule]:
    """StyleID's rule: the style's keys and values, part of the content's queries."""

    def at_level(at: int) -> Rule:
        def rule(number: int, block: nn.Module, seen: Recorded) -> Tokens:
            c, s = content.layers[at, number], style.layers[at, number]
            q = settings.gamma * c.q + (1 - settings.gamma) * seen.q
            attention = block.attn1
            return attention.to_out[0](attend(q, s.k, s.v, settings.temperature * attention.scale, attention.heads))

        return rule

    return at_level


def _layer_grid(x: Tokens, latent: tuple[int, int]) -> tuple[int, int]:
    """(height, width) of a layer's tokens: the latent's, halved and rounded up as often as the layer is deep."""
    size = latent
    while size[0] * size[1] > x.shape[1] and size != (1, 1):
        size = -(-size[0] // 2), -(-size[1] // 2)
    if size[0] * size[1] != x.shape[1]:
        raise UserError(
            f"{x.shape[1]} tokens are no halving of a latent of {latent[1]}x{latent[0]}; enlarge the images"
        )
    return size


def semantic(
    content: Inversion,
    style: Inversion,
    content_map: Inversion,
    style_map: Inversion,
    maps: tuple[SemanticMap, SemanticMap],
    settings: SemanticSettings,
) -> Callable[[int], Rule]:
    """SCSA's rule."""
    latent = tuple(content.latents[0].shape[2:])

    def at_level(at: int) -> Rule:
        def rule(number: int, block: nn.Module, seen: Recorded) -> Tokens:
            c, s, cm, sm = (inversion.layers[at, number] for inversion in (content, style, content_map, style_map))
            size, attention, norm = _layer_grid(c.x, latent), block.attn1, block.norm1
            labels = [m.labels(size).to(c.x.device) for m in maps]
            x_c = tokens(s_adain(grid(c.x, size), grid(s.x, size), *labels)) if settings.adain_in_layers else c.x
            regions = Regions(*labels, settings.masked)
            asked = attention.to_q(norm(x_c))
            share, options = (
                settings.map_share,
                {"scale": settings.temperature * attention.scale, "heads": attention.heads},
            )
            q, k = share * cm.q + (1 - share) * asked, share * sm.k + (1 - share) * attention.to_k(norm(s.x))
            spread = attention.to_out[0](continuous(q, k, s.v, regions, **options))
            own = (seen.x - seen.x.mean(dim=1, keepdim=True)) / (
                seen.x.var(dim=1, correction=0, keepdim=True) + 1e-5
            ).sqrt()
            q = settings.content_share * asked + (1 - settings.content_share) * attention.to_q(own)
            placed = attention.to_out[0](sparse(q, s.k, s.v, regions, settings.keys, **options))
            return settings.sca * spread + settings.ssa * placed

        return rule

    return at_level


class StyleID:
    """StyleID over a diffusion model, and with maps SCSA inside it.

    Raises UserError for batches, for images of different sizes, and for settings that leave no step.
    """

    def __init__(self, backbone: Backbone, settings: Settings | None = None, with_maps: SemanticSettings | None = None):
        self.backbone, self.settings, self.with_maps = backbone, settings or Settings(), with_maps or SemanticSettings()
        self.settings.times()  # refuses settings that leave no step, before anything is computed

    @torch.inference_mode()
    def __call__(self, content: Image, style: AnyImage, maps: tuple[SemanticMap, SemanticMap] | None = None) -> Image:
        """The stylised image, unclamped, of the content's size."""
        if content.shape != style.shape or content.shape[0] != 1:
            raise UserError(
                f"StyleID takes one pair of equal sizes, got {tuple(content.shape)} and {tuple(style.shape)}"
            )
        for image, name in ((content, "content"), (style, "style")):
            check_image(image)
            check_values(image, name)
        content, style = (image.to(next(self.backbone.unet.parameters(), image).dtype) for image in (content, style))
        size = tuple(content.shape[2:])
        for semantic_map, name in zip(maps or (), ("content", "style"), strict=False):
            check_aspect(semantic_map, size, name)
        content, style = (self._padded(image) for image in (content, style))
        if maps is not None and tuple(content.shape[2:]) != size:
            maps = tuple(replace(m, image=self._padded(m.picture(size))[0]) for m in maps)
        c, s = (invert(self.backbone, self.backbone.encode(image), self.settings) for image in (content, style))
        times = self.settings.times()
        times = times[: len(times) - self.settings.skip]
        level = TRAINED_STEPS - 1 if self.settings.faithful_start else times[-1]
        z_c, z_s = c.latents[level], s.latents[level]
        if maps is None:
            start = latent_adain(z_c, z_s) if self.settings.initial_adain else z_c
            rule = injected(c, s, self.settings) if self.settings.injection else plain
        else:
            pictures = (m.picture(tuple(content.shape[2:])).to(content) for m in maps)
            inverted = (invert(self.backbone, self.backbone.encode(image), self.settings) for image in pictures)
            labels = (m.labels(tuple(z_c.shape[2:])).to(z_c.device) for m in maps)
            start = s_adain(z_c, z_s, *labels) if self.settings.initial_adain else z_c
            rule = semantic(c, s, *inverted, maps, self.with_maps)
        return crop_to(self.backbone.decode(sample(self.backbone, start, times, rule)), size)

    def _padded(self, image: AnyImage) -> AnyImage:
        """The image with its last row and column repeated until the sides are multiples of the model's stride."""
        height, width = (-side % self.backbone.stride for side in image.shape[2:])
        return F.pad(image, (0, width, 0, height), mode="replicate") if height or width else image


def scaled_linear(first: float = 0.00085, last: float = 0.012) -> Float[Tensor, " steps"]:
    """Cumulative products of Stable Diffusion 1's noise schedule: betas whose square roots are evenly spaced."""
    betas = torch.linspace(first**0.5, last**0.5, TRAINED_STEPS, dtype=torch.float64).square()
    return (1 - betas).cumprod(dim=0)


def stable_diffusion(folder: str | Path, device: str = "cuda") -> Backbone:
    """Stable Diffusion 1.4, 1.5 or 2.1-base from a folder in diffusers' layout; nothing is downloaded.

    Raises UserError when diffusers or the folder's model is missing.
    """
    try:
        from diffusers import StableDiffusionPipeline
    except ImportError as error:
        raise UserError(
            f"StyleID on Stable Diffusion needs diffusers and transformers ({error}): pip install"
            " 'replication-workbook[diffusion]'"
        ) from error
    if not (Path(folder) / "model_index.json").is_file():
        raise UserError(
            f"{folder} is no model in diffusers' layout: model_index.json is missing; save one with"
            " pipeline.save_pretrained(FOLDER)"
        )
    pipe = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None, local_files_only=True).to(device)
    words = pipe.tokenizer(
        "", padding="max_length", max_length=pipe.tokenizer.model_max_length, return_tensors="pt"
    ).input_ids
    scale = pipe.vae.config.scaling_factor
    return Backbone(
        pipe.unet.eval().requires_grad_(False),
        pipe.scheduler.alphas_cumprod,
        pipe.text_encoder(words.to(device))[0].detach(),
        lambda image: pipe.vae.encode(2 * image.to(device) - 1).latent_dist.mean * scale,
        lambda latent: (pipe.vae.decode(latent / scale).sample + 1) / 2,
    )


def ablations(settings: Settings | None = None) -> dict[str, Settings]:
    """StyleID's own ablations and its two strengths."""
    full = settings or Settings()
    return {
        "Full model": full,
        "w/o initial AdaIN": replace(full, initial_adain=False),
        "w/o injection": replace(full, injection=False),
        "w/o temperature": replace(full, temperature=1.0),
        "γ = 0.3": replace(full, gamma=0.3),
    }
