"""What is deployed beside the service fits it: dashboard, alerts, compose file and image."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from prometheus_client import CollectorRegistry

from fakes_connector import FakeConnector
from transport_trio.cli.entry import COMMANDS
from transport_trio.cli.lines import GAP_REASONS
from transport_trio.connectors import ConnectorRegistry
from transport_trio.journal.failures import DiskFault
from transport_trio.metrics import Metrics
from transport_trio.metrics_at_zero import AT_START
from transport_trio.models import CaptureKind
from transport_trio.settings import Settings
from transport_trio.web.refusals import Refused
from transport_trio.wire.socket import Close

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DASHBOARD = json.loads((DEPLOY / "grafana/dashboards/transport-trio.json").read_text())
ALERTS = (DEPLOY / "prometheus/alerts.yml").read_text()
COMPOSE = (ROOT / "docker-compose.yml").read_text()
DOCKERFILE = (ROOT / "Dockerfile").read_text()
# What a process reserves and never touches says nothing about its use of memory.
UNSHOWN = {"transport_process_virtual_memory_bytes"}
# What Prometheus adds to every scrape.
SCRAPE_LABELS = {"instance", "job"}


def exposed() -> dict[str, set[str]]:
    """Every series name that `/metrics` can show, with its labels."""
    metrics = Metrics.create(CollectorRegistry())
    collectors = [value for value in attrs.asdict(metrics, recurse=False).values() if hasattr(value, "describe")]
    names: dict[str, set[str]] = {"up": set(), "transport_build_info": {"version"}}
    for collector in collectors:
        labels = set(collector._labelnames)
        for family in collector.describe():
            for suffix in {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(family.type, [""]):
                names[family.name + suffix] = labels | ({"le"} if suffix == "_bucket" else set())
    for family in metrics.process.collect():
        names |= {sample.name: set() for sample in family.samples}
    return names


EXPOSED = exposed()


def panels() -> Iterator[dict[str, Any]]:
    for panel in DASHBOARD["panels"]:
        if panel["type"] != "row":
            yield panel


EXPRESSIONS = [target["expr"] for panel in panels() for target in panel["targets"]]
EXPRESSIONS += re.findall(r"expr: \|?\s*((?:.|\n)*?)\n {8}(?:for|labels):", ALERTS)


def series_in(expression: str) -> Iterator[tuple[str, set[str]]]:
    """Names of series with the labels that their selectors use."""
    for name, selector in re.findall(r"\b([a-z_]+)(?:\{([^}]*)\})?(?=[\[\s)>]|$)", expression):
        if name in EXPOSED or name.startswith("transport_") or name.endswith(("_sessions", "_messages", "_total")):
            yield name, set(re.findall(r"(\w+)\s*[!=]~?=?\s*\"", selector))


def test_the_walk_over_expressions_sees_them_all() -> None:
    assert len(EXPRESSIONS) > 40
    for expression in EXPRESSIONS:
        assert list(series_in(expression)), expression


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_dashboard_and_alerts_use_metrics_and_labels_that_exist(expression: str) -> None:
    known_labels = set(SCRAPE_LABELS)
    for name, labels in series_in(expression):
        assert name in EXPOSED, f"no metric {name}"
        assert labels <= EXPOSED[name] | SCRAPE_LABELS, f"{name} has no such labels: {labels}"
        known_labels |= EXPOSED[name]
    for grouping in re.findall(r"\b(?:by|on) \(([^)]*)\)", expression):
        assert set(re.split(r",\s*", grouping)) <= known_labels


def at_zero() -> dict[str, list[dict[str, str]]]:
    """The series of each counter that are there before anything has happened, with one connector."""
    metrics = Metrics.create(CollectorRegistry())
    ConnectorRegistry(metrics).register(FakeConnector())
    found: dict[str, list[dict[str, str]]] = {}
    for family in metrics.registry.collect():
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample.labels)
    return found


def wanted_in(expression: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Each counter whose growth is asked for, with every combination of labels that must be there."""
    for name, selector in re.findall(r"(?:increase|rate)\((\w+_total)(?:\{([^}]*)\})?\[", expression):
        asked = re.findall(r'(\w+)(=~|=)"([^"$]*)"', selector)
        choices = [[(label, value) for value in values.split("|")] for label, _, values in asked]
        for chosen in itertools.product(*choices):
            yield name, dict(chosen)


# A share of everything tells of the second one; which routes, statuses and outcomes there will be, nobody knows.
GROWTHS = [one for one in EXPRESSIONS if ("increase(" in one or one in ALERTS) and " / " not in one and "_total" in one]


@pytest.mark.parametrize("expression", GROWTHS)
def test_what_is_asked_about_its_growth_is_there_from_the_start(expression: str) -> None:
    """Or its first failure would be the series' first sample, which grows from nothing."""
    series = at_zero()
    for name, wanted in wanted_in(expression):
        assert any(wanted.items() <= labels.items() for labels in series.get(name, [])), (name, wanted)


