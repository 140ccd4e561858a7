"""The command line's front door: which commands there are, and how each way of ending becomes an exit code.

Exit codes (docs/adr/0060): 0 done, 1 failed, 2 wrong usage or settings, 130 interrupted. `serve` and `sandbox` end
with 0 when a signal stops them in order: being stopped is how a server finishes its work.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

import click

from transport_trio import __version__

INTERRUPTED = 130  # what a shell gives for a command that SIGINT ended

# The summaries stand here so that `--help` loads no command, and with it no Trio and no HTTP client.
COMMANDS = {
    "serve": "Run the service.",
    "sandbox": "Run the Daily sandbox alone.",
    "watch": "Follow the events of a running service.",
    "sessions": "Create, list, show, extend and end sessions of a running service.",
    "participants": "See who is in a session's room, put people out, change what they may do, send them messages.",
    "recordings": "Record a session's call; see, fetch and delete what there is of it.",
    "orphans": "See which rooms of the service have no session, and have them deleted.",
    "live-streams": "Stream a session's call to an RTMP server; see which do, stop them.",
    "transcripts": "Have what is said in a session's call written down; see, fetch and delete what there is of it.",
    "tokens": "Create, list and renew the meeting tokens of a session.",
}


class _PipeClosed(Exception):
    """Nobody reads our output any more. Click would make an exit code 1 of the plain BrokenPipeError."""


class LazyGroup(click.Group):
    """A group whose commands live in modules of their own names, loaded when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = cmd_name.replace("-", "_")
        command = getattr(import_module(f"transport_trio.cli.{module}"), module)
        assert isinstance(command, click.Command)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as exc:
            raise _PipeClosed from exc

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Try it without an account: transport-trio serve --sandbox",
)
@click.version_option(__version__, prog_name="transport-trio", message="%(prog)s %(version)s")
def cli() -> None:
    """Sessions in WebRTC rooms over REST, their events over WebSocket and NATS JetStream."""


def main(args: list[str] | None = None) -> None:
    """Run the command that `args` (default: the process's own) names, and exit with its code."""
    for stream in (sys.stdout, sys.stderr):
        # A name that the terminal's encoding lacks must not end a follower.
        getattr(stream, "reconfigure", lambda **_: None)(errors="backslashreplace")
    sys.exit(run(cli, args))


def run(command: click.Command, args: list[str] | None) -> int:
    """Run a command and give its exit code; bugs come out as they are."""
    try:
        result: Any = command.main(args, prog_name="transport-trio", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as exc:
        exc.show()
        return exc.exit_code
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except BaseExceptionGroup as group:  # Ctrl-C inside a nursery
        if group.split(KeyboardInterrupt)[1] is not None:
            raise
        return INTERRUPTED
    except (_PipeClosed, BrokenPipeError):
        # The reader of our pipe has had enough (`watch --json | head`): that is success. What is still buffered
        # goes nowhere, or Python would complain about the pipe once more at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return result if isinstance(result, int) else 0
