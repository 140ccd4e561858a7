"""`transport-trio serve`: the service."""

from __future__ import annotations

import os
import signal
from types import FrameType

import click

from transport_trio import logs
from transport_trio.cli.failures import SettingsFailure, readable
from transport_trio.errors import SettingsError
from transport_trio.setting_connectors import DAILY
from transport_trio.settings import Settings, describe

WITHOUT_ACCOUNT = (
    "{missing} not set: give DAILY_API_KEY and DAILY_DOMAIN of your Daily account, "
    "or run `transport-trio serve --sandbox`, which needs none"
)
WITHOUT_DOMAIN = "{missing} not set: each connector that DAILY_CONNECTORS names needs key and domain of its own"

# The sandbox forgets at its end and its people stay for seconds: a folder of its own, and a livelier beat.
SANDBOX_DEFAULTS = {
    "NATS_URL": "embedded",
    "DATA_DIR": "data/sandbox",
    "PRESENCE_POLL_S": "2",
    "PRESENCE_CONFIRM_S": "4",
}


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
      DAILY_CONNECTORS=daily,daily-eu DAILY_API_KEY=... DAILY_DOMAIN=my-team \\
        DAILY_EU_API_KEY=... DAILY_EU_DOMAIN=my-team-eu transport-trio serve
    """,
)
@click.option("--sandbox", is_flag=True, help="Use the built-in Daily sandbox: people come and go, no account needed.")
@click.option("--new-epoch", is_flag=True, help="Begin a new epoch of event ids; for a journal restored from a backup.")
def serve(sandbox: bool, new_epoch: bool) -> None:
    """Run the service until SIGTERM or Ctrl-C; a second signal ends it at once.

    A stop in order ends with exit code 0, a wrong setting with 2, anything else that hinders the service with 1.

    With --sandbox the defaults are NATS_URL=embedded, DATA_DIR=data/sandbox, and quick looks into the rooms.
    """
    # As the first process of a container we are deaf to SIGTERM until somebody handles it; the runtime does so later.
    signal.signal(signal.SIGTERM, _stop_before_start)
    settings = _settings(sandbox=sandbox)
    logs.configure(settings.log_level, settings.log_format)
    try:
        # Loaded after the settings are known to be right: a typing error is answered at once.
        from transport_trio.cli.service import run_service

        run_service(settings, sandbox=sandbox, new_epoch=new_epoch)
    except Exception as exc:
        failure = readable(exc)
        if failure is None:
            raise
        raise failure from exc


def _settings(*, sandbox: bool) -> Settings:
    defaults = SANDBOX_DEFAULTS if sandbox else {}
    try:
        # An empty variable counts as unset, so it takes no default away.
        settings = Settings.from_environ({**defaults, **{name: text for name, text in os.environ.items() if text}})
    except SettingsError as exc:
        raise SettingsFailure(str(exc)) from exc
    missing = settings.missing_variables()
    if missing and not sandbox:
        names = f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'}"
        text = WITHOUT_ACCOUNT if settings.daily_connectors == (DAILY,) else WITHOUT_DOMAIN
        raise SettingsFailure(text.format(missing=names))
    return settings


def _stop_before_start(signum: int, _frame: FrameType | None) -> None:
    os._exit(128 + signum)
