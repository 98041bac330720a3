"""The broker of a demo that was given none: amqtt, the one that pip can install.

It speaks MQTT 3.1.1 only, keeps nothing for clients that are away, and may deliver a retained message twice
or to a client that did not ask for it. Hosts put up with all that; for a real rack use a real broker.
"""

import asyncio
import importlib.util
import logging
import signal

PROTOCOL = "3.1.1"


def is_installed() -> bool:
    """Return whether the `demo` extra is there."""
    return importlib.util.find_spec("amqtt") is not None


def serve(port: int) -> None:
    """Serve on a port of the loopback interface until SIGTERM."""
    logging.basicConfig(level=logging.ERROR)
    asyncio.run(_serve(port))


async def _serve(port: int) -> None:
    from amqtt.broker import Broker  # noqa: PLC0415 - an extra: this module is imported without it too

    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    broker = Broker(
        {
            "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
            "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
        }
    )
    await broker.start()
    await stop.wait()
    await broker.shutdown()
