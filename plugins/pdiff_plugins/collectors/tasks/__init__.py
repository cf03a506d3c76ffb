"""Zoos of tasks: one network for each, trained together."""
