"""adapter_config.json: what changes an adapter's function is read or refused, and the rest is passed over."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pdiff_plugins.adapters.files import config
from pdiff_plugins.adapters.files.adapter import Adapter
from pdiff_plugins.adapters.files.peft import alpha_for, targets
from pdiff_plugins.adapters.files.peft import config as written_config
from pdiff_plugins.adapters.selector import Lora
from tests.adapters.files.helpers import CONFIG, factors, fault, small, written

NOTHING = {  # as PEFT 0.21.2 writes it where nothing is asked for
    "alora_invocation_tokens": None, "alpha_pattern": {}, "arrow_config": None, "auto_mapping": {"library": "x"},
    "base_model_name_or_path": "org/name", "bias": "none", "corda_config": None, "ensure_weight_tying": False,
    "eva_config": None, "exclude_modules": None, "fan_in_fan_out": False, "inference_mode": True,
    "init_lora_weights": True, "kasa_config": None, "layer_replication": None, "layers_pattern": None,
    "layers_to_transform": [0, 1], "loftq_config": {}, "lora_alpha": 3, "lora_bias": False, "lora_dropout": 0.1,
    "lora_ga_config": None, "megatron_config": None, "megatron_core": "megatron.core", "modules_to_save": None,
    "monteclora_config": None, "peft_type": "LORA", "peft_version": "0.21.2", "qalora_group_size": 16, "r": 2,
    "rank_pattern": {}, "revision": None, "target_modules": ["conv", "lin"], "target_parameters": None,
    "task_type": "CAUSAL_LM", "trainable_token_indices": None, "use_bdlora": None, "use_dora": False,
    "use_qalora": False, "use_rslora": False, "velora_config": None,
}  # fmt: skip


def test_what_peft_writes_by_itself_is_no_fault() -> None:
    assert config.fault(NOTHING) == "" and config.fault(CONFIG) == ""


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"peft_type": "ADALORA"}, "peft_type = 'ADALORA' is no LoRA"),
        ({"use_dora": True}, "use_dora = true scales each row of the sum anew; train plain LoRA"),
        ({"use_qalora": True}, "use_qalora = true is not read; where it changes nothing"),
        ({"modules_to_save": ["bn"]}, 'modules_to_save = ["bn"] holds whole layers'),
        ({"init_lora_weights": "pissa_niter_4"}, "init_lora_weights = 'pissa_niter_4' changes the network itself"),
        ({"lora_bias": True}, "lora_bias = true gives B a bias"),
        ({"trainable_token_indices": [1]}, "trainable_token_indices = [1] holds rows"),
        ({"layer_replication": [[0, 2]]}, "layer_replication = [[0, 2]] is not read"),
        ({"of_the_future": 1}, "of_the_future = 1 is not read"),
        ({"bias": "some"}, "bias = 'some' is none of none, all, lora_only"),
        ({"r": 0}, "r = 0 is no rank"), ({"r": True}, "r = True is no rank"),
        ({"lora_alpha": "8"}, "lora_alpha = '8' is no number above 0"),
        ({"lora_alpha": float("nan")}, "lora_alpha = nan is no number above 0"),
        ({"rank_pattern": {"fc": 0}}, "rank_pattern = {'fc': 0} is no table of numbers by layer"),
        ({"alpha_pattern": {"(": 1}}, "alpha_pattern = {'(': 1} is no table"),
        ({"target_modules": "("}, "target_modules = '(' is neither an expression nor a list of names"),
    ],
)  # fmt: skip
def test_what_is_not_plain_lora_is_refused_in_a_line(tmp_path: Path, changes, message: str) -> None:
    folder = written(tmp_path, factors(), **(NOTHING | {"target_modules": ["fc"]} | changes))
    assert f"adapter_config.json: {message}" in fault(folder, Lora(rank=2))


def test_files_with_one_fault_are_told_in_one_line(tmp_path: Path) -> None:
    files = [written(tmp_path / name, {}, use_dora=name < "d") / config.CONFIG for name in "abcd"]
    (tmp_path / "c" / config.CONFIG).write_text(json.dumps(CONFIG | {"peft_type": "IA3"}))
    first, second = config.faults(files)
    assert first.startswith(f"{files[0]} and 1 more: use_dora") and second.startswith(f"{files[2]}: peft_type")


@pytest.mark.parametrize("text", ["{", "[1]", "\xff"])
def test_a_file_that_is_no_table_is_told(tmp_path: Path, text: str) -> None:
    written(tmp_path, factors())
    (tmp_path / config.CONFIG).write_bytes(text.encode("latin-1"))
    assert fault(tmp_path, Lora(rank=2)).endswith("fetch the adapter again")


@given(st.floats(1e-3, 1e3), st.integers(1, 4096))
def test_a_written_alpha_gives_the_scale_to_the_last_bit(alpha: float, rank: int) -> None:
    assert alpha_for(alpha / rank, rank) / rank == alpha / rank


NAME = st.from_regex(r"[a-c]{1,2}(\.[a-c0-1]{1,2}){0,2}", fullmatch=True)
NAMES = st.lists(NAME, min_size=1, max_size=5, unique=True)


@given(NAMES, st.data())
def test_a_written_configuration_gives_each_layer_its_rank_and_scale(names: list[str], data: st.DataObject) -> None:
    """As PEFT finds them: by the end of a name, so that one must not take another's."""
    ranks = {name: data.draw(st.integers(1, 4)) for name in names}
    scales = {name: data.draw(st.sampled_from([1.0, 0.5, 1 / 3])) for name in names}
    pairs = {name: (torch.ones(rank, 3), torch.ones(2, rank)) for name, rank in ranks.items()}
    every = list(dict.fromkeys([*names, "other", "c.a"]))
    network = SimpleNamespace(named_modules=lambda: [(name, None) for name in every])
    told = json.loads(json.dumps(written_config(Adapter(pairs, scales, dict.fromkeys(names, 1)), network)))
    assert config.fault(told) == "" and config.targeted(told, every) == names
    for name in names:
        assert config.rank_of(told, name) == ranks[name] and config.scale(told, name, ranks[name]) == scales[name]


def test_layers_whose_names_end_alike_are_told_apart() -> None:
    model = small()
    assert targets(["head"], model) == ["head"] and targets(["fc", "block.fc"], model) == ["fc", "block.fc"]
    only = targets(["fc"], model)
    assert isinstance(only, str) and re.fullmatch(only, "fc") and not re.fullmatch(only, "block.fc")
