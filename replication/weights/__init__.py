"""Trained weights: those that the project ships, and those that the authors published."""
