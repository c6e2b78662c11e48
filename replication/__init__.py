"""Replication workbook for attention-based arbitrary style transfer.

    from replication import pretrained, read_image, write_image
    result = pretrained("stya2k")(read_image("photo.jpg")[None], read_image("painting.jpg")[None])
    write_image("stylised.png", result[0])

The public names below are imported when first asked for, so that `import replication` costs nothing.
"""

import importlib

# Public name: the module that it comes from. None is the module of that name itself.
_PUBLIC = {
    "METHODS": "methods",
    "Method": "methods",
    "build": "methods",
    "UserError": "errors",
    "pretrained": "weights.shipped",
    "read_image": "data.images",
    "write_image": "data.images",
    "official": None,
    "several": None,
}

__all__ = list(_PUBLIC)


def __getattr__(name: str) -> object:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f".{_PUBLIC[name] or name}", __name__)
    return getattr(module, name) if _PUBLIC[name] else module


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
