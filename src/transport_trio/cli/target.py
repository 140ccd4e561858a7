"""Which service a command talks to: the options `--url` and `--api-key`, and what follows from them."""

from __future__ import annotations

import functools
import ssl
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlencode, urlsplit

import attrs
import click

DEFAULT_URL = "http://127.0.0.1:8084"


@attrs.frozen(kw_only=True)
class Target:
    """A service that runs somewhere, and our key to it."""

    url: str  # http(s)://host[:port][/prefix], without a slash at its end
    api_key: str | None = attrs.field(default=None, repr=False)

    @property
    def is_secure(self) -> bool:
        return self.url.startswith("https:")

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}

    def socket_url(self, query: Sequence[tuple[str, str]]) -> str:
        """The address of `/ws`, with its query."""
        address = "ws" + self.url.removeprefix("http") + "/ws"
        return f"{address}?{urlencode(query)}" if query else address

    def tls(self) -> ssl.SSLContext:
        """Trusts what the system trusts (and SSL_CERT_FILE), so that a company's own authority works."""
        return ssl.create_default_context()


class ServiceUrl(click.ParamType[str]):
    """An http(s) URL without user, query or fragment; a slash at the end is dropped."""

    name = "URL"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value).strip()
        try:
            parts = urlsplit(text)
            sound = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
        except ValueError:  # a port that is none, or a broken IPv6 address
            sound = False
        if not sound or "@" in parts.netloc or parts.query or parts.fragment:
            self.fail(f"{text!r} is no address of a service; give one like {DEFAULT_URL}", param, ctx)
        return f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/")


class ApiKey(click.ParamType[str]):
    """A key that can stand in a header: printable ASCII without blanks."""

    name = "KEY"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        key = str(value).strip()
        if not key.isascii() or not key.isprintable() or " " in key:
            self.fail("a key has printable ASCII characters only, and no blanks", param, ctx)  # never shows the key
        return key


def service_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `--url` and `--api-key`; it gets them as one `target`."""

    @click.option(
        "--url",
        type=ServiceUrl(),
        default=DEFAULT_URL,
        show_default=True,
        envvar="TRANSPORT_TRIO_URL",
        show_envvar=True,
        help="Where the service listens.",
    )
    @click.option(
        "--api-key",
        type=ApiKey(),
        envvar="TRANSPORT_TRIO_API_KEY",
        show_envvar=True,
        help="A key of its API_KEYS; rather in the environment: other users see a command's options.",
    )
    @functools.wraps(command)
    def with_target(*args: Any, url: str, api_key: str | None, **kwargs: Any) -> Any:
        return command(*args, target=Target(url=url, api_key=api_key or None), **kwargs)

    return with_target
