"""Networks in few bits: on a grid, or with most weights cut away."""

from __future__ import annotations
