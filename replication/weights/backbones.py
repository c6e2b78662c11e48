"""Files of the networks behind the field's metrics: where they are looked for. Nothing is downloaded.

Looked for in torchvision's cache, then at any depth of the folder of REPLICATION_OFFICIAL, or of official/ beside the
package, where `python -m replication fetch` keeps them.
"""

import os
from functools import lru_cache
from pathlib import Path

import torch

from .. import files
from ..errors import UserError

# Names of the files, as their publishers give them.
BACKBONES = {
    "alexnet": "alexnet-owt-7be5be79.pth",
    "vgg16": "vgg16-397923af.pth",
    "vgg19": "vgg19-dcbb9e9d.pth",
    "squeezenet": "squeezenet1_1-b8a52dc0.pth",
    "inception": "pt_inception-2015-12-05-6726825d.pth",
    "art-inception": "art_inception.pth",
}


def fetched_folder() -> Path:
    """Where fetched files lie: the folder of REPLICATION_OFFICIAL, else official/ beside the package."""
    return Path(os.environ.get("REPLICATION_OFFICIAL") or files.ROOT / "official")


def find_backbone(name: str) -> Path | None:
    """The file of a backbone; None when it is not on this machine."""
    return _find(name, Path(torch.hub.get_dir()) / "checkpoints", fetched_folder())


@lru_cache
def _find(name: str, cache: Path, folder: Path) -> Path | None:
    """`find_backbone` in given folders: what is there does not change while a process measures."""
    if (cache / BACKBONES[name]).is_file():
        return cache / BACKBONES[name]
    return min((path for path in folder.rglob(BACKBONES[name]) if path.is_file()), default=None)


def backbone(name: str) -> Path:
    """The file of a backbone. Raises UserError when it is not on this machine."""
    path = find_backbone(name)
    if path is None:
        raise UserError(f"{BACKBONES[name]} is not on this machine; `python -m replication fetch {name}` gets it")
    return path


def backbone_hashes() -> dict[str, str]:
    """sha256 of every backbone that is on this machine, by name."""
    found = {name: find_backbone(name) for name in BACKBONES}
    return {name: files.sha256_file(path) for name, path in found.items() if path}
