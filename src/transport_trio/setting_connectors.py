"""The connectors to Daily, one for each domain, and which variables are whose (ADR 0089)."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping

from transport_trio.setting_forms import Fault

DAILY = "daily"
NAME = re.compile(r"daily(-[a-z0-9]+)*")
NAME_MAX_CHARS = 32
# Each has connections and a label of its own in every metric of a provider.
CONNECTORS_MAX = 16
# The settings that no two connectors can share, and what to do about it.
UNIQUE = {
    "api_key": "give each connector a domain of its own, with its own key",
    "domain": "give each connector a domain of its own",
    "webhook_url": "Daily pushes to /webhooks/ and the connector's name",
}
SELF = "self"  # a webhook's address: our own


def connector_names(text: str) -> tuple[str, ...]:
    names = tuple(part.strip() for part in text.split(","))
    if any(not NAME.fullmatch(name) or len(name) > NAME_MAX_CHARS for name in names):
        raise Fault("holds something that is no connector's name; give a list like daily,daily-eu")
    if len(set(names)) < len(names):
        raise Fault("names a connector twice")
    if len(names) > CONNECTORS_MAX:
        raise Fault(f"names more than {CONNECTORS_MAX} connectors")
    return names


def variable(connector: str, setting: str) -> str:
    """The variable of one connector's own setting: `DAILY_EU_API_KEY` for `daily-eu` and `api_key`."""
    return f"{connector}_{setting}".replace("-", "_").upper()


def unknown_variables(
    given: Collection[str], connectors: Collection[str], settings: Collection[str]
) -> Iterator[tuple[str, str]]:
    """Variables that look like a connector's and are nobody's, each with what is wrong with it.

    What begins with `DAILY_` alone may be another program's; what begins like a further connector's is meant for it.
    """
    known = {variable(name, setting) for name in connectors for setting in settings}
    own = [variable(DAILY, setting) for setting in settings]
    named = ", ".join(connectors)
    for name in sorted(set(given) - known):
        owner = next((one for one in connectors if one != DAILY and name.startswith(variable(one, ""))), None)
        if owner is not None:
            yield name, f"is no setting of {owner}; it has {', '.join(variable(owner, each) for each in settings)}"
        elif name in own or any(_is_connectors(name, setting) for setting in settings):
            yield name, f"belongs to no connector; DAILY_CONNECTORS names {named}"


def _is_connectors(name: str, setting: str) -> bool:
    """Whether this would be the setting's variable of some connector."""
    ending = f"_{setting.upper()}"
    connector = name.removesuffix(ending).lower().replace("_", "-")
    return name.endswith(ending) and NAME.fullmatch(connector) is not None and variable(connector, setting) == name


def clashes(each: Mapping[str, Mapping[str, str | None]]) -> Iterator[str]:
    """What one connector has of another, by connector and setting; each is a line for the operator."""
    for setting, advice in UNIQUE.items():
        seen: dict[str, str] = {}
        for name, values in each.items():
            value = values[setting] or ""
            first = seen.setdefault(value.lower() if setting == "domain" else value, name)
            if first != name and value not in ("", SELF):
                yield f"{variable(name, setting)}: is the same as {variable(first, setting)}; {advice}"
    for name, values in each.items():
        place = (values["webhook_url"] or "").rpartition("/webhooks/")[2]
        if place != name and place in each:
            fault = f"ends in /webhooks/{place}, where {place} is pushed to; give one that ends in /webhooks/{name}"
            yield f"{variable(name, 'webhook_url')}: {fault}"
