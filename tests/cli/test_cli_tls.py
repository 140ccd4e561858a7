"""Over https: what the system trusts is trusted, and what it does not is refused in words."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
import trio
from cli_children import ScriptedService, handler
from click.testing import CliRunner
from socket_service import SocketService, ended, says, welcome
from trio_websocket import serve_websocket

from identity import Identity
from transport_trio.cli.entry import cli
from transport_trio.cli.follow import Follower
from transport_trio.cli.position import Position
from transport_trio.cli.problems import ServiceFailure
from transport_trio.cli.target import Target
from transport_trio.web.secure import SPEAK_TLS


@pytest.fixture
def identity(tmp_path: Path) -> Identity:
    """A certificate for this machine that nobody trusts yet."""
    return Identity.new(tmp_path)


@pytest.fixture
def secure_service(identity: Identity) -> Iterator[ScriptedService]:
    service = ScriptedService(answer=(200, {"sessions": [], "total": 0}))
    service.go_on.set()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(service))
    server.socket = identity.context().wrap_socket(server.socket, server_side=True)
    service.url = f"https://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield service
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def scripted_tls_port() -> Iterator[str]:
    """What the service answers to those who speak no TLS where it does."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(SPEAK_TLS)

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        thread.join()


def test_sessions_trusts_what_the_system_trusts(
    secure_service: ScriptedService, identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["sessions", "list", "--url", secure_service.url]
    refused = CliRunner().invoke(cli, arguments)
    assert refused.exit_code == 1
    assert "not trusted here" in refused.stderr
    assert "SSL_CERT_FILE" in refused.stderr
    monkeypatch.setenv("SSL_CERT_FILE", str(identity.authority))
    assert CliRunner().invoke(cli, arguments).output == "no sessions\n"


def test_who_forgets_tls_is_told_so(scripted_tls_port: str) -> None:
    refused = CliRunner().invoke(cli, ["sessions", "list", "--url", scripted_tls_port])
    assert refused.exit_code == 1
    assert "give an address that begins with https://" in refused.stderr


async def test_watch_trusts_what_the_system_trusts(identity: Identity, monkeypatch: pytest.MonkeyPatch) -> None:
    service = SocketService([says(welcome(), ended(1))])
    told = trio.Event()
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            server = await nursery.start(serve_websocket, service.serve, "127.0.0.1", 0, identity.context())
            follower = Follower(
                target=Target(url=f"https://127.0.0.1:{server.port}"),
                position=Position(),
                tell=lambda message: told.set() if "id" in message else None,
                notice=lambda _: None,
            )
            with pytest.raises(ServiceFailure) as caught:
                await follower.run()
            assert "CERTIFICATE_VERIFY_FAILED" in caught.value.message
            monkeypatch.setenv("SSL_CERT_FILE", str(identity.authority))
            nursery.start_soon(follower.run)
            await told.wait()
            nursery.cancel_scope.cancel()
