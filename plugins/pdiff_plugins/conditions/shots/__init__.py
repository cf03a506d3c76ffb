"""Few shots: tasks that are told by a few examples of each class."""
