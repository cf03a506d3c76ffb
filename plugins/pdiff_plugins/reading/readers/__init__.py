"""What tells a property of networks from their weights."""
