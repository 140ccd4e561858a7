"""Hold a voice bot ready for one room: it starts when the first person comes and ends after the last has left.

The bot is any program (`--command`; a Pipecat process, say) that finds ROOM_URL and TOKEN in its environment. The
session ends with this program.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import signal
import sys
import uuid
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import trio
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    HandshakeError,
    WebSocketConnection,
    open_websocket_url,
)

STUB = shlex.join([sys.executable, str(Path(__file__).with_name("stub_bot.py"))])
CONNECT_S = 5.0
CREATE_TIMEOUT = httpx.Timeout(30.0, connect=CONNECT_S)
CREATE_TRIES = 5
RETRY_S = 1.0
SILENT_BEATS = 3  # as the service holds it with its listeners
FRAME_MAX_BYTES = 512 * 1024  # a snapshot's frame has at most 256 KiB
RESTART_S = 1.0
GOODBYE_S = 10.0


def say(text: str) -> None:
    print(text, flush=True)


class People:
    """Who is in the room beside the bot; tells when somebody is, and when nobody is any more."""

    def __init__(self, bot_user_id: str) -> None:
        self._bot_user_id = bot_user_id
        self._present: set[str] = set()
        self._changed = trio.Event()

    def reset(self, participants: list[dict[str, Any]]) -> None:
        self._set({who["id"] for who in participants if self._is_person(who)})

    def joined(self, who: dict[str, Any]) -> None:
        if self._is_person(who):
            self._set(self._present | {who["id"]})

    def left(self, who: dict[str, Any]) -> None:
        self._set(self._present - {who["id"]})

    async def wait(self, *, present: bool) -> None:
        while bool(self._present) is not present:
            await self._changed.wait()

    def _is_person(self, who: dict[str, Any]) -> bool:
        return bool(who["user_id"] != self._bot_user_id)

    def _set(self, present: set[str]) -> None:
        if present != self._present:
            self._present = present
            self._changed.set()
            self._changed = trio.Event()
            say(f"people in the room: {len(present)}")


class Follower:
    """Follows one session over any number of connections: nothing twice, nothing left out."""

    def __init__(self, options: argparse.Namespace, session_id: str, people: People) -> None:
        self._url = "ws" + options.url.removeprefix("http") + "/ws"
        self._headers = [(name.encode(), value.encode()) for name, value in headers(options).items()]
        self._session_id = session_id
        self._people = people
        self._position: dict[str, Any] = {}  # `after` and `epoch`: where the next connection goes on
        self._epoch = ""

    async def run(self) -> bool:
        """Follow until the session ends; False when the service refuses us."""
        while True:
            try:
                if await self._follow():
                    return True
            except ConnectionRejected as exc:
                if exc.status_code < 500:
                    say(f"the service refuses us: {exc.status_code} {exc.body!r}")
                    return False
                say(f"the service is not to be had: {exc.status_code}")
            except ConnectionClosed as exc:
                say(f"the connection has ended: {exc.reason.code if exc.reason else 1006}")
            except (HandshakeError, trio.TooSlowError) as exc:
                say(f"no connection: {exc.__cause__ or type(exc).__name__}")
            await trio.sleep(RETRY_S)

    async def _follow(self) -> bool:
        # With both, `after` wins where it can be honoured; otherwise a gap and a snapshot tell how things stand.
        query = httpx.QueryParams({"session_id": self._session_id, "snapshot": "true", **self._position})
        async with open_websocket_url(
            f"{self._url}?{query}",
            extra_headers=self._headers,
            max_message_size=FRAME_MAX_BYTES,
            connect_timeout=CONNECT_S,
            disconnect_timeout=1,
        ) as socket:
            return await self._read(socket)

    async def _read(self, socket: WebSocketConnection) -> bool:
        """Read until the connection ends or, then True, the session does."""
        silence_s = CONNECT_S
        while True:
            with trio.fail_after(silence_s):
                message = json.loads(await socket.get_message())
            match message["type"]:
                case "welcome":
                    if self._position:
                        say(f"going on after event {self._position['after']}")
                    self._epoch, silence_s = message["epoch"], SILENT_BEATS * message["heartbeat_s"] + 1
                case "gap":
                    self._position = {}
                case "snapshot":
                    mine = [one for one in message["sessions"] if one["session_id"] == self._session_id]
                    if not mine:
                        return True  # only what has ended is absent
                    say("following the session")
                    self._people.reset(mine[0]["participants"])
                case "participant_joined":
                    self._people.joined(message["participant"])
                case "participant_left":
                    self._people.left(message["participant"])
                case "session_ended":
                    say(f"the session has ended: {message['reason']}")
                    return True
            if "id" in message or message["type"] == "snapshot":
                after = message.get("id", message.get("last_event_id"))
                self._position = {"after": after, "epoch": self._epoch}


async def keep_bot(options: argparse.Namespace, session: dict[str, Any], people: People) -> None:
    """Have a bot in the room whenever people are; cancelled, it ends the bot first."""
    # In the environment, not among the arguments: those are for every user of the machine to see.
    environ = {**os.environ, "ROOM_URL": session["room_url"], "TOKEN": session["meeting_token"]}
    while True:
        await people.wait(present=True)
        say("starting the bot")
        async with trio.open_nursery() as nursery:
            start = partial(trio.run_process, options.command, env=environ, check=False, stdin=None)
            nursery.start_soon(cancel_when_alone, people, nursery.cancel_scope)
            done = await start(deliver_cancel=partial(end_bot, kill_after_s=options.kill_after_s))
            say(f"the bot has ended by itself with code {done.returncode}")
            if done.returncode == 0:
                await people.wait(present=False)  # it chose to leave these people
            else:
                await trio.sleep(RESTART_S)
            nursery.cancel_scope.cancel(reason="the bot has ended")


async def cancel_when_alone(people: People, bot: trio.CancelScope) -> None:
    await people.wait(present=False)
    bot.cancel(reason="the last person has left")


async def end_bot(process: trio.Process, *, kill_after_s: float) -> None:
    """What trio.run_process does with the bot when it is cancelled."""
    say("ending the bot")
    process.terminate()
    await trio.sleep(kill_after_s)  # cancelled as soon as the bot is gone
    say("the bot did not listen: killing it")
    process.kill()


def headers(options: argparse.Namespace) -> dict[str, str]:
    return {"Authorization": f"Bearer {options.api_key}"} if options.api_key else {}


async def create_session(client: httpx.AsyncClient, options: argparse.Namespace) -> dict[str, Any] | None:
    """The new session, or None when there was none to be had."""
    request = {
        "provider": "daily",
        # Public: people come by the bare link. In a private room each of them needs a token of their own.
        "room_config": {"privacy": "Public"},
        "participant_config": {"name": "bot", "user_id": options.user_id, "is_owner": True},
        # The first person may come late: the bot's token has to last as long as the session.
        "options": {"session_ttl_s": options.ttl_s, "token_ttl_s": options.ttl_s},
    }
    # The key makes a repeat safe when the answer was lost: it finds the session that the first request made.
    key = {"Idempotency-Key": str(uuid.uuid4())}
    for _ in range(CREATE_TRIES):
        try:
            with trio.CancelScope(shield=True):  # told to stop now, we would leave a session that nobody ends
                answer = await client.post("/sessions", json=request, headers=key, timeout=CREATE_TIMEOUT)
        except httpx.TransportError as exc:
            say(f"{options.url} is not to be had: {exc or type(exc).__name__}")
        else:
            if answer.status_code == 201:
                session: dict[str, Any] = answer.json()
                return session
            say(f"no session: {answer.status_code} {answer.text}")
            if answer.status_code < 500 and answer.status_code not in (409, 429):
                return None
        await trio.sleep(RETRY_S)
    return None


async def end_session(client: httpx.AsyncClient, session_id: str) -> None:
    with trio.move_on_after(GOODBYE_S, shield=True) as bound:
        try:
            answer = await client.delete(f"/sessions/{session_id}")
        except httpx.TransportError as exc:
            say(f"the session ends at its expiry: {exc or type(exc).__name__}")
        else:
            say("the session is over" if answer.is_success else f"the session stays: {answer.text}")
    if bound.cancelled_caught:
        say("the session ends at its expiry: no answer")


async def run(options: argparse.Namespace) -> int:
    code = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(cancel_on_signal, nursery.cancel_scope)
        # A proxy of the environment knows nothing of this machine's own addresses.
        async with httpx.AsyncClient(base_url=options.url, headers=headers(options), trust_env=False) as client:
            session = await create_session(client, options)
            if session is None:
                code = 1
            else:
                try:
                    say(f"room for people: {session['room_url']}")
                    code = 0 if await attend(options, session) else 1
                finally:
                    await end_session(client, session["session_id"])
        nursery.cancel_scope.cancel(reason="the session is over")
    return code


async def attend(options: argparse.Namespace, session: dict[str, Any]) -> bool:
    """Run the bot as long as the session lives; False when the service refuses us."""
    people = People(options.user_id)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_bot, options, session, people)
        followed = await Follower(options, session["session_id"], people).run()
        nursery.cancel_scope.cancel(reason="the session has ended")
    return followed


async def cancel_on_signal(scope: trio.CancelScope) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            scope.cancel(reason="we were told to stop")


def command(text: str) -> list[str]:
    words = shlex.split(text)
    if not words or shutil.which(words[0]) is None:
        raise argparse.ArgumentTypeError(f"{text!r} starts with no program that can be found")
    return words


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Create a session and run a bot in its room whenever people are there.",
        epilog='Example: python examples/bot_runner.py --command "python my_pipecat_bot.py"',
    )
    environ = os.environ.get
    default_url = environ("TRANSPORT_TRIO_URL") or "http://127.0.0.1:8084"
    parser.add_argument("--url", default=default_url, help="of the service; TRANSPORT_TRIO_URL (%(default)s)")
    parser.add_argument("--api-key", default=environ("TRANSPORT_TRIO_API_KEY"), help="rather TRANSPORT_TRIO_API_KEY")
    parser.add_argument("--command", type=command, default=STUB, help="the bot; default: a stub that only waits")
    parser.add_argument("--user-id", default=f"bot-{uuid.uuid4().hex[:12]}", help="tells the bot from people")
    parser.add_argument("--ttl-s", type=int, default=14400, help="length of the session (%(default)s)")
    parser.add_argument("--kill-after-s", type=float, default=10.0, help="grace after SIGTERM (%(default)s)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(trio.run(run, parse(sys.argv[1:])))
