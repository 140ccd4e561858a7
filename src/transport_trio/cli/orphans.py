"""`transport-trio orphans`: rooms of the service's own that no session has, shown and swept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import click
import trio

from transport_trio.cli.client import Call, send, wait_for
from transport_trio.cli.lines import count, plain
from transport_trio.cli.problems import ServiceFailure
from transport_trio.cli.sessions import asked, json_option, print_json, refusals
from transport_trio.cli.target import Target, service_options

LOOK_S = 1.0
PATH = "/orphans"


@click.group(
    epilog="""\b
    Examples:
      transport-trio orphans show
      transport-trio orphans sweep --delete
    """
)
def orphans() -> None:
    """See which rooms of the service have no session, and have them deleted."""


@orphans.command(
    epilog="""\b
    Example:
      transport-trio orphans show
    """
)
@service_options
@json_option
def show(target: Target, as_json: bool) -> None:
    """Show what the latest sweep has found."""
    _tell(asked(target, Call(method="GET", path=PATH), as_json).body, as_json)


@orphans.command(
    epilog="""\b
    Example:
      transport-trio orphans sweep --delete
    """
)
@service_options
@click.option("--delete", is_flag=True, help="Delete those that are proven ours, old enough and empty in two looks.")
@click.option(
    "--wait-s", type=click.FloatRange(min=0), default=600.0, show_default=True, help="How long to wait for its end."
)
@json_option
def sweep(target: Target, delete: bool, wait_s: float, as_json: bool) -> None:
    """Have the service look for them now, and show what it has found. Ctrl-C ends the waiting only.

    With --delete the rooms that are empty are looked into once more before they go, twice the service's
    PRESENCE_CONFIRM_S later: half a minute, where that is not set.
    """
    call = Call(method="POST", path=f"{PATH}/sweep", body={"delete": delete})
    number = asked(target, call, as_json).body["sweep"]
    with refusals(as_json):
        known = wait_for(partial(_sweep_over, target, number, wait_s), "waiting for the end of the sweep")
    _tell(known, as_json)


async def _sweep_over(target: Target, number: int, wait_s: float) -> Mapping[str, Any]:
    """What is known once the sweep of this number is over."""
    give_up_at = trio.current_time() + wait_s
    while True:
        known: Mapping[str, Any] = (await send(target, Call(method="GET", path=PATH))).body
        if known["completed"] >= number:
            return known
        if trio.current_time() >= give_up_at:
            raise ServiceFailure(f"the sweep is not over after {wait_s:g} s; `transport-trio orphans show` will tell")
        await trio.sleep(LOOK_S)


def _tell(known: Mapping[str, Any], as_json: bool) -> None:
    print_json(known) if as_json else click.echo("\n".join(_lines(known)))


def _lines(known: Mapping[str, Any]) -> Iterator[str]:
    sweeps = known.get("sweeps") or []
    if not sweeps:
        yield f"no sweep is over yet (ORPHAN_SWEEP={plain(known.get('mode'))})"
    for one in sweeps:
        left = ", ".join(f"{plain(count)} {plain(kind)}" for kind, count in (one.get("left") or {}).items())
        yield (
            f"{plain(one.get('provider'))} at {plain(one.get('finished_at'))}: {count(one.get('rooms_total'), 'room')},"
            f" {plain(one.get('foreign'))} foreign, {plain(one.get('known'))} of sessions; orphans left: {left};"
            f" {plain(one.get('deleted'))} deleted"
        )
        if one.get("failure"):
            yield f"  broke off: {plain(one['failure'])}"
        for orphan in one.get("orphans") or []:
            kind = "deleted" if orphan.get("deleted") else orphan.get("kind")
            parts = (kind, orphan.get("room_name"), "until", orphan.get("expires_at"))
            yield "  " + "  ".join(plain(part) for part in parts)
