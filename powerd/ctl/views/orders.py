"""What `powerctl status` and `top` say of the orders of operators that hold."""

from collections.abc import Iterator

from powerd.ctl.client import Document
from powerd.ctl.reasons import clock, power


def standing(status: Document) -> Iterator[tuple[str, str]]:
    """Yield a name and one line for each order that holds; nothing if all is as configured."""
    orders = status.get("orders")
    if not orders:
        return
    if orders["configured_mode"] not in ("", status["mode"]):
        yield "mode", f"{status['mode']} until the next start; host.mode is {orders['configured_mode']}"
    if orders["released"]:
        yield (
            "released",
            "limits are as powerd found them, and it writes none: powerctl mode enforce ends that",
        )
    if detached := orders["detached"]:
        since = f"since {detached['since'][11:19]} UTC"
        yield "detached", f"the driver is let go {since}, {_by(detached)}: powerctl attach ends that"
    if drill := orders["drill"]:
        until = clock(drill["until"], drill["remaining_s"])
        yield "drill", f"no budget is heard until {until}, {_by(drill)}"
    for each in orders["overrides"]:
        until = clock(each["until"], each["remaining_s"])
        yield "override", f"GPU {each['index']} {power(each['watts'])} until {until}, {_by(each)}"


def _by(order: Document) -> str:
    return f"by {order['by']}: {order['reason']}"
