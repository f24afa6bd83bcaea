"""A client from outside: the public API through the published port, nothing of the product imported."""

from __future__ import annotations

import json
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect as connect_now
from websockets.typing import Origin

SOURCE_MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
MODEL = "smollm2-135m-instruct"


@dataclass(frozen=True)
class Answer:
    """One chat's answer and how it came."""

    text: str
    seqs: list[int]
    worker_id: str
    finish_reason: str
    completion_tokens: int


class PlatformClient:
    """Speaks HTTP and WebSocket with the gateway."""

    def __init__(self, port: int, key: str, *, certificate: Path | None = None) -> None:
        authority = f"127.0.0.1:{port}"
        self.http_url = f"http://{authority}"
        self.socket_url = f"ws://{authority}/api/v1/ws"
        self._trust: ssl.SSLContext | None = None
        if certificate is not None:
            self.http_url, self.socket_url = f"https://{authority}", f"wss://{authority}/api/v1/ws"
            self._trust = ssl.create_default_context(cafile=str(certificate))
        self._http = httpx.Client(base_url=self.http_url, verify=self._trust or True, timeout=60, trust_env=False)
        self.key = key
        self._headers = {"Authorization": f"Bearer {key}"}

    def close(self) -> None:
        """Close the connections that are kept."""
        self._http.close()

    def get(self, path: str) -> Any:
        """Return the JSON of a resource."""
        return self._checked(self._http.get(path, headers=self._headers))

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """Post JSON and return the answer's."""
        return self._checked(self._http.post(path, json=body, headers=self._headers))

    def delete(self, path: str) -> None:
        """Delete a resource; 202 says that the converter does it."""
        answer = self._http.delete(path, headers=self._headers)
        assert answer.status_code in (202, 204), answer.text

    def status_without_key(self, path: str) -> int:
        """Return the status that a caller without a key gets."""
        return self._http.get(path).status_code

    def status_with_key(self, path: str, key: str) -> int:
        """Return the status that a caller with another key gets."""
        return self._http.get(path, headers={"Authorization": f"Bearer {key}"}).status_code

    def ended_chat(self, chat_id: str, *, timeout_seconds: float = 20) -> dict[str, Any]:
        """Return a chat once its answers are stored."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            chat: dict[str, Any] = self.get(f"/api/v1/chats/{chat_id}")
            if all(message["status"] != "running" for message in chat["messages"]):
                return chat
            assert time.monotonic() < deadline, f"an answer of {chat_id} is never stored as ended"
            time.sleep(0.2)

    def post_bytes(self, path: str, length_bytes: int) -> httpx.Response:
        """Post a body of so many bytes and return whatever is answered."""
        return self._http.post(path, content=b" " * length_bytes, headers=self._headers)

    def sign_in(self, headers: dict[str, str] | None = None) -> dict[str, str]:
        """Sign in as the page does; return the cookie's text and the header that set it."""
        answer = self._http.post("/api/v1/session", json={"key": self.key}, headers=headers)
        self._checked(answer)
        self._http.cookies.clear()
        cookie = answer.headers["set-cookie"]
        return {"cookie": cookie.partition(";")[0], "set-cookie": cookie}

    def socket_status_of_a_page(self, *, origin: str = "") -> int:
        """Ask for a socket by a page's cookie, from the page's own origin or another; return the answer's status."""
        cookie = {"Cookie": self.sign_in()["cookie"]}
        place = Origin(origin or self.http_url)
        try:
            with connect_now(self.socket_url, additional_headers=cookie, origin=place, proxy=None, ssl=self._trust):
                return 101
        except InvalidStatus as error:
            return error.response.status_code

    def convert(self, source_model: str, variants: list[str], *, timeout_seconds: float) -> dict[str, Any]:
        """Ask for a conversion and follow its events to the end; return the job."""
        job = self.post("/api/v1/conversions", {"source_model": source_model, "variants": variants})
        return self.ended_conversion(job["conversion_id"], timeout_seconds=timeout_seconds)

    def stage_begun(self, conversion_id: str, stage: str, *, timeout_seconds: float = 120) -> None:
        """Wait until a conversion is in a stage."""
        deadline = time.monotonic() + timeout_seconds
        while (job := self.get(f"/api/v1/conversions/{conversion_id}"))["stage"] != stage:
            assert time.monotonic() < deadline, job
            time.sleep(0.1)

    def ended_conversion(self, conversion_id: str, *, timeout_seconds: float) -> dict[str, Any]:
        """Follow a conversion's events to the end; return the job."""
        path = f"/api/v1/conversions/{conversion_id}"
        deadline = time.monotonic() + timeout_seconds
        with self._http.stream("GET", f"{path}/events", headers=self._headers) as events:
            for _ in events.iter_lines():
                assert time.monotonic() < deadline, f"the conversion takes too long: {self.get(path)}"
        ended: dict[str, Any] = self.get(path)
        return ended

    def tokens_by_worker(self) -> dict[str, int]:
        """Return each living worker's count of generated tokens."""
        return {worker["worker_id"]: worker["generated_tokens"] for worker in self.get("/api/v1/workers")["data"]}

    def ready_replicas(self, model: str, variant: str) -> int:
        """Count the workers that have a variant loaded."""
        replicas = [view["replica"] for view in self.get("/api/v1/replicas")["data"]]
        wanted = (model, variant, "ready")
        return sum((replica["model"], replica["variant"], replica["state"]) == wanted for replica in replicas)

    def wait_for_replicas(self, model: str, variant: str, count: int, *, timeout_seconds: float = 180) -> None:
        """Wait until so many workers have a variant loaded."""
        deadline = time.monotonic() + timeout_seconds
        while self.ready_replicas(model, variant) != count:
            assert time.monotonic() < deadline, self.get("/api/v1/replicas")
            time.sleep(0.5)

    async def chat(self, model: str, content: str, *, request_id: str, max_new_tokens: int = 48) -> Answer:
        """Ask one question in a new chat over a socket of its own and read the answer to its end."""
        frame = {
            "type": "chat.send", "request_id": request_id, "chat_id": None, "model": model, "content": content,
            "params": {"temperature": 0, "max_new_tokens": max_new_tokens},
        }  # fmt: skip
        async with self._socket() as socket:
            await socket.send(json.dumps(frame))
            pieces, seqs, worker_id = [], [], ""
            async for raw in socket:
                event = json.loads(raw)
                match event["type"]:
                    case "generation.started":
                        worker_id = event["worker_id"]
                    case "generation.delta":
                        pieces.append(event["text"])
                        seqs.append(event["seq"])
                    case "generation.finished":
                        tokens = event["usage"]["completion_tokens"]
                        return Answer("".join(pieces), seqs, worker_id, event["finish_reason"], tokens)
                    case "generation.failed" | "error":
                        raise AssertionError(f"the chat failed: {event['error']}")
        raise AssertionError("the socket closed before the answer ended")

    async def resume(self, generation_id: str) -> list[tuple[int, str]]:
        """Follow an answer from its beginning, over a new socket; return number and text of each delta."""
        deltas: list[tuple[int, str]] = []
        async with self._socket() as socket:
            await socket.send(json.dumps({"type": "generation.resume", "generation_id": generation_id, "after_seq": 0}))
            async for raw in socket:
                event = json.loads(raw)
                match event["type"]:
                    case "generation.delta":
                        deltas.append((event["seq"], event["text"]))
                    case "generation.finished":
                        return deltas
                    case "generation.failed" | "error":
                        raise AssertionError(f"{generation_id} cannot be resumed: {event['error']}")
        raise AssertionError("the socket closed before the answer ended")

    def _socket(self) -> connect:
        return connect(self.socket_url, additional_headers=self._headers, proxy=None, ssl=self._trust)

    @staticmethod
    def _checked(response: httpx.Response) -> Any:
        assert response.is_success, f"{response.request.url} answered {response.status_code}: {response.text}"
        return response.json()
