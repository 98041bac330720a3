"""Why a GPU has the watts it has, as one paragraph: which rule binds, whose it is, until when, what to do.

The sentences of all rules are here, by the slugs of the core's steps. A rule that is not here has no sentence
that a person could act on, so a test holds this table against the core.
"""

from collections.abc import Iterator, Sequence
from enum import Enum
from typing import NamedTuple

from powerd.ctl.client import Document


class Kind(Enum):
    """What a rule does on the way from the rack to a GPU."""

    CAP = "caps the rack"
    TAKES = "takes watts off"
    GIVES = "adds watts"
    PASSES = "is the way it always goes"
    BINDS = "holds whatever else the budget would leave"


class Rule(NamedTuple):
    """What is said of one rule.

    Attributes:
        says: of a CAP, what it is, to stand before "leaves this host"; of the others a sentence, none of what
            PASSES. `{watts}` is the value after the step, `{took}` what it took; `{source}`, `{note}` and
            `{until}` are the step's, and `{because}` is its note in quotes, if it has one.
        more: what gives the watts back; empty if it took none.
    """

    kind: Kind
    says: str = ""
    more: str = ""


RULES = {
    # The rack.
    "hard_limit": Rule(
        Kind.CAP,
        "the rack's hard limit of {watts} ({source})",
        "raise {source}, if what feeds the rack carries more",
    ),
    "budget": Rule(
        Kind.CAP,
        "the rack's budget of {watts} from {source}{because}{until}",
        "have {source} send a higher budget",
    ),
    "failsafe": Rule(
        Kind.CAP,
        "the failsafe budget of {watts} ({source}; {note})",
        "get the controller heard again: powerctl doctor looks at the way there",
    ),
    "lower_only": Rule(
        Kind.CAP,
        "a cap of {watts} from {source}{because}, which may only lower{until}",
        "have {source} take its cap back",
    ),
    "event": Rule(
        Kind.CAP,
        "the grid event of {source} ({note}), at {watts} now{until},",
        "have {source} cancel the event, or wait for its end: powerctl events",
    ),
    "advisory": Rule(
        Kind.CAP,
        "a rule for prices and emissions ({note}), which leaves the rack {watts},",
        "raise the threshold or lower signals.advisory.band_pct",
    ),
    "operator": Rule(
        Kind.CAP,
        "a cap of {watts} on the rack ({note}),",
        "wait for the end of the drill",
    ),
    "power_brake": Rule(
        Kind.CAP,
        "the hardware power brake of a GPU, for which the failsafe budget of {watts} holds{until},",
        "find what pulled the power brake: a power supply, its cabling, or the chassis",
    ),
    "meter_unknown": Rule(
        Kind.CAP,
        "the rack's cap of {watts} ({note})",
        "mend the rack's meter or the way to it: without it nothing is raised",
    ),
    "ramp": Rule(
        Kind.CAP,
        "the rack's cap of {watts}, still {note},",
        "wait: it rises by {source}",
    ),
    "floors": Rule(
        Kind.GIVES,
        "The floors of the rack's GPUs need {watts}, more than was asked for: nothing can go lower.",
    ),
    "rack_overhead": Rule(Kind.PASSES),
    "guard_band": Rule(Kind.PASSES),
    "meter_trim": Rule(
        Kind.TAKES,
        "{took} of the rack are taken off: the meter shows more than the hosts account for.",
        "find what draws in the rack without being accounted for",
    ),
    # The host.
    "entitlement": Rule(Kind.PASSES),
    "lent": Rule(
        Kind.TAKES,
        "{took} are lent to {source}{until}.",
        "wait for the {took} that {source} has: they are called back once this host wants them",
    ),
    "borrowed": Rule(Kind.GIVES, "This host {note}{until}."),
    "lending": Rule(
        Kind.TAKES, "{took} are about to be lent.", "wait: what is lent is called back when wanted"
    ),
    "memory_lost": Rule(
        Kind.BINDS,
        "What this host had lent before its start is not known, so it stays at its floor of {watts}{until}.",
        "wait until no lease of then can be in use",
    ),
    "compensation": Rule(
        Kind.TAKES,
        "{took} are given up for hosts that may follow a higher budget.",
        "see in powerctl status which hosts are silent or follow another budget",
    ),
    "host_floor": Rule(Kind.GIVES, "This host is at its floor of {watts}: {note}."),
    "host_overhead": Rule(Kind.PASSES),
    "found": Rule(
        Kind.BINDS,
        "No controller was heard since the start, so limits stay where they were found, at {watts}{until}.",
        "get a controller heard: powerctl doctor looks at the way there",
    ),
    "measured": Rule(Kind.PASSES),
    # The GPU.
    "fair_share": Rule(Kind.PASSES),
    "spare": Rule(Kind.PASSES),
    "override": Rule(
        Kind.BINDS,
        'An override by {source} gives it exactly that: "{note}"{until}.',
        "end the override: powerctl override --gpu {gpu} --end --reason TEXT",
    ),
    "ceiling": Rule(
        Kind.BINDS, "Its ceiling is {watts} ({source}).", "raise {source} in the configuration of this host"
    ),
    "other_writer": Rule(
        Kind.BINDS,
        "Somebody else on this host set a lower limit of {watts}, which is kept as a ceiling for a while.",
        "find who else writes limits (nvidia-smi -pl, a scheduler's prolog, DCGM): powerctl doctor",
    ),
    "out_of_band": Rule(
        Kind.BINDS,
        "{watts} are enforced from outside of this host, below what was requested.",
        "lift the cap in the BMC or the chassis's power manager",
    ),
    "floor": Rule(Kind.PASSES),
    "dead_band": Rule(Kind.PASSES),
    "not_controllable": Rule(
        Kind.BINDS,
        "It cannot be limited now ({note}) and is counted at {watts}.",
        "see powerctl doctor for what the driver allows; to reset the GPU: powerctl detach",
    ),
}


