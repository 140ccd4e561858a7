"""The bot runner has a bot in the room whenever people are there, and leaves neither bot nor session behind."""

from __future__ import annotations

import shlex
import signal
import sys
import textwrap
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import jwt
import pytest
from examples_support import OpenService, end_session, example, session_in

from service_process import Child, Service, child_process
from transport_trio.sandbox import SandboxHandle

BOT = "bot-of-the-test"
KEY = "key-of-the-test"

DEAF_BOT = """
    import os, signal, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("deaf bot", os.getpid(), flush=True)
    time.sleep(600)
"""
FALLING_BOT = """
    import pathlib, sys, time
    mark = pathlib.Path(sys.argv[1])
    if not mark.exists():
        mark.touch()
        sys.exit(3)
    print("second life", flush=True)
    time.sleep(600)
"""
POLITE_BOT = """
    print("goodbye already", flush=True)
"""
TELLING_BOT = """
    import os, time
    print("told", os.environ["ROOM_URL"], os.environ["TOKEN"], flush=True)
    time.sleep(600)
"""


def runner(service: Service, *args: str, **environ: str) -> AbstractAsyncContextManager[Child]:
    key = {"TRANSPORT_TRIO_API_KEY": service.api_key} if service.api_key else {}
    command = example("bot_runner.py", "--url", service.url, "--user-id", BOT, *args)
    return child_process(command, {**key, **environ})


def bot_command(tmp_path: Path, text: str, *args: str) -> str:
    path = tmp_path / "bot.py"
    path.write_text(textwrap.dedent(text))
    return shlex.join([sys.executable, str(path), *args])


async def room_of(bots: Child) -> str:
    return (await bots.line("room for people: ")).rpartition("/")[2]


async def test_bot_is_there_from_the_first_to_the_last_person(service: Service, daily_sandbox: SandboxHandle) -> None:
    async with runner(service) as bots:
        room = await room_of(bots)
        ada = daily_sandbox.join(room, "Ada", anonymous=True)
        await bots.line("bot: joined https://sandbox.daily.co/" + room)
        daily_sandbox.join(room, "bot", BOT)  # the stub only says so
        bob = daily_sandbox.join(room, "Bob", anonymous=True)
        await bots.line("people in the room: 2")
        daily_sandbox.leave(room, ada)
        await bots.line("people in the room: 1", start=_after(bots, "people in the room: 2"))
        assert "ending the bot" not in bots.lines
        daily_sandbox.leave(room, bob)
        await bots.line("bot: left")
        daily_sandbox.join(room, "Ada", anonymous=True)
        await bots.line("bot: joined", start=_after(bots, "bot: left"))
        assert await bots.stop() == 0
        assert bots.lines[-2:] == ["bot: left", "the session is over"]
    session = await session_in(service, room)
    assert (session["status"], session["end_reason"]) == ("Ended", "requested")


async def test_bot_does_not_count_as_a_person(service: Service, daily_sandbox: SandboxHandle) -> None:
    async with runner(service) as bots:
        room = await room_of(bots)
        daily_sandbox.join(room, "bot", BOT)
        ada = daily_sandbox.join(room, "Ada", anonymous=True)
        await bots.line("starting the bot")
        daily_sandbox.leave(room, ada)
        await bots.line("people in the room: 0")
        await bots.line("bot: left")
        assert "people in the room: 2" not in bots.lines
        assert await bots.stop(signal.SIGINT) == 0
    assert (await session_in(service, room))["status"] == "Ended"


