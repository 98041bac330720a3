"""Many who ask at once get their answers one by one, and the control loop its turns in between."""

import asyncio
from itertools import pairwise

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from powerd.web.pace import Pace

REQUEST = make_mocked_request("GET", "/v1/status")
ANSWER = web.Response()


async def test_between_two_steps_of_the_loop_there_is_one_answer_at_the_most() -> None:
    made = 0

    async def make(_request: web.Request) -> web.Response:
        nonlocal made
        made += 1
        return ANSWER

    handler = Pace().paced(make)
    asking = [asyncio.ensure_future(handler(REQUEST)) for _ in range(100)]
    seen = [made]
    while made < len(asking):
        await asyncio.sleep(0)
        seen.append(made)
    assert max(after - before for before, after in pairwise(seen)) == 1
    await asyncio.gather(*asking)


async def test_an_answer_that_fails_holds_up_nobody() -> None:
    async def fail(_request: web.Request) -> web.Response:
        raise web.HTTPNotFound

    handler = Pace().paced(fail)
    async with asyncio.timeout(5):
        for _ in range(3):
            with pytest.raises(web.HTTPNotFound):
                await handler(REQUEST)


async def test_who_leaves_while_waiting_holds_up_nobody() -> None:
    async def make(_request: web.Request) -> web.Response:
        return ANSWER

    handler = Pace().paced(make)
    leaving = [asyncio.ensure_future(handler(REQUEST)) for _ in range(10)]
    await asyncio.sleep(0)
    for task in leaving[1:]:
        task.cancel()
    async with asyncio.timeout(5):
        assert await handler(REQUEST) is ANSWER
    assert sum(task.cancelled() for task in leaving) == 9
