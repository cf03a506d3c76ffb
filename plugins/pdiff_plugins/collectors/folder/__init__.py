"""Checkpoints that are there already: which files they are, and what a zoo takes from them."""
