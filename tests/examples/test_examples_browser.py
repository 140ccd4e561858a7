"""The page in a real browser: it sees people come and go, gets over a lost service, and is refused where it must be."""

from __future__ import annotations

import signal
import threading
from collections.abc import AsyncIterator, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import pytest
import trio
from devtools import Page, open_page
from examples_support import EXAMPLES, OpenService, create_session, end_session

from service_process import Service
from transport_trio.sandbox import SandboxHandle

pytestmark = pytest.mark.browser

KEY = "key-of/the+test?"
TEST_S = 90.0


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def site() -> Iterator[int]:
    """The port on which examples/ is served, as with `python -m http.server`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(EXAMPLES)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
async def page(tmp_path: Path) -> AsyncIterator[Page]:
    async with open_page(tmp_path / "profile") as page:
        yield page


def address(site: int, service: Service, host: str = "127.0.0.1") -> str:
    key = f"#key={quote(service.api_key, safe='')}" if service.api_key else ""
    return f"http://{host}:{site}/browser.html?url={quote(service.socket_url)}{key}"


async def test_participant_appears_on_an_allowed_page_with_a_key(
    page: Page, site: int, open_service: OpenService, daily_sandbox: SandboxHandle, tmp_path: Path
) -> None:
    with trio.fail_after(TEST_S):
        async with open_service(api_key=KEY, ALLOWED_ORIGINS=f"http://127.0.0.1:{site}") as service:
            session = await create_session(service, room_config={"name": "kitchen"})
            await page.open(address(site, service))
            await page.shows("#state", "live")
            await page.shows(".session .room", "kitchen")
            ada = daily_sandbox.join("kitchen", "Ada <b>Lovelace</b>")
            await page.shows(".people li", "Ada <b>Lovelace</b>")
            await page.shows(".session .status", "Active")
            await page.shows("#events li", "participant_joined")
            await page.picture(tmp_path / "page.png")
            daily_sandbox.leave("kitchen", ada)
            await page.shows("#events li", "participant_left")
            assert await page.value("document.querySelectorAll('.people li').length") == 0
            await end_session(service, session["session_id"])
            await page.shows(".session .status", "Ended (requested)")
            assert KEY not in await page.value("location.href")
            assert KEY not in "\n".join(service.child.lines)


async def test_refused_origin_sees_nothing(page: Page, site: int, open_service: OpenService) -> None:
    with trio.fail_after(TEST_S):
        async with open_service(api_key=KEY, ALLOWED_ORIGINS=f"http://127.0.0.1:{site}") as service:
            await create_session(service, room_config={"name": "kitchen"})
            await page.open(address(site, service, host="localhost"))
            await page.shows("#state", "ALLOWED_ORIGINS")
            assert await page.value("document.querySelectorAll('.session').length") == 0


async def test_wrong_key_sees_nothing(page: Page, site: int, open_service: OpenService) -> None:
    with trio.fail_after(TEST_S):
        async with open_service(api_key=KEY, ALLOWED_ORIGINS=f"http://127.0.0.1:{site}") as service:
            await create_session(service, room_config={"name": "kitchen"})
            await page.open(address(site, service).replace("%2B", "x"))
            await page.shows("#state", "the key right")
            assert await page.value("document.querySelectorAll('.session').length") == 0


async def test_open_service_lets_pages_of_this_machine_in(
    page: Page, site: int, service: Service, daily_sandbox: SandboxHandle
) -> None:
    with trio.fail_after(TEST_S):
        await page.open(address(site, service, host="localhost"))
        await page.shows("#state", "live")
        session = await create_session(service)
        await page.shows(".session .room", session["room_name"])


@pytest.mark.parametrize(
    ("number", "told"),
    [(signal.SIGTERM, "the service is stopping (1001)"), (signal.SIGKILL, "the connection broke (1006)")],
)
async def test_page_tells_how_the_service_went_and_comes_back_to_it(
    page: Page,
    site: int,
    open_service: OpenService,
    daily_sandbox: SandboxHandle,
    number: signal.Signals,
    told: str,
) -> None:
    with trio.fail_after(TEST_S):
        async with open_service() as service:
            await page.open(address(site, service))
            await page.shows("#state", "live")
            # Its text changes with the next attempt, a second later: note every text that it ever has.
            await page.value(
                "window.texts = [];"
                "new MutationObserver(() => texts.push(byId('state').textContent))"
                ".observe(byId('state'), {childList: true}); 0"
            )
            await create_session(service, room_config={"name": "kitchen"})
            await page.shows(".session .room", "kitchen")
            await service.stop(number)
            await page.shows("#state", "no connection")
            assert any(text.startswith(told) for text in await page.value("texts"))
            daily_sandbox.join("kitchen", "Ada")
            async with open_service(PORT=service.url.rpartition(":")[2]):
                await page.shows(".people li", "Ada")
                assert await page.value("document.querySelectorAll('.session').length") == 1
                seen = await page.value("[...document.querySelectorAll('#events li')].map(line => line.innerText)")
                assert sum("session_created" in line for line in seen) == 1
                assert sum("participant_joined" in line for line in seen) == 1
