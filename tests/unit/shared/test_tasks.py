"""Ending tasks that do not want to end."""

import asyncio

from shared.tasks import end_tasks


async def test_a_lost_cancellation_does_not_keep_a_service_alive() -> None:
    """The accident: a loop's Redis call fails in the moment of its cancellation, and the service never ends."""
    rounds = 0

    async def loop() -> None:
        nonlocal rounds
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                rounds += 1
                if rounds > 2:
                    raise

    async def ends_by_itself() -> None:
        raise OSError

    tasks = [asyncio.create_task(loop()), asyncio.create_task(ends_by_itself())]
    await asyncio.sleep(0)
    await end_tasks(tasks)
    assert rounds == 3
    assert all(task.done() for task in tasks)
    assert isinstance(tasks[1].exception(), OSError)
