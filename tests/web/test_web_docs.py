"""docs/api.md says what the code does."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry
from web_rig import Site, deps_of, site_with

from transport_trio.errors import ListenersFull
from transport_trio.events import EventType
from transport_trio.metrics import Metrics
from transport_trio.models import EndReason, SessionStatus
from transport_trio.settings import Settings, describe
from transport_trio.web import create_app, problems
from transport_trio.web.problems import STATUS
from transport_trio.wire.requests import create_body, session_request
from transport_trio.wire.socket import Close

TEXT = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
Row = list[str]


def table(first_header: str, number: int = 0) -> list[Row]:
    """The cells of a table of the page, found by its first header; `number` counts those with the same one."""
    parts = TEXT.split(f"\n| {first_header} |")
    rows = [line for line in parts[number + 1].partition("\n\n")[0].splitlines()[2:] if line.startswith("|")]
    assert rows
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


def names(cell: str) -> list[str]:
    return re.findall("`([^`]+)`", cell)


def examples() -> list[Any]:
    return [json.loads(block) for block in re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)]


async def test_the_routes_are_the_ones_of_the_app() -> None:
    told = {call for row in table("Call") for call in names(row[0])}
    async with site_with() as site:
        app = create_app(deps_of(site))
    served = set()
    for rule in app.url_map.iter_rules():
        path = rule.rule.replace("<session_id>", "{id}").replace("<", "{").replace(">", "}")
        served |= {f"{method} {path}" for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}}
    assert told == served


def test_the_codes_are_the_ones_that_are_answered() -> None:
    told = {(names(code)[0], int(status)) for code, status, _ in table("Code")}
    answered = {(error.code, status) for error, status in STATUS.items() if error.code != "connector_error"}
    assert told == answered | {(problems.INTERNAL_ERROR, 500)}


def test_codes_named_elsewhere_on_the_page_are_in_that_table() -> None:
    known = {names(row[0])[0] for row in table("Code")}
    for row in table("Call"):
        assert set(names(row[3])) <= known
    assert ListenersFull.code in known


def test_the_metrics_are_the_ones_that_are_exposed() -> None:
    suffixes = {"counter": "_total", "info": "_info"}
    families = Metrics.create(CollectorRegistry()).registry.collect()
    exposed = {family.name + suffixes.get(family.type, "") for family in families}
    assert {names(row[0])[0] for row in table("Metric")} == exposed


def test_the_labels_are_the_ones_that_are_counted() -> None:
    metrics = Metrics.create(CollectorRegistry())
    labels = {}
    for metric in vars_of(metrics):
        suffix = "_total" if type(metric).__name__ == "Counter" else ""
        labels[metric._name + suffix] = list(metric._labelnames)
    labels |= {sample.name: [] for family in metrics.process.collect() for sample in family.samples}
    for row in table("Metric"):
        [name] = names(row[0])
        if name != "transport_build_info":
            assert names(row[1]) == labels[name], name


def vars_of(metrics: Metrics) -> list[Any]:
    every = (getattr(metrics, name) for name in metrics.__slots__ if not name.startswith("__"))
    return [metric for metric in every if hasattr(metric, "_labelnames")]


def test_the_settings_are_the_ones_that_are_read() -> None:
    told = [(names(name)[0], (names(default) or [""])[0], help_) for name, default, help_ in table("Variable")]
    assert told == describe()


def test_every_event_and_close_code_is_told() -> None:
    assert [names(row[0])[0] for row in table("`type`", 0)] == list(EventType)
    told = {int(row[0]) for row in table("Close code")}
    assert told == {close.code for close in Close} | {4401}


def test_every_status_and_end_reason_is_told() -> None:
    assert [names(row[0])[0] for row in table("Status")] == list(SessionStatus)
    assert [names(row[0])[0] for row in table("End reason")] == list(EndReason)


def test_the_request_with_all_defaults_means_the_smallest_one() -> None:
    smallest, full = [
        session_request(create_body(json.dumps(example).encode()), Settings(), lambda provider: frozenset())
        for example in examples()[:2]
    ]
    assert smallest == full


async def test_the_example_of_a_session_has_what_is_answered(site: Site) -> None:
    [example] = [each for each in examples() if "room_url" in each and "meeting_token" in each]
    answer = await site.client.post("/sessions", json={"provider": "daily"})
    assert example.keys() == answer.json().keys()
    assert example["options"].keys() == answer.json()["options"].keys()


def test_the_example_of_an_error_is_a_real_one() -> None:
    [example] = [each for each in examples() if "code" in each]
    error = problems.InvalidRequest(*((fault["path"], fault["message"]) for fault in example["errors"]))
    assert example["detail"] == str(error)
    assert example["status"] == problems.status_of(error)
    assert example["type"] == f"urn:transport-trio:error:{error.code}"


def test_links_within_the_page_lead_somewhere() -> None:
    anchors = {re.sub(r"[^a-z0-9 -]", "", head.lower()).replace(" ", "-") for head in re.findall("(?m)^#+ (.+)$", TEXT)}
    assert set(re.findall(r"\]\(#([^)]+)\)", TEXT)) <= anchors
