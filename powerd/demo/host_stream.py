"""Follows what one host of the demo reports: its stream of status documents, and its counters."""

import asyncio
import json
from collections.abc import Callable
from typing import NoReturn

import aiohttp

from powerd.clock import boot_s
from powerd.demo.child_process import Child
from powerd.demo.observation import HostView, host_view

_DATA = b"data: "
_CONNECT_EVERY_S = 0.05
_SILENT_S = 10.0
# One event is one line, half a kilobyte per GPU.
_LINE_BYTES = 2**20


async def follow(
    http: aiohttp.ClientSession, url: str, child: Child, on_view: Callable[[HostView], None]
) -> NoReturn:
    """Hand on every report of a host, from its start to its end.

    Args:
        http: to ask with.
        url: of the host's page.
        child: the host's process.
        on_view: takes each report as it arrives.

    Raises:
        ChildFailedError: the process ended, or says nothing for ten seconds.
    """
    ended = asyncio.create_task(child.ended())
    try:
        while not ended.done():
            try:
                async with asyncio.timeout(_SILENT_S) as patience:
                    await _read(http, url, on_view, patience)
            except TimeoutError:
                raise child.failure(f"has not reported for {_SILENT_S:g} s") from None
            except aiohttp.ClientError:
                pass  # not listening yet, or cut off because this process was too slow to read: again
            await asyncio.wait([ended], timeout=_CONNECT_EVERY_S)
        await ended
    finally:
        ended.cancel()


async def _read(
    http: aiohttp.ClientSession, url: str, on_view: Callable[[HostView], None], patience: asyncio.Timeout
) -> None:
    loop = asyncio.get_running_loop()
    async with http.get(f"{url}/v1/stream", read_bufsize=_LINE_BYTES) as response:
        async for line in response.content:
            if line.startswith(_DATA):
                on_view(host_view(json.loads(line.removeprefix(_DATA)), boot_s()))
                patience.reschedule(loop.time() + _SILENT_S)


async def total(http: aiohttp.ClientSession, url: str, metric: str, *results: str) -> int:
    """Return the sum of a counter of a host, over the series with one of these results, or over all."""
    async with http.get(f"{url}/metrics") as response:
        text = await response.text()
    return sum(
        int(float(line.rpartition(" ")[2]))
        for line in text.splitlines()
        if line.startswith(f"{metric}{{")
        and (not results or any(f'result="{result}"' in line for result in results))
    )
