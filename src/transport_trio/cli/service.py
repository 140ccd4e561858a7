"""The service as `serve` runs it: the runtime, with the sandbox behind it where that is wanted."""

from __future__ import annotations

import logging
import sys
from functools import partial

import click
import trio

from transport_trio.cli.banner import banner, program_name
from transport_trio.runtime import Ready, run
from transport_trio.sandbox import SandboxConfig, serve_sandbox
from transport_trio.setting_connectors import DAILY
from transport_trio.settings import Settings


def run_service(settings: Settings, *, sandbox: bool, new_epoch: bool) -> None:
    """Run until a signal stops the service; raises what `transport_trio.runtime.run` does, perhaps in a group."""
    trio.run(_with_sandbox if sandbox else _alone, settings, new_epoch)


async def _alone(settings: Settings, new_epoch: bool) -> None:
    # In a container the log line of the start says the same, in the log's own format.
    show = partial(_show, settings, None) if sys.stdout.isatty() else _say_nothing
    await run(settings, new_epoch=new_epoch, on_ready=show)


async def _with_sandbox(settings: Settings, new_epoch: bool) -> None:
    # The banner says where it is; its own lines would come first and mislead.
    logging.getLogger("transport_trio.sandbox").setLevel(logging.WARNING)
    first, *further = map(sandbox_domain, settings.daily_connectors)
    config = SandboxConfig(people=True, domain=first, api_key=first, further_domains={each: each for each in further})
    async with trio.open_nursery() as nursery:
        url = await nursery.start(serve_sandbox, config)
        settings = at_sandbox(settings, url)
        await run(settings, new_epoch=new_epoch, on_ready=partial(_show, settings, url))
        nursery.cancel_scope.cancel(reason="the service has stopped")


def sandbox_domain(connector: str) -> str:
    """The domain, and its key, that the sandbox is for this connector."""
    return f"sandbox{connector.removeprefix(DAILY)}"


def at_sandbox(settings: Settings, url: str) -> Settings:
    """The settings with every connector at its domain of the sandbox, whatever they named before."""
    for connector in settings.daily_connectors:
        settings = settings.having(
            connector,
            daily_api_key=sandbox_domain(connector),
            daily_domain=sandbox_domain(connector),
            daily_api_url=f"{url}/v1",
            daily_webhook_url=settings.of(connector).daily_webhook_url or "self",
        )
    return settings


def _show(settings: Settings, sandbox_url: str | None, ready: Ready) -> None:
    click.echo()  # sets it apart from the log lines around it
    click.echo(
        banner(
            url=ready.url,
            needs_key=bool(settings.api_keys),
            nats_url=ready.nats_url,
            sandbox_url=sandbox_url,
            program=program_name(sys.argv),
            provider=settings.daily_connectors[0],
        )
    )


def _say_nothing(_ready: Ready) -> None:
    """Nobody is there to read it."""
