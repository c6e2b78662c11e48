"""All methods by name. Adding a method is one file here and one line below."""

from .adaattn import AdaAttN
from .adain import AdaIN
from .base import Encoded, Method, Transferred, parameter_count
from .sanet import SANet

METHODS: dict[str, type[Method]] = {"adain": AdaIN, "sanet": SANet, "adaattn": AdaAttN}
# Names as the papers print them.
TITLES = {name: method.__name__ for name, method in METHODS.items()}

__all__ = ["METHODS", "TITLES", "Encoded", "Method", "Transferred", "parameter_count"]
