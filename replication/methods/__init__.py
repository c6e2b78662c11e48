"""All methods by name. Adding a method is one file here and one line below."""

from .adaattn import AdaAttN
from .adain import AdaIN
from .artflow import ArtFlow
from .avatarnet import AvatarNet
from .base import Encoded, Method, Transferred, parameter_count, stylisation_parameters
from .dagstyle import DAGStyle
from .datnet import DatNet
from .manet import MANet
from .mccnet import MCCNet
from .microast import MicroAST
from .mst import MST
from .sanet import SANet
from .stya2k import StyA2K
from .stytr2 import StyTr2

METHODS: dict[str, type[Method]] = {
    "adain": AdaIN, "sanet": SANet, "manet": MANet, "mccnet": MCCNet, "adaattn": AdaAttN, "artflow": ArtFlow,
    "microast": MicroAST, "stytr2": StyTr2, "avatarnet": AvatarNet, "mst": MST, "stya2k": StyA2K, "datnet": DatNet, "dagstyle": DAGStyle,
}  # fmt: skip
# Names as the papers print them.
TITLES = {name: method.title for name, method in METHODS.items()}

__all__ = ["METHODS", "TITLES", "Encoded", "Method", "Transferred", "parameter_count", "stylisation_parameters"]
