"""The components that come with pdiff, one plugin per module; each is found through its entry point."""
