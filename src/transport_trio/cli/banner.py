"""What a person reads when the service has begun to answer: where it is, and what to try first."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from transport_trio import __version__
from transport_trio.cli.target import DEFAULT_URL
from transport_trio.setting_connectors import DAILY


def banner(
    *,
    url: str,
    needs_key: bool,
    nats_url: str | None,
    sandbox_url: str | None,
    program: str,
    provider: str = DAILY,
) -> str:
    """`program` is how the reader can call us."""
    body = f'{{"provider": "{provider}"}}'
    secret = "TRANSPORT_TRIO_API_KEY=ONE-OF-YOUR-API_KEYS " if needs_key else ""
    key = " -H 'Authorization: Bearer ONE-OF-YOUR-API_KEYS'" if needs_key else ""
    reachable = url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")
    rows = [
        (
            "create a session",
            f"curl -X POST {reachable}/sessions{key} -H 'Content-Type: application/json' -d '{body}'",
        ),
        ("follow the events", f"{secret}{program} watch" + ("" if reachable == DEFAULT_URL else f" --url {reachable}")),
    ]
    if nats_url is not None:
        # Without user and password, which a NATS URL may hold.
        rows.append(("events in NATS", f"{re.sub('//[^@/,]*@', '//', nats_url)}, stream TRANSPORT_EVENTS"))
    if sandbox_url is not None:
        rows.append(("Daily sandbox", f"{sandbox_url}/v1 (people come and go by themselves)"))
    width = max(len(name) for name, _ in rows)
    lines = "\n".join(f"  {name:<{width}}  {text}" for name, text in rows)
    return f"transport-trio {__version__} listens at {url}\n\n{lines}\n\nCtrl-C stops it.\n"


def program_name(argv: Sequence[str]) -> str:
    """How this process was called, in a form that works from the same folder."""
    called = argv[0]
    if Path(called).name == "__main__.py":
        return f"{shlex.quote(sys.executable)} -m transport_trio"
    found = shutil.which(Path(called).name)
    if found is not None and Path(called).exists() and Path(found).samefile(called):
        return Path(called).name
    path = Path(called)
    here = Path.cwd()
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))
