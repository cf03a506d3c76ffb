"""One generator for networks of several widths."""

from __future__ import annotations
