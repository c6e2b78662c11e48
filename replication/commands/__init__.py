"""The command line: one file per group of commands, each with its options beside what it does.

Commands import what they need when they run, so that `--help` and a typing mistake answer at once.
"""
