"""Experiments that can be re-run: trainings of the systems we build on, on equal data, with a table at the end.

Each is a module with a command: ``python -m experiments.layouts2019.layouts2019 --help``.
"""
