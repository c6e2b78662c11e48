"""Public name of the authors' published weights: `official.load("sanet", {role: file})`. See `weights.published`."""

from .weights.published import LAYOUTS, Layout, fill_module, load, load_vgg, read_state

__all__ = ["LAYOUTS", "Layout", "fill_module", "load", "load_vgg", "read_state"]
