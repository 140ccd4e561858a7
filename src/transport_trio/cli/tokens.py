"""`transport-trio tokens`: create, list and renew the meeting tokens of a session of a running service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any
from urllib.parse import quote

import click

from transport_trio.cli.client import Call
from transport_trio.cli.lines import plain
from transport_trio.cli.report import block
from transport_trio.cli.sessions import (
    IdempotencyKey,
    asked,
    json_option,
    print_json,
    put_options,
    read_body,
    session_path,
)
from transport_trio.cli.target import Target, service_options

# Where in the request an option's value goes.
PLACES = {
    "participant_name": ("participant_config", "name"),
    "user_id": ("participant_config", "user_id"),
    "owner": ("participant_config", "is_owner"),
    "ttl_s": ("options", "token_ttl_s"),
    "not_before_s": ("options", "not_before_s"),
    "eject_at_expiry": ("options", "eject_at_expiry"),
    "eject_after_s": ("options", "eject_after_s"),
}


@click.group(
    epilog="""\b
    Examples:
      transport-trio tokens create 7b0c0c56-9f5b-4b8e-a6b4-6f0f8a2f7c11 --participant-name Bob
      transport-trio tokens list 7b0c0c56-9f5b-4b8e-a6b4-6f0f8a2f7c11
    """
)
def tokens() -> None:
    """Create, list and renew the meeting tokens of a session."""


@tokens.command(
    epilog="""\b
    Example:
      transport-trio tokens create 7b0c0c56-9f5b-4b8e-a6b4-6f0f8a2f7c11 --participant-name Bob --ttl-s 600
    """
)
@service_options
@click.argument("session_id")
@click.option("--participant-name", help="The name that the meeting token carries.")
@click.option("--user-id", help="The user id that the meeting token carries.")
@click.option("--owner", is_flag=True, help="Make the token an owner's.")
@click.option("--ttl-s", type=int, metavar="SECONDS", help="How long it is valid, from when it lets people in.")
@click.option("--not-before-s", type=int, metavar="SECONDS", help="How long it lets nobody in yet.")
@click.option("--eject-at-expiry", is_flag=True, help="Put its bearer out when it ends.")
@click.option("--eject-after-s", type=int, metavar="SECONDS", help="Put its bearer out so long after the join.")
@click.option(
    "--body", type=click.File(encoding="utf-8"), help="A request in JSON, - for standard input; the options above win."
)
@click.option("--idempotency-key", type=IdempotencyKey(), help="Repeat the command with the same key: one token.")
@json_option
def create(
    target: Target,
    session_id: str,
    body: IO[str] | None,
    idempotency_key: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Create a further meeting token; prints it."""
    call = Call(
        method="POST",
        path=f"{session_path(session_id)}/tokens",
        headers={"Idempotency-Key": idempotency_key} if idempotency_key else {},
        body=put_options(read_body(body), options, PLACES),
    )
    answer = asked(target, call, as_json)
    print_json(answer.body) if as_json else click.echo(_minted(answer.body))


@tokens.command(
    name="list",
    epilog="""\b
    Example:
      transport-trio tokens list 7b0c0c56-9f5b-4b8e-a6b4-6f0f8a2f7c11
    """,
)
@service_options
@click.argument("session_id")
@json_option
def list_(target: Target, session_id: str, as_json: bool) -> None:
    """List the tokens that were handed out, without the tokens themselves."""
    answer = asked(target, Call(method="GET", path=f"{session_path(session_id)}/tokens"), as_json)
    if as_json:
        print_json(answer.body)
        return
    for one in answer.body.get("tokens") or []:
        begins = f"not before {_begin(one)}" if _begin(one) else None
        parts = (one.get("token_id"), one.get("status"), one.get("expires_at"), _who(one), begins)
        click.echo("  ".join(plain(part) for part in parts if part is not None))


@tokens.command(
    epilog="""\b
    Example:
      transport-trio tokens renew 7b0c0c56-9f5b-4b8e-a6b4-6f0f8a2f7c11 6426c3bc-1779-44d3-a970-00f6d43b3da5
    """
)
@service_options
@click.argument("session_id")
@click.argument("token_id")
@click.option("--ttl-s", type=int, metavar="SECONDS", help="How long it is valid from now on.  [default: as before]")
@json_option
def renew(target: Target, session_id: str, token_id: str, ttl_s: int | None, as_json: bool) -> None:
    """Mint a token once more, with a later end; prints it."""
    path = f"{session_path(session_id)}/tokens/{quote(token_id, safe='', errors='replace')}/renew"
    body = {"options": {"token_ttl_s": ttl_s}} if ttl_s is not None else {}
    answer = asked(target, Call(method="POST", path=path, body=body), as_json)
    print_json(answer.body) if as_json else click.echo(_minted(answer.body))


def _minted(one: Mapping[str, Any]) -> str:
    fields = [("token", one.get("meeting_token") or "none: it has expired")]
    if _begin(one):
        fields.append(("token begins", _begin(one)))
    fields.append(("token ends", one.get("expires_at")))
    return f"token {plain(one.get('token_id'))} for {_who(one)}\n{block(fields)}"


def _begin(one: Mapping[str, Any]) -> object:
    """Before when it lets nobody in; None where it does at once."""
    return (one.get("options") or {}).get("not_before")


def _who(one: Mapping[str, Any]) -> str:
    person = one.get("participant") or {}
    return plain(person.get("name") or person.get("user_id") or "anybody")
