"""Files of random weights in the authors' layouts: their key names, written down from the authors' repositories."""

import torch
from safetensors.torch import save_file

from replication import build
from replication.nn.encoder import CONVOLUTIONS, Encoder
from replication.weights.published import LAYOUTS

LATER = {45: 512, 48: 512, 51: 512}


KINDS = ("weight", "bias")
MIRRORED = (1, 5, 8, 11, 14, 18, 21, 25, 28)


def named(*names, kinds=KINDS):
    return {f"{name}.{kind}" for name in names for kind in kinds}


DECODER = named(*MIRRORED)
SKIP_DECODER = named("decoder_layer_1.1", *(f"decoder_layer_2.{i}" for i in (1, 4, 7, 10, 14, 17, 21, 24)))
A2K = {"sim_alpha", "sim_beta"} | named("q", "k", "v", "q2", "k2", "v2", "fusion1", "fusion2")
MICRO = named(
    *(f"enc1.{i}.conv_layer" for i in (0, 2, 4, 6, 8)),
    *(f"enc{e}.conv{c}.conv_layer" for e in ("1.10", "2.0") for c in (1, 2)),
)
ATTENTION = ("in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias")
ENCODER_LAYER = {f"self_attn.{k}" for k in ATTENTION} | named("linear1", "linear2", "norm1", "norm2")
DECODER_LAYER = ENCODER_LAYER | {f"multihead_attn.{k}" for k in ATTENTION} | named("norm3")
FLOW = (
    {f"actnorm.{k}" for k in ("loc", "scale", "initialized")}
    | {f"invconv.{k}" for k in ("w_l", "w_s", "w_u", "w_p", "u_mask", "l_mask", "l_eye", "s_sign")}
    | named("coupling.net.0", "coupling.net.2", "coupling.net.4.conv")
    | {"coupling.net.4.scale"}
)
BLOCKS = {1: (0, 2), 2: (5, 9), 3: (12, 16), 4: (19, 22, 25, 29)}
# Published keys of every file, written down from the authors' repositories.
KEYS = {
    "adain": {"decoder": DECODER},
    "sanet": {
        "decoder": DECODER,
        "transformer": named("merge_conv", *(f"sanet{n}_1.{m}" for n in (4, 5) for m in ("f", "g", "h", "out_conv"))),
    },
    "manet": {
        "decoder": DECODER,
        "ma_module": named(*(f"{b}.{m}" for b in ("CA", "CSA", "SSA") for m in ("f", "g", "h", "out_conv"))),
    },
    "mccnet": {"decoder": DECODER, "mcc_module": named(*(f"MCCN.{m}" for m in ("f", "g", "h", "out_conv", "fc")))},
    "adaattn": {
        "decoder": SKIP_DECODER,
        "adaattn_3": named("f", "g", "h"),
        "transformer": named("merge_conv", *(f"attn_adain_{n}_1.{m}" for n in (4, 5) for m in "fgh")),
    },
    "stya2k": {
        "decoder": SKIP_DECODER,
        "A2K": A2K,
        "transform": {f"attn_adain_{n}_1.{k}" for n in (4, 5) for k in A2K} | named("merge_conv"),
    },
    "microast": {
        "content_encoder": MICRO,
        "style_encoder": MICRO,
        "modulator": named(*(f"{n}.0.conv_layer" for n in ("weight1", "bias1", "weight2", "bias2"))),
        "decoder": named(
            *(f"dec{d}.conv{c}.conv_layer" for d in (1, 2) for c in (1, 2)),
            *(f"dec3.{i}.conv_layer" for i in (1, 3, 6, 8, 10)),
        ),
    },
    "stytr2": {
        "embedding": named("proj"),
        "decoder": DECODER,
        "transformer": {f"encoder_{e}.layers.{i}.{k}" for e in "cs" for i in range(3) for k in ENCODER_LAYER}
        | {f"decoder.layers.{i}.{k}" for i in range(3) for k in DECODER_LAYER}
        | named("decoder.norm", "new_ps"),
    },
    "artflow": {"glow": {f"blocks.{b}.flows.{f}.{k}" for b in (0, 1) for f in range(8) for k in FLOW}},
    "mst": {
        "model_state": named(
            *(f"vgg_encoder.block{b}.{i}" for b, block in BLOCKS.items() for i in block),
            *(f"decoder.net.{i}" for i in MIRRORED),
        )
    },
    "avatarnet": {
        "check_point": named(
            "encoder.encoder.0.0",
            *(
                f"encoder.encoder.{n}.{i}"
                for n, block in ((1, (2, 5)), (2, (7, 10)), (3, (12, 14, 16, 19)))
                for i in block
            ),
            *(
                f"decoder.decoder.{n}.{i}"
                for n, block in enumerate(((1, 5, 8, 11), (14, 18), (21, 25), (28,)))
                for i in block
            ),
        )
    },
}
COUNTS = {
    ("stytr2", "transformer"): 130,
    ("artflow", "glow"): 288,
    ("mst", "model_state"): 38,
    ("avatarnet", "check_point"): 36,
    ("manet", "ma_module"): 24,
}
# torchvision's numbers of the convolutions up to relu4_1 and their places here.
FEATURES = {0: 2, 2: 5, 5: 9, 7: 12, 10: 16, 12: 19, 14: 22, 16: 25, 19: 29}


