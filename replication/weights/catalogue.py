"""Where networks that do not come with pip packages are published: addresses, sizes, licences, and what they are for.

The addresses are those of the authors' READMEs. Files that hang on a commit or a release are got by `fetch`; pages of
Google Drive and Yandex.Disk want a browser, so a person gets those, and the catalogue says under which name to keep
them. Files of torchvision and of pytorch-fid carry the first eight digits of their sha256 in their names.
"""

from dataclasses import dataclass

from ..files import OFFICIAL
from .backbones import BACKBONES
from .official_folder import SOURCES

# One VGG-19 serves the whole AdaIN family.
ADAIN = "https://github.com/naoto0804/pytorch-AdaIN/releases/download/v0.0.0"
MICROAST = "https://raw.githubusercontent.com/EndyWon/MicroAST/d2796c7dbf01dbc29ed35b11675d87fcc640f969/models"
STYA2K = "https://raw.githubusercontent.com/LearningHx/StyA2K/70b58dfdf6c249a0c621d8b849945272671dce74/checkpoints/A2K"
TORCHVISION = "https://download.pytorch.org/models"
TORCHVISION_TERMS = "torchvision's, BSD-3-Clause; trained on ImageNet, whose images are for research"


@dataclass(frozen=True)
class Remote:
    """A published file.

    file       where `fetch` keeps it, below its folder
    address    of the file, or of the page where a person gets it
    megabytes  as far as it is known, else 0
    sha256     as its publisher states it, whole or the first digits; empty where nobody does
    by_hand    the address is a page for a browser
    """

    file: str
    address: str
    megabytes: float | int = 0
    sha256: str = ""
    by_hand: bool = False


@dataclass(frozen=True)
class Entry:
    """Files that belong together.

    purpose  what they are for
    licence  as far as it is known
    files    all of them
    variable  which of the project's variables names the file or its folder, where that is not found by itself
    """

    purpose: str
    licence: str
    files: tuple[Remote, ...]
    variable: str = ""


def _of_method(method: str, *files: Remote) -> Entry:
    source, licence = SOURCES[method]
    return Entry(f"the authors' weights, {source}", licence or "see its page", files, OFFICIAL)


def _by_hand(page: str, *files: str) -> tuple[Remote, ...]:
    return tuple(Remote(file, page, by_hand=True) for file in files)


def _torchvision(folder: str, name: str, megabytes: int) -> Remote:
    digits = name.removesuffix(".pth").rpartition("-")[2]
    return Remote(f"{folder}/{name}", f"{TORCHVISION}/{name}", megabytes, digits)