def test_all_labels_of_a_closed_set_are_there_from_the_start() -> None:
    closed: dict[str, set[str]] = {
        "http_refused": set(Refused),
        "capture_errors": set(CaptureKind),
        "listeners_dropped": {one.label for one in Close},
        "listener_gaps": set(GAP_REASONS),
        "commit_failures": {*DiskFault, "conflict"},
    }
    for field, values in closed.items():
        [begun] = AT_START[field].values()
        assert set(begun) == values, field


def test_every_metric_has_its_place_on_the_dashboard() -> None:
    shown = {name for panel in panels() for target in panel["targets"] for name, _ in series_in(target["expr"])}
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown}
    missing = {name for name in EXPOSED.keys() - UNSHOWN if re.sub(r"_(bucket|sum|count)$", "", name) not in families}
    assert not missing, "put them on a panel"


def test_legends_use_labels_that_their_expression_keeps() -> None:
    for panel in panels():
        for target in panel["targets"]:
            wanted = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            kept = re.search(r"by \(([^)]*)\)", target["expr"])
            assert wanted <= set(re.split(r",\s*", kept.group(1) if kept else "")), panel["title"]


def test_panels_do_not_overlap_and_have_their_own_ids() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not taken & cells, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))


def test_dashboard_asks_the_provisioned_data_source() -> None:
    source = (DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_text()
    uids = {panel["datasource"]["uid"] for panel in panels()}
    assert uids == {"prometheus"}
    assert "uid: prometheus" in source


@pytest.mark.tools
def test_promtool_understands_configuration_and_alerts() -> None:
    done = subprocess.run(
        ["promtool", "check", "config", DEPLOY / "prometheus/prometheus.yml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.tools
def test_alerts_fire_in_their_case_and_leave_a_healthy_service_in_peace() -> None:
    rules = Path(__file__).with_name("alerts_test.yml")
    done = subprocess.run(["promtool", "test", "rules", rules], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(re.findall(r"alert: (\w+)", ALERTS)) == set(re.findall(r'alertname="(\w+)"', rules.read_text()))


@pytest.mark.tools
def test_promtool_understands_every_expression_of_the_dashboard(tmp_path: Path) -> None:
    expressions = [target["expr"] for panel in panels() for target in panel["targets"]]
    rules = [
        {"record": f"panel:{number}", "expr": expression.replace("$__rate_interval", "1m")}
        for number, expression in enumerate(expressions)
    ]
    file = tmp_path / "rules.yml"  # JSON is YAML
    file.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run(["promtool", "check", "rules", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def environment_names(text: str) -> set[str]:
    return set(re.findall(r"^\s+([A-Z][A-Z_]+)(?:: |=)", text, re.MULTILINE))


def test_image_and_compose_file_set_settings_that_exist() -> None:
    ours = {field.name.upper() for field in attrs.fields(Settings)}
    foreign = {"PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"}
    compose = {name for name in environment_names(COMPOSE) if not name.startswith("GF_")}
    overlay = environment_names((DEPLOY / "daily.yml").read_text())
    assert {"NATS_URL", "DAILY_API_KEY"} <= compose
    assert {"HOST", "DATA_DIR"} <= environment_names(DOCKERFILE)
    assert (compose | overlay | environment_names(DOCKERFILE)) - foreign <= ours


def test_no_secret_is_written_into_what_is_deployed() -> None:
    for text in (COMPOSE, (DEPLOY / "daily.yml").read_text()):
        for name, value in re.findall(r"(\w*(?:KEY|KEYS|PASSWORD|SECRET|TOKEN)): (\S+)", text):
            assert value == "sandbox" or value.startswith("${"), name
            assert not re.search(r":-[^}]", value), f"{name} has a default that somebody would keep"


def test_ports_are_open_on_this_machine_only() -> None:
    ports = re.findall(r"ports: \[\"([^\"]+)\"\]", COMPOSE)
    assert len(ports) == 4
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_image_runs_as_nobody_special_and_hears_signals() -> None:
    assert re.search(r"^USER transport$", DOCKERFILE, re.MULTILINE)
    assert re.search(r"^STOPSIGNAL SIGTERM$", DOCKERFILE, re.MULTILINE)
    (entrypoint,) = re.findall(r"^ENTRYPOINT (.*)$", DOCKERFILE, re.MULTILINE)
    (command,) = re.findall(r"^CMD (.*)$", DOCKERFILE, re.MULTILINE)
    assert json.loads(entrypoint) == ["transport-trio"]
    assert json.loads(command)[0] in COMMANDS
    assert "--require-hashes" in DOCKERFILE


def test_image_gets_all_that_is_copied_and_nothing_else() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = set()
    for sources in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE):
        copied |= set(sources.split())
    assert copied == allowed
