"""Have promtool judge the metrics of a running service that has seen some traffic.

Starts `transport-trio serve --sandbox` on a free port and a temporary folder. Exit code 0: promtool has nothing to say.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import trio
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from trio_websocket import open_websocket_url

START_S = 60.0
TRAFFIC_S = 60.0
STOP_S = 20.0
POLL_S = "0.3"
OPENMETRICS = "application/openmetrics-text; version=1.0.0"
PROMISED = {"active_sessions", "registered_connectors", "pending_messages", "delivered_messages_total"}


class Fault(Exception):
    """What a person has to look at, in one message."""


@contextmanager
def service(folder: Path) -> Iterator[str]:
    """The address of a service that runs during the block, with people coming and going."""
    environ = {
        **{name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG", "VIRTUAL_ENV"}},
        "PORT": "0",
        "NATS_PORT": "0",
        "DATA_DIR": str(folder / "data"),
        "LOG_FORMAT": "json",
        "PRESENCE_POLL_S": POLL_S,
    }
    log_path = folder / "service.log"
    with log_path.open("w") as log:
        command = [sys.executable, "-m", "transport_trio", "serve", "--sandbox"]
        process = subprocess.Popen(command, env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield trio.run(_address, process, log_path)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


async def _address(process: subprocess.Popen[bytes], log_path: Path) -> str:
    with trio.move_on_after(START_S):
        while process.poll() is None:
            for line in log_path.read_text().splitlines():  # noqa: ASYNC240 -- a few lines on the local disk
                if line.startswith("{") and json.loads(line)["event"] == "service started":
                    return str(json.loads(line)["url"])
            await trio.sleep(0.05)
    raise Fault("the service did not start; it said:\n" + log_path.read_text())  # noqa: ASYNC240 -- as above


async def make_traffic(url: str) -> str:
    """A session from its creation over somebody's joining to its end, with a listener, and a few refusals; its id."""
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=TRAFFIC_S) as client:
        with trio.fail_after(TRAFFIC_S):
            async with open_websocket_url("ws" + url.removeprefix("http") + "/ws") as socket:
                created = await client.post("/sessions", json={"provider": "daily"})
                if created.status_code != 201:
                    raise Fault(f"no session could be created: {created.status_code} {created.text}")
                await _until(socket, "participant_joined")
                await client.post("/sessions", json={"provider": "nobody"})
                await client.get("/sessions/none")
                await client.get("/no-such-path")
                await client.delete(created.headers["Location"])
                await _until(socket, "session_ended")
    return str(created.json()["session_id"])


async def _until(socket: Any, kind: str) -> None:
    while json.loads(await socket.get_message())["type"] != kind:
        pass


async def fetch_metrics(url: str) -> tuple[str, str]:
    """The text form and the OpenMetrics form.

    Raises:
        Fault: one of them is not what was asked for.
    """
    bodies = []
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=TRAFFIC_S) as client:
        for accept, kind in (("*/*", "text/plain"), (OPENMETRICS, "application/openmetrics-text")):
            answer = await client.get("/metrics", headers={"Accept": accept})
            found = answer.headers.get("Content-Type", "")
            if answer.status_code != 200 or not found.startswith(kind):
                raise Fault(f"asked for {kind}, got {answer.status_code} {found}")
            bodies.append(answer.text)
    return bodies[0], bodies[1]


def judge(promtool: str, text: str, openmetrics: str, session_id: str) -> None:
    """Raises Fault with what promtool, or the rules of our contract, find."""
    verdict = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    findings = (verdict.stdout + verdict.stderr).strip()
    if verdict.returncode != 0 or findings:
        raise Fault(f"promtool has something to say:\n{findings}")
    try:
        families = list(text_string_to_metric_families(openmetrics))  # type: ignore[no-untyped-call]
    except ValueError as exc:
        raise Fault(f"the OpenMetrics form cannot be read: {exc}") from exc
    if missing := PROMISED - {sample.name for family in families for sample in family.samples}:
        raise Fault(f"not among the metrics: {', '.join(sorted(missing))}")
    if session_id in text:
        raise Fault("a label carries the id of a session")


def main() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        raise Fault("promtool is not installed; on Debian: apt-get install prometheus")
    with tempfile.TemporaryDirectory() as folder, service(Path(folder)) as url:
        session_id = trio.run(make_traffic, url)
        text, openmetrics = trio.run(fetch_metrics, url)
    judge(promtool, text, openmetrics, session_id)
    families = sum(line.startswith("# TYPE ") for line in text.splitlines())
    print(f"promtool finds nothing to say of {families} metrics")


if __name__ == "__main__":
    try:
        main()
    except Fault as fault:
        sys.exit(str(fault))
