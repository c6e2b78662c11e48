"""Running notebooks headless: what depends on what, which have to run, their kernels, and where they stand."""