CATALOGUE = {
    "vgg": Entry(
        "VGG-19 normalised, which most authors' weights need",
        "MIT, pytorch-AdaIN's",
        (Remote("vgg_normalised.pth", f"{ADAIN}/vgg_normalised.pth", 80),),
        OFFICIAL,
    ),
    "adain": _of_method("adain", Remote("adain/decoder.pth", f"{ADAIN}/decoder.pth", 14)),
    "sanet": _of_method(
        "sanet",
        *_by_hand("https://yadi.sk/d/xsZ7j6FhK1dmfQ", "sanet/decoder_iter_500000.pth"),
        *_by_hand("https://yadi.sk/d/GhQe3g_iRzLKMQ", "sanet/transformer_iter_500000.pth"),
    ),
    "manet": _of_method(
        "manet",
        *_by_hand(
            "https://drive.google.com/file/d/1JaFfo6VB5NG0y69YfmB6WWjODQNdymWt/view",
            "manet/decoder_iter_160000.pth",
            "manet/ma_module_iter_160000.pth",
        ),
    ),
    "mccnet": _of_method(
        "mccnet",
        *_by_hand(
            "https://github.com/diyiiyiii/MCCNet#testing",
            "mccnet/decoder_iter_160000.pth",
            "mccnet/mcc_module_iter_160000.pth",
        ),
    ),
    "adaattn": _of_method(
        "adaattn",
        *_by_hand(
            "https://drive.google.com/file/d/1XvpD1eI4JeCBIaW5uwMT6ojF_qlzM_lo/view",
            "adaattn/latest_net_decoder.pth",
            "adaattn/latest_net_transformer.pth",
            "adaattn/latest_net_adaattn_3.pth",
        ),
    ),
    "artflow": _of_method(
        "artflow",
        *_by_hand(
            "https://drive.google.com/drive/folders/1w2fHgSBYwjplfeCXI8eOGYpi69CpJBTE",
            "artflow/ArtFlow-AdaIN/glow.pth",
            "artflow/ArtFlow-WCT/glow.pth",
        ),
    ),
    "microast": _of_method(
        "microast",
        *(
            Remote(f"microast/{role}_iter_160000.pth.tar", f"{MICROAST}/{role}_iter_160000.pth.tar", megabytes)
            for role, megabytes in (("content_encoder", 1), ("style_encoder", 1), ("modulator", 0.1), ("decoder", 1))
        ),
    ),
    "stytr2": _of_method(
        "stytr2",
        *_by_hand(
            "https://drive.google.com/file/d/1C3xzTOWx8dUXXybxZwmjijZN8SrC3e4B/view",
            "stytr2/embedding_iter_160000.pth",
        ),
        *_by_hand(
            "https://drive.google.com/file/d/1fIIVMTA_tPuaAAFtqizr6sd1XV7CX6F9/view", "stytr2/decoder_iter_160000.pth"
        ),
        *_by_hand(
            "https://drive.google.com/file/d/1dnobsaLeE889T_LncCkAA2RkqzwsfHYy/view",
            "stytr2/transformer_iter_160000.pth",
        ),
    ),
    "stya2k": _of_method(
        "stya2k",
        *(
            Remote(f"stya2k/latest_net_{role}.pth", f"{STYA2K}/latest_net_{role}.pth", megabytes)
            for role, megabytes in (("A2K", 2), ("transform", 26), ("decoder", 16))
        ),
    ),
    "avatarnet": _of_method(
        "avatarnet",
        Remote(
            "avatarnet/check_point.pth",
            "https://github.com/tyui592/Avatar-Net_Pytorch/releases/download/v0.2/check_point.pth",
            28,
        ),
    ),
    "mst": _of_method(
        "mst",
        *_by_hand("https://drive.google.com/file/d/16mhOUIo8HKDv9NhlI1GyKvpqST8P9fGw/view", "mst/model_state.pth"),
    ),
    "alexnet": Entry("LPIPS with AlexNet", TORCHVISION_TERMS, (_torchvision("backbones", BACKBONES["alexnet"], 233),)),
    "vgg16": Entry("LPIPS with VGG-16", TORCHVISION_TERMS, (_torchvision("backbones", BACKBONES["vgg16"], 528),)),
    "vgg19": Entry("CFSD", TORCHVISION_TERMS, (_torchvision("backbones", BACKBONES["vgg19"], 548),)),
    "squeezenet": Entry(
        "LPIPS with SqueezeNet",
        TORCHVISION_TERMS,
        (_torchvision("backbones", BACKBONES["squeezenet"], 5),),
    ),
    "inception": Entry(
        "FID and KID with the Inception that they are defined by",
        "pytorch-fid's, Apache-2.0; converted from TensorFlow's",
        (
            Remote(
                f"backbones/{BACKBONES['inception']}",
                f"https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/{BACKBONES['inception']}",
                96,
                "6726825d",
            ),
        ),
    ),
    "art-inception": Entry(
        "FID and ArtFID with the Inception trained on paintings",
        "MIT, github.com/matthias-wright/art-fid",
        (
            Remote(
                f"backbones/{BACKBONES['art-inception']}",
                "https://huggingface.co/matthias-wright/art_inception/resolve/"
                f"70c27a861d43379d5016b16b03b5324ab4ffae4b/{BACKBONES['art-inception']}",
            ),
        ),
    ),
    "raft": Entry(
        "the flow of filmed clips",
        "torchvision's, BSD-3-Clause",
        (_torchvision("raft", "raft_small_C_T_V2-01064c6d.pth", 4),),
        "REPLICATION_RAFT",
    ),
}
