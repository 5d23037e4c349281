"""What looks like a copied license or runtime key: three rules and what follows. Pure.

Only requests that the holder's own grant stands behind are shown to the rules (steps 1 to 4 of a
decision), so nobody else can bring a license into trouble. A rule that finds something throttles
the license; findings that go on while it is throttled hold it, until its licensor or the broker's
operator releases it. Running leases live on: nothing here is an authoritative no.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

NEW_NETWORK: Final = "new-network"
BURST_OF_HOSTS: Final = "burst-of-hosts"
IMPOSSIBLE_CADENCE: Final = "impossible-cadence"
CODE_WORDS: Final = "code-words"
"""Counted in ``wordcount``; the only rule that holds at its first finding."""

CALM: Final = "calm"
THROTTLED: Final = "throttled"
HELD: Final = "held"


@dataclass(frozen=True, slots=True)
class Rules:
    """Thresholds; times in seconds.

    Attributes:
        memory: how long after its last sighting a network or host is remembered.
        settled: a license whose first sighting is older has networks that are its own.
        window: in which hosts and releases are counted.
        hosts: distinct runtimes new to the license in one window that are no burst yet.
        travel: time that one runtime key needs at least from one network to another.
        releases: of one runtime key in one window that a host can need.
        strikes: findings while throttled that hold the license.
        cool: time that a throttle lasts after the last finding.
        words: code words of one sealing that a license has at least; 0: as its code says.
    """

    memory: int = 30 * 86400
    settled: int = 86400
    window: int = 600
    hosts: int = 256
    travel: int = 60
    releases: int = 300
    strikes: int = 20
    cool: int = 900
    words: int = 0


DEFAULT: Final = Rules()


@dataclass(frozen=True, slots=True)
class Sighting:
    """One request: which runtime key, from which network, when (Unix seconds)."""

    runtime: str
    network: str
    at: int


@dataclass(frozen=True, slots=True)
class Finding:
    """What one rule found, as a sentence."""

    rule: str
    message: str


@dataclass(frozen=True, slots=True)
class Conduct:
    """How a license is treated now.

    Attributes:
        level: calm, throttled or held.
        since: Unix seconds of the finding that led to it.
        until: end of a throttle; a hold has none.
        strikes: findings since it was throttled.
        rule: that found last.
        reason: its sentence.
    """

    level: str = CALM
    since: int = 0
    until: int = 0
    strikes: int = 0
    rule: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Past:
    """What is remembered of a license when a new request comes.

    Attributes:
        began: first sighting of the license, None for none.
        network_known: whether it was seen in this network before.
        host_since: first sighting of this runtime key, None for none.
        host_network: where that runtime key was seen last, and `host_at` when.
        host_count: its requests in the window that began at `host_window`.
        fresh_hosts: other runtime keys first seen within the window that ends now.
    """

    began: int | None = None
    network_known: bool = False
    host_since: int | None = None
    host_network: str = ""
    host_at: int = 0
    host_window: int = 0
    host_count: int = 0
    fresh_hosts: int = 0


def judge(past: Past, seen: Sighting, rules: Rules = DEFAULT) -> tuple[Finding, ...]:
    """What the rules find in a new sighting of a license.

    Args:
        past: what is remembered of the license.
        seen: the new sighting.
        rules: thresholds.
    """
    found = (
        _new_network(past, seen, rules),
        _burst_of_hosts(past, seen, rules),
        _impossible_cadence(past, seen, rules),
    )
    return tuple(each for each in found if each is not None)


def _new_network(past: Past, seen: Sighting, rules: Rules) -> Finding | None:
    if past.began is None or seen.at - past.began < rules.settled:
        return None
    if past.network_known or not _known(seen.network):
        return None
    return Finding(NEW_NETWORK, f"a request came from {seen.network}, where it never ran before")


def _burst_of_hosts(past: Past, seen: Sighting, rules: Rules) -> Finding | None:
    if past.host_since is not None and past.host_since <= seen.at - rules.window:
        return None
    count = past.fresh_hosts + 1
    if count <= rules.hosts:
        return None
    return Finding(
        BURST_OF_HOSTS, f"{count} hosts that it never ran on asked within {rules.window} s"
    )


def _impossible_cadence(past: Past, seen: Sighting, rules: Rules) -> Finding | None:
    if past.host_since is None:
        return None
    both = (past.host_network, seen.network)
    if (
        both[0] != both[1]
        and all(map(_known, both))
        # A host with two stacks uses both within a second.
        and (":" in both[0]) == (":" in both[1])
        and seen.at - past.host_at < rules.travel
    ):
        return Finding(
            IMPOSSIBLE_CADENCE,
            f"one runtime key asked from {both[0]} and from {both[1]} within {rules.travel} s",
        )
    count = past.host_count + 1
    if seen.at - past.host_window < rules.window and count > rules.releases:
        return Finding(
            IMPOSSIBLE_CADENCE, f"one runtime key asked {count} times within {rules.window} s"
        )
    return None


def _known(network: str) -> bool:
    return "/" in network


def advance(
    conduct: Conduct, findings: Iterable[Finding], *, now: int, rules: Rules = DEFAULT
) -> Conduct:
    """How a license is treated after these findings: throttled first, held when they go on.

    A held license stays held whatever is found; only `Conduct()` in its place releases it.
    """
    if conduct.level == HELD:
        return conduct
    if conduct.level == THROTTLED and now >= conduct.until:
        conduct = Conduct()
    for finding in findings:
        strikes = conduct.strikes + 1
        if conduct.level == CALM:
            conduct = Conduct(
                THROTTLED, now, now + rules.cool, strikes, finding.rule, finding.message
            )
        elif strikes > rules.strikes:
            return Conduct(HELD, now, 0, strikes, finding.rule, finding.message)
        else:
            conduct = replace(
                conduct,
                until=now + rules.cool,
                strikes=strikes,
                rule=finding.rule,
                reason=finding.message,
            )
    return conduct


def held_by(conduct: Conduct, finding: Finding, *, now: int) -> Conduct:
    """How a license is treated after a finding that is enough by itself."""
    return Conduct(HELD, now, 0, conduct.strikes + 1, finding.rule, finding.message)