async def test_bot_gets_a_token_of_its_own_for_the_length_of_the_session(
    service: Service, daily_sandbox: SandboxHandle, tmp_path: Path
) -> None:
    async with runner(service, "--command", bot_command(tmp_path, TELLING_BOT), "--ttl-s", "7200") as bots:
        room = await room_of(bots)
        daily_sandbox.join(room, "Ada", anonymous=True)
        _, room_url, token = (await bots.line("told ")).split()
        claims = jwt.decode(token, options={"verify_signature": False})
        session = await session_in(service, room)
        assert room_url == session["room_url"]
        assert (claims["r"], claims["u"], claims["ud"], claims["o"]) == (room, "bot", BOT, True)
        assert session["expires_at"] == session["session_expires_at"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_lost_service_is_come_back_to_and_what_happened_meanwhile_is_seen(
    open_service: OpenService, daily_sandbox: SandboxHandle, number: signal.Signals
) -> None:
    async with open_service() as service, runner(service) as bots:
        room = await room_of(bots)
        await bots.line("following the session")
        await service.stop(number)
        await bots.line("the connection has ended: " + ("1001" if number == signal.SIGTERM else "1006"))
        daily_sandbox.join(room, "Ada", anonymous=True)
        async with open_service(PORT=service.url.rpartition(":")[2]):
            await bots.line("going on after event ")
            await bots.line("bot: joined")
            daily_sandbox.leave(room)
            await bots.line("bot: left")
            assert await bots.stop() == 0


async def test_deaf_bot_is_killed(service: Service, daily_sandbox: SandboxHandle, tmp_path: Path) -> None:
    options = ["--command", bot_command(tmp_path, DEAF_BOT), "--kill-after-s", "0.2"]
    async with runner(service, *options) as bots:
        room = await room_of(bots)
        daily_sandbox.join(room, "Ada", anonymous=True)
        pid = (await bots.line("deaf bot ")).split()[2]
        daily_sandbox.leave(room)
        await bots.line("the bot did not listen: killing it")
        assert await bots.stop() == 0
        assert not _lives(pid)


async def test_crashed_bot_is_started_again(service: Service, daily_sandbox: SandboxHandle, tmp_path: Path) -> None:
    command = bot_command(tmp_path, FALLING_BOT, str(tmp_path / "mark"))
    async with runner(service, "--command", command) as bots:
        daily_sandbox.join(await room_of(bots), "Ada", anonymous=True)
        await bots.line("the bot has ended by itself with code 3")
        await bots.line("second life")


async def test_bot_that_left_on_purpose_waits_for_new_people(
    service: Service, daily_sandbox: SandboxHandle, tmp_path: Path
) -> None:
    async with runner(service, "--command", bot_command(tmp_path, POLITE_BOT)) as bots:
        room = await room_of(bots)
        daily_sandbox.join(room, "Ada", anonymous=True)
        await bots.line("the bot has ended by itself with code 0")
        daily_sandbox.leave(room)
        await bots.line("people in the room: 0")
        assert bots.lines.count("goodbye already") == 1
        daily_sandbox.join(room, "Bob", anonymous=True)
        await bots.line("goodbye already", start=_after(bots, "people in the room: 0"))


async def test_end_of_the_session_ends_bot_and_runner(service: Service, daily_sandbox: SandboxHandle) -> None:
    async with runner(service) as bots:
        room = await room_of(bots)
        daily_sandbox.join(room, "Ada", anonymous=True)
        await bots.line("bot: joined")
        await end_session(service, (await session_in(service, room))["session_id"])
        assert await bots.ended() == 0
        assert "the session has ended: requested" in bots.lines
        assert "bot: left" in bots.lines


async def test_key_is_brought_and_a_wrong_one_told(open_service: OpenService, daily_sandbox: SandboxHandle) -> None:
    async with open_service(api_key=KEY) as service:
        async with runner(service) as bots:
            daily_sandbox.join(await room_of(bots), "Ada", anonymous=True)
            await bots.line("bot: joined")
            assert await bots.stop() == 0
        async with runner(service, "--api-key", "wrong-key") as bots:
            assert await bots.ended() == 1
            assert "no session: 401" in bots.lines[0]
        assert KEY not in "\n".join(service.child.lines)


async def test_command_that_does_not_exist_is_told_before_anything_is_created() -> None:
    async with child_process(example("bot_runner.py", "--command", "no-such-program --now")) as bots:
        await bots.line("'no-such-program --now' starts with no program that can be found")
        assert await bots.ended() == 2


def _lives(pid: str) -> bool:
    return Path("/proc", pid).exists()


def _after(child: Child, line: str) -> int:
    return len(child.lines) - child.lines[::-1].index(line)
