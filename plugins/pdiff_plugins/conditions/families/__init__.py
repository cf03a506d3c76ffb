"""Families of tasks: one set of examples, many things to be asked of it."""
