"""The servers that are compared: how each is started and published to, and how its listeners talk to it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from harness import SERVER_CORE, end

HERE = Path(__file__).parent
PEERS = HERE / "peers"
EVENT_BYTES = 153
START_S = 20.0


@attrs.frozen
class Server:
    """How to start a server, and how its listeners talk to it."""

    command: Callable[[int, Path], list[str]]
    path: str = "/"
    first_message: str = ""
    mark: str = ""
    prepare: Callable[[], None] = lambda: None  # raises SystemExit where something that it needs cannot be had
    publish: Callable[[subprocess.Popen[bytes], int, int], None] = lambda process, port, count: _by_line(process, count)


def _by_line(process: subprocess.Popen[bytes], count: int) -> None:
    assert process.stdin is not None
    process.stdin.write(b"%d\n" % count)
    process.stdin.flush()


def _text() -> str:
    return "~" + "x" * (EVENT_BYTES - 1)


def _node(script: str) -> Callable[[int, Path], list[str]]:
    def command(port: int, folder: Path) -> list[str]:
        return ["node", str(PEERS / script), str(port), _text()]

    return command


def _bun(port: int, folder: Path) -> list[str]:
    program = next(PEERS.glob("node_modules/@oven/bun-*/bin/bun"))  # the one that npm has found fit for this machine
    return [str(program), str(PEERS / "bun_server.mjs"), str(port), _text()]


def _install_from_npm() -> None:
    if shutil.which("npm") is None:
        raise SystemExit("Node.js and npm are needed for this server (Debian: nodejs npm)")
    lock, installed = PEERS / "package-lock.json", PEERS / "node_modules" / "installed.json"
    if not installed.exists() or installed.read_bytes() != lock.read_bytes():
        print("installing the servers from npm", file=sys.stderr)
        subprocess.run(["npm", "ci", "--silent", "--ignore-scripts"], cwd=PEERS, check=True)
        shutil.copyfile(lock, installed)


def _nats(port: int, folder: Path) -> list[str]:
    config = folder / "nats.conf"
    config.write_text(
        f"listen: 127.0.0.1:{port + 1}\nmax_payload: 1MB\nwrite_deadline: 60s\n"
        f"websocket {{ listen: '127.0.0.1:{port}', no_tls: true }}\n"
    )
    return [str(Path(sys.executable).parent / "nats-server"), "-c", str(config)]


def _nats_publish(process: subprocess.Popen[bytes], port: int, count: int) -> None:
    with socket.create_connection(("127.0.0.1", port + 1)) as connection:
        text = _text().encode()
        message = b"PUB e %d\r\n%b\r\n" % (len(text), text)
        connection.sendall(b'CONNECT {"verbose":false}\r\n' + message * count + b"PING\r\n")
        received = b""
        while b"PONG" not in received:
            received += connection.recv(65536)


def _need_python_peers() -> None:
    if importlib.util.find_spec("uvicorn") is None or importlib.util.find_spec("picows") is None:
        raise SystemExit("uvicorn and picows are missing: `make .venv/.peers-installed`; --servers leaves them out")


def _python(script: str) -> Callable[[int, Path], list[str]]:
    return lambda port, _: [sys.executable, str(PEERS / script), str(port), _text()]


SERVERS = {
    "bare": Server(_python("bare_server.py")),
    "hub": Server(
        lambda port, _: [sys.executable, str(HERE / "hub_server.py"), str(port), str(EVENT_BYTES)], path="/ws"
    ),
    "uvicorn": Server(_python("starlette_server.py"), prepare=_need_python_peers),
    "picows": Server(_python("picows_server.py"), prepare=_need_python_peers),
    "nats": Server(_nats, first_message='b:CONNECT {"verbose":false}\r\nSUB e 1\r\n', mark="~", publish=_nats_publish),
    "bun": Server(_bun, prepare=_install_from_npm),
    "ws": Server(_node("ws_server.mjs"), prepare=_install_from_npm),
    "socket.io": Server(
        _node("socketio_server.mjs"),
        path="/socket.io/?EIO=4&transport=websocket",
        first_message="40",
        mark="~",
        prepare=_install_from_npm,
    ),
}

# Two ports: listeners come to the first, requests go to the second.
PLAIN = Server(_python("plain_server.py"))


@contextmanager
def running(server: Server) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The server as a process on its core, and its port."""
    with tempfile.TemporaryDirectory(prefix="transport-trio-bench-") as folder:
        port = _free_ports()
        environ = {**os.environ, "GOMAXPROCS": "1"}
        command = ["taskset", "-c", str(SERVER_CORE), *server.command(port, Path(folder))]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, env=environ)
        try:
            _wait_for(port, process)
            yield process, port
        finally:
            end(process)
            assert process.stdin is not None
            process.stdin.close()


def _free_ports() -> int:
    """A free port whose neighbour is free, too."""
    while True:
        with socket.socket() as one, socket.socket() as two:
            one.bind(("127.0.0.1", 0))
            port = int(one.getsockname()[1])
            try:
                two.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    give_up = time.monotonic() + START_S
    while time.monotonic() < give_up and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit(f"{process.args!r} did not start")