def ours(method, key):
    """The parameter that a published key stands for."""
    if method not in ("mst", "avatarnet"):
        return key
    *front, index, kind = key.split(".")
    if method == "mst":
        return f"decoder.{index}.{kind}" if front[0] == "decoder" else f"encoder.layers.{index}.{kind}"
    return f"decoder.{index}.{kind}" if front[0] == "decoder" else f"encoder.layers.{FEATURES[int(index)]}.{kind}"


# Folder and file names of the authors' releases; the VGG-19 of several of them lies beside.
RELEASES = {
    "adain": ("pytorch-AdaIN/models", "{}.pth"),
    "sanet": ("SANET", "{}_iter_500000.pth"),
    "manet": ("manet/model", "{}_iter_160000.pth"),
    "mccnet": ("MCCNet/experiments", "{}_iter_160000.pth"),
    "adaattn": ("checkpoints/AdaAttN", "latest_net_{}.pth"),
    "artflow": ("experiments/ArtFlow-AdaIN", "{}.pth"),
    "microast": ("models", "{}_iter_160000.pth.tar"),
    "stytr2": ("StyTr-2", "{}_iter_160000.pth"),
    "avatarnet": ("v0.2", "{}.pth"),
    "mst": ("mst", "{}.safetensors"),
    "stya2k": ("checkpoints/StyA2K", "latest_net_{}.pth"),
}


def released_files(root, method, vgg=False):
    """Random weights in the folder and under the names of the authors' release; returns paths by role."""
    folder, name = RELEASES[method]
    (root / folder).mkdir(parents=True, exist_ok=True)
    return published_files(root / folder, method, name, vgg)[1]


def published_files(folder, method, name="{}.pth", vgg=True):
    """Random weights in the published layout: the model that they are of, and the paths by role.

    vgg  whether the VGG-19 lies beside, where the method has one
    """
    torch.manual_seed(0)
    layout = LAYOUTS[method]
    model = build(method, Encoder(), layout.variant)
    states = {}
    if layout.vgg and vgg:
        layers = Encoder().layers
        states["vgg"] = {f"{i}.{kind}": getattr(layers[i], kind) for i in (0, *CONVOLUTIONS) for kind in KINDS}
        states["vgg"] |= {f"{i}.weight": torch.zeros(512, 512, 3, 3) for i in LATER} | {
            f"{i}.bias": torch.zeros(512) for i in LATER
        }
    for role, keys in KEYS[method].items():
        module = model.get_submodule(layout.roles[role]).state_dict()
        states[role] = {key: module[ours(method, key)] for key in keys}
    paths = {}
    for role, state in states.items():
        paths[role] = folder / name.format(role)
        state = {key: value.detach().contiguous() for key, value in state.items()}
        wrapped = {"iter": 1, "state_dict": state, "optimizer": {}} if method == "artflow" else state
        save_file(state, paths[role]) if name.endswith(".safetensors") else torch.save(wrapped, paths[role])
    return model, paths
