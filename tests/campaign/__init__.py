"""Campaigns: long searches for faults, run by hand (`python -m tests.campaign NAME`), never by pytest."""
