"""Networks that were each trained in another way."""

from __future__ import annotations
