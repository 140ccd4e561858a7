"""What TLS costs where it ends in the service, beside the same without.

    python benchmarks/tls.py
    python benchmarks/tls.py --listeners 100 1000 --json tls.json --plot tls.png

The hub with its connections (hub_server.py) has one core, its listeners the other. These are written in Python, and
slower than what they listen to; so only processor time of the server is told, and nothing of time that passes.
"""

from __future__ import annotations

import ssl
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from subprocess import Popen
from typing import Any

import trio
import trustme

from harness import LOAD_CORE, arguments, cpu_s, pin, plot, report, rss_bytes
from servers import EVENT_BYTES, HERE, Server, running

BURST = 100
SETTLE_S = 0.5
CONNECTING = 20  # at a time
FRAME_BYTES = EVENT_BYTES + 4
REQUEST = (
    b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


class Audience:
    """Listeners that count what they get."""

    def __init__(self, port: int, trusted: ssl.SSLContext | None) -> None:
        self._port = port
        self._trusted = trusted
        self._slots = trio.CapacityLimiter(CONNECTING)
        self.heard_bytes = 0
        self.connected = 0

    async def listen(self) -> None:
        plain = await trio.open_tcp_stream("127.0.0.1", self._port)
        stream: trio.abc.Stream = plain
        if self._trusted is not None:
            stream = trio.SSLStream(plain, self._trusted, server_hostname="127.0.0.1", https_compatible=True)
        async with self._slots:
            await stream.send_all(REQUEST)
            answer = b""
            while b"welcome" not in answer:
                answer += await stream.receive_some()
        self.connected += 1
        while data := await stream.receive_some(65536):
            self.heard_bytes += len(data)
        raise SystemExit("a listener was closed")

    @asynccontextmanager
    async def of(self, count: int) -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:
            for _ in range(count):
                nursery.start_soon(self.listen)
            while self.connected < count:  # noqa: ASYNC110 -- polling costs the server nothing
                await trio.sleep(0.01)
            await trio.sleep(SETTLE_S)
            yield
            nursery.cancel_scope.cancel()

    async def hear(self, messages: int) -> None:
        due = self.heard_bytes + messages * FRAME_BYTES
        with trio.fail_after(120):
            while self.heard_bytes < due:  # noqa: ASYNC110 -- as above
                await trio.sleep(0.002)


async def measure(
    server: Server, process: Popen[bytes], port: int, trusted: ssl.SSLContext | None, listeners: int
) -> dict[str, Any]:
    async with AsyncExitStack() as stack:
        first = Audience(port, trusted)
        await stack.enter_async_context(first.of(1))  # the first of everything is dearer
        before_bytes, before_s = rss_bytes(process.pid), cpu_s(process.pid)
        audience = Audience(port, trusted)
        await stack.enter_async_context(audience.of(listeners))
        connecting_s, grown_bytes = cpu_s(process.pid) - before_s, rss_bytes(process.pid) - before_bytes
        figures = {
            "TLS": "no" if trusted is None else "yes",
            "listeners": listeners,
            "CPU ms per connect": connecting_s / listeners * 1000,
            "KiB per listener": grown_bytes / listeners / 1024,
        }
        for name, burst, times in (("one at a time, CPU us", 1, 20), (f"bursts of {BURST}, CPU us", BURST, 5)):
            before_s = cpu_s(process.pid)
            for _ in range(times):
                server.publish(process, port, burst)
                await audience.hear(burst * listeners)
            figures[name] = (cpu_s(process.pid) - before_s) / (burst * times * listeners) * 1e6
        return figures


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--listeners", type=int, nargs="+", default=[100, 1000], help="listeners, two rows each")
    options = parser.parse_args()
    pin(LOAD_CORE)
    authority = trustme.CA()
    trusted = ssl.create_default_context()
    authority.configure_trust(trusted)
    rows = []
    with tempfile.TemporaryDirectory(prefix="transport-trio-bench-") as folder:
        certificate = Path(folder) / "certificate.pem"
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
        command = [sys.executable, str(HERE / "hub_server.py")]
        plain = Server(lambda port, _: [*command, str(port), str(EVENT_BYTES)])
        secure = Server(lambda port, _: [*command, str(port), str(EVENT_BYTES), str(certificate)])
        for listeners in options.listeners:
            for server, context in ((plain, None), (secure, trusted)):
                with running(server) as (process, port):
                    rows.append(trio.run(measure, server, process, port, context, listeners))
    report("tls", rows, options)
    if options.plot:
        columns = ["one at a time, CPU us", f"bursts of {BURST}, CPU us"]
        unit = "µs of processor time per message"
        plot(options.plot, "Fan-out within TLS", "listeners", columns, rows, unit=unit, by="TLS", wide=True)


if __name__ == "__main__":
    main()