class Why(NamedTuple):
    """The rule that binds, all that is to be said of it in one paragraph, and what gives watts back.

    Attributes:
        rule: slug; empty if no rule takes watts from the GPU.
    """

    rule: str
    text: str
    remedies: tuple[str, ...]


def why(document: Document, status: Document) -> Why:
    """Return why a GPU has the watts it has.

    Args:
        document: what /v1/explain says of it.
        status: the status of the same daemon.
    """
    gpu = next((each for each in status["gpus"] if each["uuid"] == document["uuid"]), None)
    steps = document["steps"]
    binding = _binding(steps, document["limit_watts"], None if gpu is None else gpu["want_watts"])
    sentences = [*_stands(document, status, gpu)]
    if binding is None:
        sentences.append(
            "It has all it can use, and no rule takes watts from it: if it is slow, look elsewhere."
        )
        return Why("", " ".join(sentences), ())
    remedies = [_filled(_rule(binding).more, binding, steps, document)]
    if binding["rule"] == "not_controllable" and (status.get("orders") or {}).get("detached"):
        remedies = ["take the driver up again: powerctl attach --reason TEXT"]
    if _rule(binding).kind is Kind.CAP:
        sentences.append(_shortage(binding, steps, document, status))
        for step in (step for step in steps if _rule(step).kind in (Kind.TAKES, Kind.GIVES)):
            sentences.append(_filled(_rule(step).says, step, steps, document))
            remedies.append(_filled(_rule(step).more, step, steps, document))
        sentences += _others_first(document, status)
    else:
        sentences.append(_filled(_rule(binding).says, binding, steps, document))
    remedies = [each for each in remedies if each] + list(_override(binding, document, gpu, status))
    sentences.append(f"To get more: {'; '.join(remedies)}.")
    return Why(binding["rule"], " ".join(sentences), tuple(remedies))


def power(watts: float | None) -> str:
    """Return watts for a sentence: 312 W, 2.9 kW."""
    if watts is None:
        return "an unknown number of watts"
    if abs(watts) < _KILO_FROM_WATTS:
        return f"{watts:.0f} W"
    return f"{watts / 1000:.2f}".rstrip("0").rstrip(".") + " kW"


def clock(stamp: str, remaining_s: float) -> str:
    """Return until when something holds: 03:12:40 UTC, in 41 s."""
    return f"{stamp[11:19]} UTC, in {span(remaining_s)}"


def span(seconds: float) -> str:
    """Return a time for people: 41 s, 12 min, 3.5 h."""
    if seconds < _MINUTES_FROM_S:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < _HOURS_FROM_S else f"{seconds / 3600:.1f} h"


_KILO_FROM_WATTS = 2000.0
# A GPU that draws less of its limit than this does not feel it.
_FELT_SHARE = 0.85
_MINUTES_FROM_S, _HOURS_FROM_S = 120.0, 7200.0
# A GPU's own greatest limit: nothing that a rule has taken.
_OWN_MAXIMUM = ("ceiling", "gpu")
# Rules that are the answer even of a GPU that wants no more than it has.
_ALWAYS = ("override", "not_controllable")
_ASKED = ' An override by {source} asks for {watts} ("{note}"{then}): the budget has no more.'


def _rule(step: Document) -> Rule:
    """Return what is said of a step; of one that a newer daemon took, nothing."""
    return RULES.get(step["rule"], Rule(Kind.PASSES))


