"""What is written loads in the library peft, and what that wrote is read: equal in every bit where it can be."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.helpers import HANG_S, ROOT

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("peft") is None, reason="peft is not installed: pip install 'neural-pdiff[peft]'"
)


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the library made of our files, and we of its own, in a process of its own."""
    folder = tmp_path_factory.mktemp("peft")
    command = [sys.executable, "-m", "tests.adapters.files.with_peft", str(folder)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=HANG_S,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_each_kind_of_layer_gives_the_same_to_the_last_bit(known) -> None:
    apart = known["layers"]
    assert apart.pop("grouped") < 1e-6, "PEFT computes all groups at once, in another order of sums"
    assert set(apart.values()) == {0.0} and set(apart) == {"emb", "along", "conv", "block.fc", "head", "attn"}


def test_attention_with_its_out_proj_gives_the_same(known) -> None:
    assert known["attention"]["attention"] < 1e-6 < 0.1 < known["attention"]["changed"]


def test_a_whole_network_with_biases_is_the_same_and_the_file_what_the_library_writes(known) -> None:
    assert known["whole"] == {"outputs": True, "file": True}


def test_merged_weights_are_ours(known) -> None:
    assert known["merged"] < 1e-5


def test_what_the_library_wrote_is_read_as_what_it_computes(known) -> None:
    assert set(known["read"]) == {"plain", "rslora", "patterns", "all biases"} and max(known["read"].values()) < 1e-6


def test_a_file_cut_to_a_rank_holds_the_best_change_of_it(known) -> None:
    assert known["cut"]["close"] < 1e-6 and known["cut"]["lost"] == pytest.approx(known["cut"]["right"], abs=1e-5)
