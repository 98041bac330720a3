"""`powerctl publish event`: what a grid, or a bridge to one, would ask for."""

from typing import TYPE_CHECKING, Annotated

import typer

from powerd.core.events.grid_event import (
    Action,
    ActionKind,
    Baseline,
    EventClass,
    EventRamp,
    GridEvent,
    Interval,
    Level,
)
from powerd.core.units import milliwatts
from powerd.ctl.broker import (
    DEFAULT_PREFIX,
    AsJson,
    Every,
    Prefix,
    Site,
    Source,
    Start,
    at_a_broker,
    say,
    sender,
    when,
)
from powerd.ctl.options import seconds

if TYPE_CHECKING:  # imported when needed: the other commands shall not wait for it
    from powerd.signals.endpoint import BusOptions

# What a cancellation repeats of its event does not count.
NOTHING = Action(ActionKind.SHED_LEVEL, level=0)

EXAMPLE = """\b
Example:
  powerctl publish event --site hel1 --rack r17 --id peak --reduce-pct 25 \\
    --duration 3h --ramp-down 15m --ramp-up 10m
  powerctl publish event --site hel1 --rack r17 --id peak --cancel"""


@at_a_broker
def event(
    site: Site,
    event_id: Annotated[str, typer.Option("--id", help="Name of the event; a later one replaces it.")],
    rack: Annotated[str, typer.Option(help="Rack that it is for; not needed with --target.")] = "",
    limit_watts: Annotated[
        float | None, typer.Option(help="Draw no more than this.", metavar="W", min=0)
    ] = None,
    reduce_watts: Annotated[
        float | None, typer.Option(help="Draw so much less than the baseline.", metavar="W", min=0)
    ] = None,
    reduce_pct: Annotated[
        float | None,
        typer.Option(help="Draw so many per cent less than the baseline.", metavar="PCT", min=0, max=100),
    ] = None,
    level: Annotated[
        int | None, typer.Option(help="Shed by a level of the hosts' configuration.", min=0, max=3)
    ] = None,
    start: Start = "now",
    duration: Annotated[
        str, typer.Option(help="How long; default: until cancelled.", metavar="DURATION")
    ] = "",
    baseline: Annotated[Baseline, typer.Option(help="What reductions count from.")] = Baseline.BUDGET,
    event_class: Annotated[
        EventClass, typer.Option("--class", help="How binding it is.")
    ] = EventClass.MANDATORY,
    scope: Annotated[Level, typer.Option(help="What the targets are.")] = Level.RACK,
    target: Annotated[
        list[str] | None, typer.Option(help="Name of a rack, host or feed; may be repeated.")
    ] = None,
    ramp_down: Annotated[
        str, typer.Option(help="Spread the reduction over this long.", metavar="DURATION")
    ] = "0s",
    ramp_up: Annotated[str, typer.Option(help="Likewise the way back.", metavar="DURATION")] = "0s",
    ramp_up_jitter: Annotated[
        str, typer.Option(help="Hosts start it up to this much later.", metavar="DURATION")
    ] = "0s",
    priority: Annotated[
        int | None, typer.Option(help="Between events of one source and program the lowest governs.", min=0)
    ] = None,
    program: Annotated[str, typer.Option(help="Program that it belongs to.")] = "",
    every: Every = "",
    source: Source = "",
    prefix: Prefix = DEFAULT_PREFIX,
    *,
    bus: "BusOptions",
    floor: Annotated[bool, typer.Option("--floor", help="Draw as little as limiting can reach.")] = False,
    cancel: Annotated[
        bool, typer.Option("--cancel", help="It is over from now on: give the same --id and --source.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Publish a grid event.

    Exactly one of --limit-watts, --reduce-watts, --reduce-pct, --level and --floor says what is asked for,
    or --cancel that nothing is any more.

    Unlike a budget an event holds to its end, whether it is said again or not.
    """
    from powerd.clock import SystemClock  # noqa: PLC0415 - the MQTT client is loaded when it is needed
    from powerd.facility.publish_event import EventPublisher, check_event  # noqa: PLC0415
    from powerd.signals.topics import SiteTopics  # noqa: PLC0415

    now = SystemClock().now()
    asked = {
        ActionKind.LIMIT: limit_watts,
        ActionKind.REDUCE: reduce_watts,
        ActionKind.REDUCE_PCT: reduce_pct,
        ActionKind.SHED_LEVEL: level,
        ActionKind.FLOOR: floor or None,
    }
    try:
        action = NOTHING if cancel else _action(asked, baseline)
        topics = SiteTopics(prefix, site)
        topics.grid_event(event_id)  # it must be fit for a topic
        publisher = EventPublisher(topics, source=sender(source), clock=SystemClock())
        said = GridEvent(
            source=sender(source),
            event_id=event_id,
            epoch=0,
            seq=0,
            issued_at_s=now.wall_s,
            event_class=event_class,
            level=scope,
            targets=_targets(scope, target or [], site, rack),
            intervals=(_interval(start, duration, action, now.wall_s),),
            received=now,
            is_cancelled=cancel,
            ramp=EventRamp(
                seconds("--ramp-down", ramp_down),
                seconds("--ramp-up", ramp_up),
                seconds("--ramp-up-jitter", ramp_up_jitter),
            ),
            priority=priority,
            program=program,
        )
        check_event(said)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    every_s = seconds("--every", every) if every else None
    if every_s is not None and every_s <= 0:
        raise typer.BadParameter(f"--every {every} must be more than zero")
    say(
        publisher,
        bus,
        said,
        every_s=every_s,
        for_s=None if said.end_s is None else max(0.0, said.end_s - now.wall_s),
        stopped=f"the event {'stays cancelled' if cancel else 'holds to its end; --cancel ends it before'}",
        as_json=as_json,
    )


def _action(asked: dict[ActionKind, float | None], baseline: Baseline) -> Action:
    """Return the one action that is asked for.

    Raises:
        ValueError: none is, or several are.
    """
    given = [(kind, number) for kind, number in asked.items() if number is not None]
    if len(given) != 1:
        raise ValueError(
            "say what is asked for with exactly one of --limit-watts, --reduce-watts, --reduce-pct, --level "
            "and --floor, or end the event with --cancel"
        )
    [(kind, number)] = given
    match kind:
        case ActionKind.LIMIT | ActionKind.REDUCE:
            return Action(kind, mw=milliwatts(number), baseline=baseline)
        case ActionKind.REDUCE_PCT:
            return Action(kind, pct=number, baseline=baseline)
        case ActionKind.SHED_LEVEL:
            return Action(kind, level=int(number), baseline=baseline)
        case _:
            return Action(kind)


def _targets(scope: Level, named: list[str], site: str, rack: str) -> tuple[str, ...]:
    """Return what the event is about.

    Raises:
        ValueError: nothing is named.
    """
    if scope is Level.RACK and rack:
        return (rack, *named)
    if not named and scope is not Level.SITE:
        raise ValueError(f"--scope {scope} needs --target{' or --rack' if scope is Level.RACK else ''}")
    return tuple(named) or (site,)


def _interval(start: str, duration: str, action: Action, now_s: float) -> Interval:
    start_s = when(start, now_s)
    return Interval(start_s, start_s + seconds("--duration", duration) if duration else None, action)
