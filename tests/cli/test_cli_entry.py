"""The front door: help, version, exit codes, and how quickly all that comes."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from transport_trio import __version__
from transport_trio.cli.entry import COMMANDS, INTERRUPTED, cli, run
from transport_trio.settings import TABLE, describe


def command_paths(command: click.Command, *path: str) -> Iterator[tuple[str, ...]]:
    yield path
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            inner = command.get_command(click.Context(command), name)
            assert inner is not None
            yield from command_paths(inner, *path, name)


PATHS = list(command_paths(cli))


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
def test_every_command_has_help_with_an_example_that_it_understands(path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(cli, [*path, "--help"])
    assert result.exit_code == 0
    shown = [line for line in result.output.splitlines() if "transport-trio " in line and "Usage:" not in line]
    assert any(" ".join(("transport-trio", *path)).strip() in line for line in shown), result.output


def test_summaries_in_the_list_are_those_of_the_commands() -> None:
    for name, summary in COMMANDS.items():
        module = name.replace("-", "_")
        command = getattr(importlib.import_module(f"transport_trio.cli.{module}"), module)
        first = (command.help or "").splitlines()[0]
        assert first.rstrip(".").startswith(summary.rstrip(".").split(" until")[0]), f"{name}: {first}"


def test_help_loads_neither_trio_nor_a_http_client() -> None:
    code = (
        "import sys; from transport_trio.cli import entry; entry.run(entry.cli, ['--help']); "
        "sys.exit(','.join({'trio', 'httpx', 'quart', 'attrs'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=30)
    assert done.stderr.strip() == ""
    assert "watch" in done.stdout


def test_serve_help_lists_every_setting_with_its_default() -> None:
    output = " ".join(CliRunner().invoke(cli, ["serve", "--help"]).output.split())
    rows = describe()
    assert len(rows) == len(TABLE)
    for name, default, _ in rows:
        assert name in output
        assert f"[{default or 'unset'}]" in output


def test_version(run_command) -> None:
    done = run_command("--version")
    assert (done.returncode, done.stdout) == (0, f"transport-trio {__version__}\n")


def test_wrong_usage_is_one_line_and_code_2(run_command) -> None:
    done = run_command("serve", "--sandbx")
    assert done.returncode == 2
    assert "No such option" in done.stderr
    assert "--sandbox" in done.stderr
    assert run_command("srve").returncode == 2


def test_no_command_shows_the_help(run_command) -> None:
    done = run_command()
    assert "sandbox" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "interrupt",
    [
        KeyboardInterrupt(),
        click.Abort(),
        BaseExceptionGroup("nursery", [KeyboardInterrupt(), BaseExceptionGroup("inner", [KeyboardInterrupt()])]),
    ],
    ids=["plain", "prompt", "nursery"],
)
def test_an_interrupt_gives_130(interrupt: BaseException) -> None:
    @click.command()
    def interrupted() -> None:
        raise interrupt

    assert run(interrupted, []) == INTERRUPTED


def test_a_bug_beside_an_interrupt_is_not_swallowed() -> None:
    @click.command()
    def buggy() -> None:
        raise BaseExceptionGroup("nursery", [KeyboardInterrupt(), TypeError("a bug")])

    with pytest.raises(BaseExceptionGroup):
        run(buggy, [])


def test_a_closed_pipe_is_success_without_a_word(clean_environ: dict[str, str]) -> None:
    """`transport-trio serve --help | head -1` ends well."""
    shell = f"set -o pipefail; {sys.executable} -m transport_trio serve --help | head -1"
    done = subprocess.run(
        ["bash", "-c", shell], capture_output=True, text=True, check=False, env=clean_environ, timeout=30
    )
    assert done.returncode == 0
    assert done.stderr == ""


def test_a_name_that_the_terminal_cannot_show_does_not_end_a_command(run_command, scripted) -> None:
    scripted.answer = (200, {"session_id": "s", "participants": [{"id": "p", "name": "\u2603"}]})
    done = run_command("sessions", "show", "s", "--url", scripted.url, PYTHONIOENCODING="latin-1")
    assert done.returncode == 0
    assert "\\u2603, since" in done.stdout
