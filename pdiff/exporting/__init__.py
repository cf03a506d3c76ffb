"""Ensembles as folders that plain torch loads."""
