"""What a drill did, how often, and whether what was promised held: printed for people, kept as JSON for documents."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Collection
from typing import Any

import attrs

Figure = int | float | str
EXAMPLES = 3


@attrs.define
class Claim:
    """Something that must hold, and what was seen of it."""

    text: str
    holds: bool
    detail: str = ""
    looked_at: int = 0
    offenders: int = 0


@attrs.define(eq=False)
class Report:
    """Filled by a drill while it runs. Every drill makes at least one claim; one made again must hold each time."""

    drill: str
    began: float = attrs.field(factory=time.monotonic)  # the run; this clock is the same in all its processes
    figures: dict[str, Figure] = attrs.field(factory=dict)
    claims: list[Claim] = attrs.field(factory=list)

    def figure(self, what: str, value: Figure) -> None:
        """Something that was done, counted or measured; `what` names the unit."""
        self.figures[what] = value if not isinstance(value, float) else round(value, 3)

    def count(self, what: str, more: int) -> None:
        """Add to a figure: for drills that do the same in several places at once."""
        self.figures[what] = int(self.figures.get(what, 0)) + more

    def holds(self, text: str, truth: bool, detail: object = "") -> None:
        """Claim `text`; `detail` tells what was seen, and is shown either way."""
        claim = self._claim(text)
        if claim.holds:  # what was seen when it failed first is not overwritten
            claim.holds, claim.detail = bool(truth), str(detail)

    def none(self, text: str, offenders: Collection[Any], *, of: int) -> None:
        """Claim `text`, which holds when nothing offends it; `of` is how many were looked at, which must be some."""
        claim = self._claim(text)
        claim.looked_at += of
        claim.offenders += len(offenders)
        claim.holds = claim.holds and of > 0 and not offenders
        if offenders:
            shown = ", ".join(str(one) for one in list(offenders)[:EXAMPLES])
            claim.detail = f"{claim.offenders:,} of {claim.looked_at:,}, such as {shown}"
        elif not claim.offenders:
            claim.detail = f"of {claim.looked_at:,}"

    def _claim(self, text: str) -> Claim:
        for claim in self.claims:
            if claim.text == text:
                return claim
        self.claims.append(Claim(text, holds=True))
        return self.claims[-1]

    def progress(self, text: str) -> None:
        progress(self.began, f"{self.drill}: {text}")

    @property
    def failures(self) -> list[Claim]:
        return [claim for claim in self.claims if not claim.holds]

    @property
    def passed(self) -> bool:
        return bool(self.claims) and not self.failures

    def as_json(self) -> dict[str, Any]:
        return {
            "drill": self.drill,
            "passed": self.passed,
            "figures": self.figures,
            "claims": [{"text": one.text, "holds": one.holds, "detail": one.detail} for one in self.claims],
        }


def progress(began: float, text: str) -> None:
    """Tell who watches the run, with the seconds since it began."""
    print(f"{time.monotonic() - began:5.0f} s  {text}", file=sys.stderr, flush=True)


def shown(result: dict[str, Any]) -> str:
    """A result, as `Report.as_json` gave it, for people."""
    took = f"{result['lasted_s']:.0f} s, {result.get('processor_s', 0)} s of processor time"
    lines = [f"{'passed' if result['passed'] else 'FAILED':7} {result['drill']} in {took}"]
    lines += [f"    {_number(value):>12}  {what}" for what, value in result["figures"].items()]
    for claim in result["claims"]:
        detail = f"  ({claim['detail']})" if claim["detail"] else ""
        lines.append(f"    {'holds' if claim['holds'] else 'FAILS':>12}  {claim['text']}{detail}")
    return "\n".join(lines)


def _number(value: Figure) -> str:
    return value if isinstance(value, str) else f"{value:,}"


def dump(results: list[dict[str, Any]]) -> str:
    return json.dumps(results, indent=2, ensure_ascii=False) + "\n"
