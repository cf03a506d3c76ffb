"""The world of the campaign `book`: data sets, a hub of weights and no network, recipes cut down, and runs read."""