def _binding(steps: Sequence[Document], limit: float | None, want: float | None) -> Document | None:
    """Return the step that keeps a GPU from what it wants; None if none does."""
    last = _own_rule(steps)
    binds = last is not None and _rule(last).kind is Kind.BINDS
    if last is not None and last["rule"] in _ALWAYS:
        return last
    if limit is not None and want is not None and (limit > want or (limit == want and not binds)):
        return None
    if last is not None and binds:
        return None if (last["rule"], last["source"]) == _OWN_MAXIMUM else last
    held = [step for step in steps if step["scope"] == "host" and _rule(step).kind is Kind.BINDS]
    caps = [step for step in steps if _rule(step).kind is Kind.CAP]
    return held[-1] if held else min(caps, key=lambda step: float(step["watts"]), default=None)


def _stands(document: Document, status: Document, gpu: Document | None) -> Iterator[str]:
    """Yield what the GPU has, what it wants, and what makes that less than it seems."""
    name, limit, enforced = f"GPU {document['index']}", document["limit_watts"], document["enforced_watts"]
    if limit is None:
        yield f"{name} has no limit from powerd."
    elif status["mode"] != "enforce":
        yield f"powerd writes no limits (mode {status['mode']}): it would give {name} {power(limit)}."
        yield f"Now {power(enforced)} are enforced."
    else:
        yield f"{name} has {power(limit)}."
        if enforced is None or enforced > limit:
            yield f"That is not in effect yet: {power(enforced)} are enforced."
        elif enforced < limit - 1:
            yield f"Only {power(enforced)} of them are enforced: something outside of powerd limits it."
    if gpu is not None and gpu["want_watts"] is not None and limit is not None:
        idle = ": it idles" if gpu["demand"] == "idle" else ""
        yield f"It wants {power(gpu['want_watts'])} and draws {power(gpu['draw_watts'])}{idle}."
        if gpu["draw_watts"] is not None and gpu["draw_watts"] < _FELT_SHARE * limit:
            yield "That is well below its limit, which does not slow it now."


def _shortage(cap: Document, steps: Sequence[Document], document: Document, status: Document) -> str:
    """Return what the cap on the rack leaves for the host and its GPUs, and what they want."""
    budget = status["budget"]
    says = _filled(_rule(cap).says, cap, steps, document)
    wants = [gpu["want_watts"] for gpu in status["gpus"]]
    known = "" if None in wants or len(wants) == 1 else f", which want {power(sum(wants))} together"
    leaves = (
        f"leaves this host {power(budget['host_watts'])} and its GPUs {power(budget['gpus_watts'])}{known}"
    )
    own = _own_rule(steps)
    lowest = " It is at the least it can be limited to." if own and own["rule"] == "floor" else ""
    asked = next((step for step in steps if step["rule"] == "override"), None)
    more = _filled(_ASKED, asked, steps, document) if asked else ""
    return f"{says[:1].upper()}{says[1:]} {leaves}.{lowest}{more}"


def _own_rule(steps: Sequence[Document]) -> Document | None:
    """Return the step of the GPU itself that set its limit, or would have set it but for the dead-band."""
    own = [step for step in steps if step["scope"] == "gpu" and step["rule"] != "dead_band"]
    return own[-1] if own else None


def _others_first(document: Document, status: Document) -> Iterator[str]:
    """Yield the other GPUs of the host that are served before this one by an operator's word."""
    for order in (status.get("orders") or {}).get("overrides", ()):
        if order["uuid"] != document["uuid"]:
            until = clock(order["until"], order["remaining_s"])
            yield (
                f"GPU {order['index']} comes first with {power(order['watts'])}, by an override of "
                f'{order["by"]} ("{order["reason"]}", until {until}).'
            )


def _override(binding: Document, document: Document, gpu: Document | None, status: Document) -> Iterator[str]:
    """Yield how to put the GPU before the others of its host, where that would help."""
    has_one = any(step["rule"] == "override" for step in document["steps"])
    is_short = _rule(binding).kind is Kind.CAP and gpu is not None and not has_one
    others = [each for each in status["gpus"] if each["limit_watts"] is not None]
    if is_short and gpu is not None and gpu["want_watts"] is not None and len(others) > 1:
        watts = min(gpu["want_watts"], gpu["max_watts"] or gpu["want_watts"])
        yield (
            "or take them from this host's other GPUs for a while: powerctl override "
            f"--gpu {document['index']} --watts {watts:.0f} --ttl 30m --reason TEXT"
        )
        yield "or for good: a higher priority or weight in gpu.overrides"


def _filled(text: str, step: Document, steps: Sequence[Document], document: Document) -> str:
    before = steps[steps.index(step) - 1]["watts"] if step in steps[1:] else step["watts"]
    ends = f"until {clock(step['until'], step['remaining_s'])}" if step["until"] else ""
    return text.format(
        watts=power(step["watts"]),
        took=power(before - step["watts"]),
        source=step["source"],
        note=step["note"],
        because=f' "{step["note"]}"' if step["note"] else "",
        until=f" ({ends})" if ends else "",
        then=f", {ends}" if ends else "",
        gpu=document["index"],
    )
