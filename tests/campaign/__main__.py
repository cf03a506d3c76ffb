"""Run a campaign: `python -m tests.campaign kills|disk|recipes|files|plugins|book`, with `--count`, `--seed`, `--only`.

Each is a module of that name with `run(options) -> Tally`. Exit code 1 where a trial failed.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

from tests.campaign.options import Options
from tests.campaign.tally import Tally

CAMPAIGNS = ("kills", "disk", "recipes", "files", "plugins", "book")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.campaign", description=__doc__)
    parser.add_argument("campaign", choices=CAMPAIGNS)
    parser.add_argument("--count", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="")
    parser.add_argument("--work", type=Path)
    given = vars(parser.parse_args())
    campaign = importlib.import_module(f"tests.campaign.{given.pop('campaign')}")
    tally: Tally = campaign.run(Options(**given))
    print(tally.table())
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main())
