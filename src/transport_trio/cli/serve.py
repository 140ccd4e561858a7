"""`transport-trio serve`: the service."""

from __future__ import annotations

import os
import signal
from functools import partial
from types import FrameType
from typing import Any

import click

from transport_trio.cli.failures import SettingsFailure, readable
from transport_trio.errors import SettingsError
from transport_trio.settings import Settings, describe

WITHOUT_ACCOUNT = (
    "{missing} not set: give DAILY_API_KEY and DAILY_DOMAIN of your Daily account, "
    "or run `transport-trio serve --sandbox`, which needs none"
)


class ServeCommand(click.Command):
    """Its help ends with every setting of the environment."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Settings, from the environment"):
            formatter.write_dl(
                [(name, f"{meaning}  [{default or 'unset'}]") for name, default, meaning in describe()],
                col_max=26,
            )
        super().format_epilog(ctx, formatter)


@click.command(
    cls=ServeCommand,
    epilog="""\b
    Examples:
      transport-trio serve --sandbox
      DAILY_API_KEY=... DAILY_DOMAIN=my-team NATS_URL=nats://127.0.0.1:4222 transport-trio serve
    """,
)
@click.option("--sandbox", is_flag=True, help="Use the built-in Daily sandbox: people come and go, no account needed.")
@click.option("--new-epoch", is_flag=True, help="Begin a new epoch of event ids; for a journal restored from a backup.")
def serve(sandbox: bool, new_epoch: bool) -> None:
    """Run the service until SIGTERM or Ctrl-C; a second signal ends it at once.

    A stop in order ends with exit code 0, a wrong setting with 2, anything else that hinders the service with 1.
    """
    # As the first process of a container we would not hear SIGTERM before the service listens for it.
    signal.signal(signal.SIGTERM, _stop_before_start)
    settings = _settings(sandbox=sandbox)

    import trio

    from transport_trio.runtime import run

    try:
        trio.run(partial(run, settings, sandbox=sandbox, new_epoch=new_epoch))
    except Exception as exc:
        failure = readable(exc, address=f"{settings.host}:{settings.port}")
        if failure is None:
            raise
        raise failure from exc


def _settings(*, sandbox: bool) -> Settings:
    try:
        settings = Settings.from_environ(os.environ)
    except SettingsError as exc:
        raise SettingsFailure(str(exc)) from exc
    missing = [name for name in ("daily_api_key", "daily_domain") if getattr(settings, name) is None]
    if missing and not sandbox:
        names = " and ".join(name.upper() for name in missing)
        raise SettingsFailure(WITHOUT_ACCOUNT.format(missing=f"{names} {'is' if len(missing) == 1 else 'are'}"))
    return settings


def _stop_before_start(signum: int, _frame: FrameType | None) -> Any:
    os._exit(128 + signum)
