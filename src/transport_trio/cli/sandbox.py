"""`transport-trio sandbox`: the stand-in for Daily, alone, for tests of anything that talks to Daily."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import AsyncIterator
from typing import Any

import click
import trio

from transport_trio import logs
from transport_trio.cli.failures import readable
from transport_trio.sandbox.config import SandboxConfig
from transport_trio.sandbox.faults import Fault, fault_from
from transport_trio.sandbox.server import serve_sandbox

DEFAULT_NAME = "sandbox"
FAULT_EXAMPLE = 'give one like {"kind": "error", "chance": 0.1}'
BANNER = """\
Daily sandbox at {url}/v1 for the domain {domain!r}

  a room     curl -X POST {url}/v1/rooms -H "Authorization: Bearer {key}" -H 'Content-Type: application/json' -d '{{}}'
  control    curl {url}/sandbox
{further}
Everything is in memory and gone when it stops. Ctrl-C stops it.
"""


class FaultParam(click.ParamType[Fault]):
    """A fault as the control API takes it."""

    name = "JSON"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Fault:
        try:
            given = json.loads(value)
            fault = fault_from(given) if isinstance(given, dict) else None
        except ValueError as exc:
            self.fail(f"{exc}; {FAULT_EXAMPLE}", param, ctx)
        if fault is None:
            self.fail(f"a fault is a JSON object; {FAULT_EXAMPLE}", param, ctx)
        return fault


class FurtherDomain(click.ParamType[tuple[str, str]]):
    """A domain's name and key."""

    name = "DOMAIN[=KEY]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        domain, _, key = str(value).partition("=")
        if not re.fullmatch(r"[A-Za-z0-9-]+", domain):
            self.fail(f"{domain!r} is no domain's name; give one like my-team-eu", param, ctx)
        return domain, key or domain


@click.command(
    epilog="""\b
    Examples:
      transport-trio sandbox --people
      transport-trio sandbox --further-domain sandbox-eu
      transport-trio sandbox --lag-s 15 --ghost-s 20 --seed 1
      transport-trio sandbox --fault '{"kind": "lost_response", "operation": "create_room", "chance": 0.1}'
    """
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8085, show_default=True, help="0 picks a free one.")
@click.option(
    "--api-key",
    default=DEFAULT_NAME,
    show_default=True,
    envvar="DAILY_API_KEY",
    show_envvar=True,
    help="The key to accept.",
)
@click.option(
    "--domain",
    default=DEFAULT_NAME,
    show_default=True,
    envvar="DAILY_DOMAIN",
    show_envvar=True,
    help="The domain to be.",
)
@click.option(
    "--further-domain",
    "further_domains",
    type=FurtherDomain(),
    multiple=True,
    help="A domain to be besides, with rooms, limits and webhooks of its own; its key is its name, or DOMAIN=KEY."
    " May be repeated.",
)
@click.option("--people/--no-people", default=False, help="Whether people come and go by themselves.  [no]")
@click.option(
    "--rate-limits/--no-rate-limits", default=True, help="Whether to refuse with 429 past Daily's limits.  [yes]"
)
@click.option(
    "--lag-s",
    "presence_lag_s",
    type=click.FloatRange(0),
    default=0.0,
    help="How late presence shows joins and leaves.  [0]",
)
@click.option(
    "--ghost-s", type=click.FloatRange(0), default=0.0, help="How long presence shows who has rejoined twice.  [0]"
)
@click.option(
    "--free-plan/--paid-plan", default=False, help="Whether to refuse what Daily wants to be paid for.  [paid]"
)
@click.option("--seed", type=int, help="Makes ids, names, people and faults repeatable.")
@click.option("--fault", "faults", type=FaultParam(), multiple=True, help="Something that goes wrong; may be repeated.")
def sandbox(**options: Any) -> int:
    """Run the Daily sandbox alone, under /v1 like the real one, until SIGTERM or Ctrl-C."""
    logs.configure("warning", None)
    config = _config(**options)
    try:
        return trio.run(_serve_until_signal, config)
    except Exception as exc:
        failure = readable(exc, address=f"{config.host}:{config.port}")
        if failure is None:
            raise
        raise failure from exc


def _config(*, further_domains: tuple[tuple[str, str], ...], **options: Any) -> SandboxConfig:
    if len(dict(further_domains)) < len(further_domains):
        raise click.BadParameter("a domain is there twice", param_hint="--further-domain")
    try:
        return SandboxConfig(**options, further_domains=dict(further_domains))
    except ValueError as exc:
        raise click.BadParameter(str(exc), param_hint="--further-domain") from exc


async def _serve_until_signal(config: SandboxConfig) -> int:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            async with trio.open_nursery() as server:
                nursery.start_soon(_stop_on_signal, signals, server.cancel_scope)
                url = await server.start(serve_sandbox, config)
                key = config.api_key if config.api_key == DEFAULT_NAME else "$DAILY_API_KEY"
                click.echo(BANNER.format(url=url, domain=config.domain, key=key, further=_further(config)))
            nursery.cancel_scope.cancel(reason="the sandbox has stopped")
    return 0


def _further(config: SandboxConfig) -> str:
    return "".join(
        f"  besides    the domain {domain!r}, its control at /sandbox/domains/{domain}\n"
        for domain in config.further_domains
    )


async def _stop_on_signal(signals: AsyncIterator[int], server: trio.CancelScope) -> None:
    async for number in signals:
        if server.cancel_called:
            os._exit(128 + number)  # a peer that reads nothing can hold the stop in order
        server.cancel(reason="signal")
