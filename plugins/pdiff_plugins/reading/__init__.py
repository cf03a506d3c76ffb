"""Weights are read: what a network's score is, told from its weights alone."""

from __future__ import annotations
