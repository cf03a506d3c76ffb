"""How operations tie the axes of what they read to those of what they give, by subject.

A rule is called with a node and its arguments, labels in the place of nodes, and returns the labels of the result, or
None where it does not know.
"""
