"""What status shows of the orders that hold."""

from dataclasses import replace

from powerd.core.orders.override import Override
from powerd.snapshot import Detached, Drill, OrdersView, Snapshot
from powerd.web import views
from tests.web.host import BOOT_S, WALL_S, moment


def test_without_orders_status_shows_none(snapshot: Snapshot) -> None:
    shown = replace(snapshot, orders=OrdersView("enforce"))
    orders = views.status(shown, moment(0.0)).orders.model_dump()
    assert orders == {
        "configured_mode": "enforce",
        "released": False,
        "detached": None,
        "drill": None,
        "overrides": [],
    }


def test_every_order_is_shown_with_who_gave_it_why_and_until_when(snapshot: Snapshot) -> None:
    view = OrdersView(
        "enforce",
        released=True,
        detached=Detached(WALL_S - 60.0, "ada (uid 1000)", "driver upgrade"),
        drill=Drill(BOOT_S + 30.0, "bob (uid 1001)", "game day", dropped=2),
        overrides=(Override("GPU-33aa-3", 300_500, BOOT_S + 600.0, "slow", "ada (uid 1000)"),),
    )
    orders = views.status(replace(snapshot, orders=view), moment(10.0)).orders
    assert orders.released
    assert orders.detached is not None
    assert orders.drill is not None
    assert (orders.detached.since, orders.detached.by) == ("2026-11-21T16:59:00.000Z", "ada (uid 1000)")
    assert (orders.drill.until, orders.drill.remaining_s) == ("2026-11-21T17:00:30.000Z", 20.0)
    assert (orders.drill.reason, orders.drill.dropped) == ("game day", 2)
    (override,) = orders.overrides
    assert (override.index, override.watts, override.remaining_s) == (3, 300.5, 590.0)
    assert override.until == "2026-11-21T17:10:00.000Z"


def test_an_override_of_a_gpu_that_is_gone_has_no_index(snapshot: Snapshot) -> None:
    gone = Override("GPU-gone", 300_000, BOOT_S + 600.0, "slow", "ada (uid 1000)")
    shown = replace(snapshot, orders=OrdersView("enforce", overrides=(gone,)))
    (override,) = views.status(shown, moment(0.0)).orders.overrides
    assert (override.uuid, override.index) == ("GPU-gone", None)
