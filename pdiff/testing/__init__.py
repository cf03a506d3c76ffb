"""For the tests of plugins: one call checks a component against its kind's contract.

    from pdiff.testing import check_component

    def test_mine():
        check_component(Mine, width=4)

Beside it, the small things that a test of one's own needs: a dataset, a zoo, a finished run.
"""

from pdiff.testing.bench import Points, bench_of
from pdiff.testing.check import check_component, check_definition
from pdiff.testing.tiny import TinyData, TinyMethod, TinyNet, TinyTask, tiny_run, tiny_splits, tiny_zoo

__all__ = [
    "Points",
    "TinyData",
    "TinyMethod",
    "TinyNet",
    "TinyTask",
    "bench_of",
    "check_component",
    "check_definition",
    "tiny_run",
    "tiny_splits",
    "tiny_zoo",
]
