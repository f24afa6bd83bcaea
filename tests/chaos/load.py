"""The clients of a run, each asking one thing after the other until it is told to stop."""

import asyncio
import random
from collections.abc import Sequence

from tests.chaos.asks import HTTP_KINDS, AskKind, AskSizes, make_ask
from tests.chaos.http_client import ask_over_http
from tests.chaos.live_view import LiveView
from tests.chaos.recorder import Recorder
from tests.chaos.scene import Scene
from tests.chaos.socket_client import SocketClient

#: Pause in which frames after an end would still arrive.
AFTER_SECONDS = 0.05


class Load:
    """`clients` of them at once; their requests follow from the seed, their timing does not."""

    def __init__(
        self,
        scene: Scene,
        view: LiveView,
        recorder: Recorder,
        *,
        seed: int,
        clients: int,
        sizes: AskSizes,
        kinds: Sequence[AskKind],
    ) -> None:
        self._scene = scene
        self._view = view
        self._recorder = recorder
        self._seed = seed
        self._clients = clients
        self._sizes = sizes
        self._kinds = kinds
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Ask until `stop`, then see what runs to its end."""
        async with asyncio.TaskGroup() as group:
            for number in range(self._clients):
                group.create_task(self._client(number))

    def stop(self) -> None:
        """Begin nothing new."""
        self._stop.set()

    async def _client(self, number: int) -> None:
        dice = random.Random(f"client {self._seed} {number}")
        scene = self._scene
        name = f"{scene.kind.name}{self._seed}c{number}"
        urls = [gateway.socket_url for gateway in scene.gateways]
        client = SocketClient(name, urls, scene.kind.model, self._view, self._recorder, dice)
        asked = 0
        while not self._stop.is_set():
            asked += 1
            ask = make_ask(f"{name}n{asked}", dice.choice(self._kinds), dice, self._sizes)
            if ask.kind in HTTP_KINDS:
                gateway = dice.randrange(len(scene.gateways))
                await ask_over_http(ask, scene.gateways, gateway, scene.kind.model, self._recorder)
            else:
                await client.ask(ask)
                await asyncio.sleep(AFTER_SECONDS)
        await client.leave()
