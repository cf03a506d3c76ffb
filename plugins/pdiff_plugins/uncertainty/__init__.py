"""Uncertainty: what an ensemble of generated networks is worth, beside all that could be done instead."""
