"""One event, one line, whatever a caller or a provider put into a field."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from transport_trio import logs


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    yield
    root.handlers[:] = before
    root.setLevel(level)


def lines_of(format_: str | None, level: str = "info") -> tuple[io.StringIO, logging.Logger]:
    stream = io.StringIO()
    logs.configure(level, format_, stream)
    return stream, logging.getLogger("transport_trio.test")


def test_json_has_the_event_and_its_fields() -> None:
    stream, log = lines_of("json")
    log.info("session ended", extra={"session_id": "s1", "lasted_s": 1.5, "who": {"a"}})
    line = json.loads(stream.getvalue())
    assert line["event"] == "session ended"
    assert (line["session_id"], line["lasted_s"], line["level"]) == ("s1", 1.5, "info")
    assert line["time"].endswith("Z")


def test_text_stays_one_line() -> None:
    stream, log = lines_of("text")
    log.warning("provider refused", extra={"detail": 'two\nlines and "quotes"', "empty": ""})
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert r'detail="two\nlines and \"quotes\""' in text
    assert 'empty=""' in text


@pytest.mark.parametrize("format_", ["json", "text"])
def test_an_exception_is_shown(format_: str) -> None:
    stream, log = lines_of(format_)
    try:
        raise ValueError("boom")
    except ValueError:
        log.exception("it failed")
    assert "ValueError: boom" in stream.getvalue()


def test_without_a_format_a_pipe_gets_json_and_the_level_holds() -> None:
    stream, log = lines_of(None, "warning")
    log.info("not told")
    log.warning("told")
    assert json.loads(stream.getvalue())["event"] == "told"


def test_chatty_libraries_are_quiet_even_at_debug() -> None:
    stream, _ = lines_of("json", "debug")
    logging.getLogger("httpx").info("HTTP Request: GET https://api.daily.co/v1/rooms")
    assert stream.getvalue() == ""
