"""A user's own files, stylised with the shipped weights: one file, or many."""
