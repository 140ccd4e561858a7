"""The banner's lines, and how the reader can call us."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from transport_trio.cli.banner import banner, program_name


def shown(**changes: object) -> str:
    facts = {"url": "http://127.0.0.1:8084", "needs_key": False, "nats_url": None, "sandbox_url": None}
    return banner(**{**facts, "program": "transport-trio", **changes})  # type: ignore[arg-type]


def test_the_default_address_needs_no_option() -> None:
    assert shown().splitlines()[3].endswith("transport-trio watch")
    assert shown(url="http://127.0.0.1:9").splitlines()[3].endswith("transport-trio watch --url http://127.0.0.1:9")


def test_the_session_to_try_is_one_at_a_connector_that_is_there() -> None:
    assert """-d '{"provider": "daily"}'""" in shown()
    assert """-d '{"provider": "daily-eu"}'""" in shown(provider="daily-eu")


@pytest.mark.parametrize(
    ("url", "reachable"),
    [("http://0.0.0.0:80", "http://127.0.0.1:80"), ("http://[::]:80", "http://[::1]:80")],
)
def test_all_addresses_are_reached_through_this_machine(url: str, reachable: str) -> None:
    assert shown(url=url).splitlines()[0].endswith(url)
    assert f"curl -X POST {reachable}/sessions" in shown(url=url)


def test_what_is_not_there_is_not_told() -> None:
    assert "NATS" not in shown()
    assert "sandbox" not in shown()
    assert "Authorization" not in shown()


def test_a_nats_url_is_shown_without_its_credentials() -> None:
    text = shown(nats_url="nats://user:pass@a:1,nats://token@b:2,nats://c:3")
    assert "nats://a:1,nats://b:2,nats://c:3, stream TRANSPORT_EVENTS" in text


def test_the_program_is_named_as_it_can_be_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = tmp_path / "bin with blank"
    inside.mkdir()
    program = inside / "transport-trio"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", os.devnull)
    assert program_name([str(program)]) == "'bin with blank/transport-trio'"
    monkeypatch.setenv("PATH", str(inside))
    assert program_name([str(program)]) == "transport-trio"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("PATH", os.devnull)
    assert program_name([str(program)]) == f"'{program}'"
    assert program_name(["/x/transport_trio/__main__.py"]) == f"{sys.executable} -m transport_trio"
