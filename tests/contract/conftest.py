"""The conformance suite: what the service relies on of Daily, held against the sandbox in every test run.

`make conformance` holds it against the domain of `DAILY_API_KEY` and `DAILY_DOMAIN`, if they are given, skips what the
plan lacks, and tells at the end what it has learnt about what nobody knows for sure. A fact is one test; `section` says
to which part of Daily's API it belongs: 1 base and keys, 4 pages, 5 rooms, 6 meeting tokens, 7 presence, 8 calls under
way, 9 afterwards, 10 webhooks, 12 open points.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from connectors_helpers import FakeProvider, Provider, SandboxProvider, daily_at
from contract_domain import Domain, real_domain
from contract_real import RealProvider
from prometheus_client import CollectorRegistry

from transport_trio.metrics import Metrics
from transport_trio.sandbox import SandboxHandle

REAL = pytest.StashKey[bool]()
LEARNT = pytest.StashKey[dict[str, str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--conformance",
        action="store_true",
        help="Ask the real Daily where DAILY_API_KEY and DAILY_DOMAIN are given; tell what was learnt.",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "section(name): the part of Daily's API that a fact belongs to")
    config.addinivalue_line("markers", "takes(what): what the sandbox has, and a real domain has not")
    asked = config.getoption("--conformance", default=False)
    config.stash[REAL] = asked and "DAILY_API_KEY" in os.environ
    config.stash[LEARNT] = {}
    if config.stash[REAL] and not os.environ.get("DAILY_DOMAIN"):
        raise pytest.UsageError("DAILY_DOMAIN: the domain of DAILY_API_KEY, so that no other one is touched by mistake")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if (marker := item.get_closest_marker("section")) is not None:
            item.user_properties.append(("section", marker.args[0]))


@pytest.fixture(scope="session")
def _real_domain(request: pytest.FixtureRequest) -> Iterator[Domain]:
    with real_domain(os.environ) as domain:
        yield domain
        request.config.stash[LEARNT].update(domain.learnt)


@pytest.fixture
def domain(request: pytest.FixtureRequest) -> Iterator[Domain]:
    if request.config.stash[REAL]:
        for marker in request.node.iter_markers("takes"):
            pytest.skip(f"takes {marker.args[0]}")
        yield request.getfixturevalue("_real_domain")
        return
    sandbox: SandboxHandle = request.getfixturevalue("daily_sandbox")
    with httpx.Client(trust_env=False, verify=False) as client:
        domain = Domain(sandbox.api_url, sandbox.api_key, sandbox.domain, sandbox=sandbox, client=client)
        yield domain
        request.config.stash[LEARNT].update(domain.learnt)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics.create(CollectorRegistry())


@pytest.fixture(params=["fake", "daily"])
async def provider(
    request: pytest.FixtureRequest, domain: Domain, metrics: Metrics
) -> AsyncIterator[Provider | RealProvider]:
    if request.param == "fake":
        yield FakeProvider()
        return
    async with daily_at(domain.api_url, metrics, api_key=domain.api_key, domain=domain.name) as connector:
        if domain.sandbox is None:
            yield RealProvider(connector, domain)
        else:
            yield SandboxProvider(connector, domain.sandbox)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if not config.getoption("--conformance", default=False):
        return
    where = os.environ.get("DAILY_API_URL", "api.daily.co") if config.stash[REAL] else "the sandbox"
    terminalreporter.section(f"{where}: facts")
    for name, outcomes in sorted(_by_section(terminalreporter).items(), key=lambda one: float(one[0].split()[0])):
        told = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items())
        terminalreporter.write_line(f"{name}: {told}")
    terminalreporter.section(f"{where}: what was learnt about open points")
    for question, answer in config.stash[LEARNT].items():
        terminalreporter.write_line(f"{question}: {answer}")
    if not config.stash[REAL]:
        terminalreporter.write_line("(with DAILY_API_KEY and DAILY_DOMAIN the real Daily is asked)")


def _by_section(terminalreporter: pytest.TerminalReporter) -> dict[str, Counter[str]]:
    """How many facts of each section hold, do not, or could not be asked for."""
    found: dict[str, Counter[str]] = {}
    for outcome, words in (("passed", "hold"), ("failed", "do not"), ("error", "in error"), ("skipped", "skipped")):
        for report in terminalreporter.stats.get(outcome, []):
            for name, section in report.user_properties:
                if name == "section":
                    found.setdefault(section, Counter())[words] += 1
    return found
