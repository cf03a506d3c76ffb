"""Adapters as files: how PEFT, diffusers and Kohya write them."""
