"""Slow float64 references in loop form, written from the papers' equations and the published repositories' facts.

One file per method, whose `stylise(method, variant, content, style)` is the whole method; `common` has what several
need, `losses` the loss terms. Nothing here imports the package. Feature maps are numpy arrays (channels, height,
width); weights come as state dictionaries.
"""
