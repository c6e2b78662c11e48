"""All methods by name. Adding a method is one file here and one line below."""

from .adaattn import AdaAttN
from .adain import AdaIN
from .base import Encoded, Method, Transferred, parameter_count
from .datnet import DatNet
from .sanet import SANet
from .stya2k import StyA2K

METHODS: dict[str, type[Method]] = {"adain": AdaIN, "sanet": SANet, "adaattn": AdaAttN, "stya2k": StyA2K, "datnet": DatNet}
# Names as the papers print them.
TITLES = {name: method.title for name, method in METHODS.items()}

__all__ = ["METHODS", "TITLES", "Encoded", "Method", "Transferred", "parameter_count"]
