"""Encoders: what turns what a network is for into a vector."""
