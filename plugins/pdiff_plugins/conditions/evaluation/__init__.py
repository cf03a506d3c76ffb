"""How well networks do what they were asked for, beside every plain way to the same end."""
