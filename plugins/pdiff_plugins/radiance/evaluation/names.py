"""Names in what the evaluator of scenes gives; imports no torch."""

REAL = "real scenes"
"""What stands beside the sources: learnt scenes in their place."""
