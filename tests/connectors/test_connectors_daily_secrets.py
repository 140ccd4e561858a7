"""The API key stays where it belongs."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import trio
from connectors_helpers import daily_at
from daily_calls import CALLS, EMPTY, KEY, TEST_S, Scripted
from scripted_http import answer, hang_up

from transport_trio.errors import ConnectorError, SettingsError
from transport_trio.metrics import Metrics


@pytest.mark.parametrize("key", ["", "with blank", "line\nbreak", "schlüssel"])
async def test_a_key_that_no_header_can_carry_is_refused_without_being_shown(metrics: Metrics, key: str) -> None:
    with pytest.raises(SettingsError, match="DAILY_API_KEY") as caught:
        async with daily_at("http://127.0.0.1:1/v1", metrics, api_key=key):
            pytest.fail("opened")
    assert not key or key not in str(caught.value)


async def test_the_key_is_in_no_log_no_error_and_no_repr(scripted: Scripted, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    quoting = answer(400, {"error": "invalid-request-error", "info": f"Bearer {KEY} is not good"})
    daily, _ = await scripted(quoting, hang_up, answer(401, {"error": KEY}), answer(200, EMPTY))
    errors: list[ConnectorError] = []
    with trio.fail_after(TEST_S):
        for name in ("delete_room", "create_room", "check"):
            try:
                await CALLS[name][0](daily)
            except ConnectorError as exc:
                errors.append(exc)
        await daily.presence("lobby")
    assert len(errors) == 3
    texts = [repr(daily), repr(daily.health())]
    for error in errors:
        texts += [repr(error), str(error), repr(error.__cause__), repr(vars(error))]
    texts += [f"{record.getMessage()} {vars(record)}" for record in caplog.records]
    assert caplog.records
    assert not [text for text in texts if KEY in text]


async def test_the_environment_gives_neither_proxies_nor_passwords(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login eve password mallory\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    daily, server = await scripted(answer(200, EMPTY))
    with trio.fail_after(TEST_S):
        assert (await daily.presence("lobby")).participants == ()
    assert server.received[0].headers["authorization"] == f"Bearer {KEY}"
