"""The plain ways from a condition to a network: copies, averages and regressions."""
