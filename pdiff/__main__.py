"""`python -m pdiff`: the `pdiff` program."""

from __future__ import annotations

from pdiff.cli import main

if __name__ == "__main__":
    main()
