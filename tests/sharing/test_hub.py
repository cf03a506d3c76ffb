"""The hub: what is sent is what a folder would hold; what is refused is one line, soon, and nothing is lost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import ModelCard, constants

from pdiff_plugins.sharing import hub as hub_module
from tests.helpers import call, mistake
from tests.sharing.hub_server import TOKEN, HubServer, serving


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    with serving() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.address)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # a store of the hub's own, not on loopback
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no token"))
        huggingface_hub.utils.disable_progress_bars()
        yield server
    huggingface_hub.utils.enable_progress_bars()


def push(finished, name: str, *options: str) -> tuple[str, ...]:
    return ("push", str(finished.folder), "--to", f"hub:{name}", *options)


def test_what_is_sent_is_what_a_folder_holds_in_one_commit(finished, hub: HubServer, tmp_path: Path) -> None:
    said = call(*push(finished, "bob/net", "--licence", "mit", "--private"))
    assert f"{hub.address}/bob/net" in said
    call("push", str(finished.folder), "--to", str(tmp_path / "net"), "--licence", "mit")
    there, here = hub.repositories["bob/net"], {file.name: file.read_bytes() for file in (tmp_path / "net").iterdir()}
    card = there.pop("README.md").decode()
    assert card.replace("# bob/net\n", "# net\n").encode() == here.pop("README.md")
    assert there == here
    assert len(hub.commits) == 1 and hub.private["bob/net"]
    assert hub.cards == [card] and ModelCard(card).data.license == "mit"


def test_a_name_without_owner_is_the_tokens_owners_and_public(finished, hub: HubServer) -> None:
    call(*push(finished, "net"))
    assert list(hub.repositories) == ["alice/net"] and not hub.private["alice/net"]


def test_what_is_there_is_replaced_only_when_asked_for(finished, hub: HubServer) -> None:
    call(*push(finished, "net"))
    before = dict(hub.repositories["alice/net"])
    assert "holds a network already" in mistake(*push(finished, "net", "--source", "soup"))
    assert "is there already and public" in mistake(*push(finished, "net", "--private", "--overwrite"))
    assert hub.repositories["alice/net"] == before and len(hub.commits) == 1
    call(*push(finished, "net", "--source", "soup", "--overwrite"))
    assert hub.repositories["alice/net"]["model.safetensors"] != before["model.safetensors"]


@pytest.mark.parametrize("refused", ["/api/repos/create", "/api/models/alice/net/commit", "/api/models/alice/net"])
def test_what_the_hub_refuses_is_one_line(finished, hub: HubServer, refused: str) -> None:
    hub.refuse[refused] = 403
    said = mistake(*push(finished, "net"))
    assert said == "hub:alice/net: the hub refuses it (403); give a token that may write there. The run is as it was"
    assert not hub.repositories.get("alice/net")


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"HF_TOKEN": "another"}, "refuses the token (401)"),
        ({"HF_TOKEN": ""}, "no token; run `hf auth login`"),
    ],
)
def test_a_token_that_is_none_is_one_line(finished, hub: HubServer, monkeypatch, variables, said: str) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert said in mistake(*push(finished, "net"))
    assert not hub.repositories


def test_offline_and_names_are_looked_at_first(finished, hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "write hub:OWNER/NAME" in mistake(*push(finished, "a/b/c"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in mistake(*push(finished, "net"))
    assert not hub.repositories


def test_no_hub_is_one_line(finished, hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    said = mistake(*push(finished, "net"))
    assert said.startswith("http://127.0.0.1:1: cannot be reached") and said.endswith("or push to a folder")
    hub.refuse["/api/whoami-v2"] = 503
    monkeypatch.setattr(constants, "ENDPOINT", hub.address)
    assert "503 Service Unavailable" in mistake(*push(finished, "net"))


def test_a_hub_that_never_answers_is_not_waited_for(finished, hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "PATIENCE_S", 0.05)
    monkeypatch.setattr(hub_module, "_who", lambda token: time.sleep(3))
    assert "cannot be reached (no answer in" in mistake(*push(finished, "net"))
    assert not hub.repositories
