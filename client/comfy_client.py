"""Talk to a running ComfyUI: upload, queue a prompt in API form, follow it to its end, fetch what it made.

The methods are synchronous and may be called from any thread (also from one that runs an event loop of its own);
inside, one background loop carries aiohttp.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import queue
import re
import threading
import uuid
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

import aiohttp

# A message as the server sent it, such as {"type": "progress", "data": {...}}.
Event = dict[str, Any]

# The seconds that an answer of the server may take.
ANSWER_TIMEOUT = 60.0
# The seconds without a message of a prompt after which the server is asked whether it is still there.
QUIET = 5.0
# The line with which Python logs the end of ComfyUI's thread.
WORKER = re.compile(r"Exception in thread Thread-\d+ \(prompt_worker\)")


class ComfyError(Exception):
    """Base of what can go wrong between us and the server; the text is one sentence."""


class ServerUnreachable(ComfyError):
    """No server answers, or the connection broke before the prompt's end."""


class PromptRejected(ComfyError):
    """The server refuses the prompt; `node_errors` is its own account by node id."""

    def __init__(self, message: str, node_errors: Mapping[str, Any]):
        super().__init__(message)
        self.node_errors = node_errors


class NodeFailed(ComfyError):
    """A node raised while the prompt ran; `message` is what it said, `traceback` the server's."""

    def __init__(self, data: Mapping[str, Any]):
        self.node_id: str = data["node_id"]
        self.node_type: str = data["node_type"]
        self.exception_type: str = data["exception_type"]
        self.message: str = data["exception_message"].strip()
        self.traceback: str = "".join(data["traceback"])
        super().__init__(f"{self.node_type} (node '{self.node_id}') failed: {self.message}")


class RunInterrupted(ComfyError):
    """Somebody interrupted the prompt or took it out of the queue."""


class WorkerDied(ComfyError):
    """The server answers, but what runs its prompts has ended, so that none of them ever will."""


@dataclass(frozen=True)
class Run:
    """A prompt that ended well.

    `outputs`: by node id what its node shows, such as {"images": [{"filename", "subfolder", "type"}]}.
    `events`: every websocket message of this prompt in order. `cached` and `executed`: node ids.
    """

    prompt_id: str
    outputs: dict[str, dict[str, Any]]
    events: list[Event]
    cached: list[str]
    executed: list[str]


class ComfyClient:
    """`url`: the server's address; a user and password in it are sent, and shown in no error."""

    def __init__(self, url: str):
        address = urlsplit(url.rstrip("/"))
        user, at, host = address.netloc.rpartition("@")
        name, _, password = user.partition(":")
        self.url = urlunsplit(address._replace(netloc=host))
        self._auth = aiohttp.BasicAuth(unquote(name), unquote(password), "utf-8") if at else None

    def device(self) -> str:
        """The type of the device that ComfyUI computes on, such as "cuda" or "cpu"."""
        answer = _wait(self._json("GET", "/system_stats"))
        with self.reading():
            return _text(answer["devices"][0]["type"])

    def object_info(self) -> dict[str, Any]:
        """Every node the server knows, with its inputs and outputs."""
        return _wait(self._json("GET", "/object_info"))

    def upload_image(self, path: str | Path) -> str:
        """Put an image into the server's input folder; returns the name a LoadImage node takes."""
        path = Path(path)
        return self.upload(path.name, path.read_bytes())

    def upload(self, name: str, data: bytes) -> str:
        """Put a file of some bytes there, under that name or one like it, which is returned."""
        return _wait(self._upload(name, data))

    def run(
        self,
        prompt: Mapping[str, Any],
        on_event: Callable[[Event], None] | None = None,
        prompt_id: str | None = None,
    ) -> Run:
        """Queue a prompt and wait for its end. `on_event` sees each message as it arrives, in the calling thread, and
        may call the client. `prompt_id` is a UUID as str(uuid.uuid4()) writes it, for `cancel`.

        Raises PromptRejected, NodeFailed, RunInterrupted, WorkerDied or ServerUnreachable.
        """
        arriving: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        work = asyncio.run_coroutine_threadsafe(self._run(prompt, arriving.put, prompt_id), _loop())
        work.add_done_callback(lambda _: arriving.put(None))
        try:
            for event in _until_none(arriving):
                if on_event:
                    on_event(event)
            return work.result()
        finally:
            work.cancel()  # closes the connection when on_event raised

    def fetch(self, image: Mapping[str, str]) -> bytes:
        """The bytes of a file as an output names it: {"filename", "subfolder", "type"}."""
        with self.reading():
            wanted = {key: _text(image[key]) for key in ("filename", "subfolder", "type")}
        return _wait(self._request("GET", "/view", params=wanted))

    def interrupt(self) -> None:
        """Stop the prompt that is running now, whoever queued it."""
        _wait(self._request("POST", "/interrupt", json={}))

    def cancel(self, prompt_id: str) -> None:
        """Stop this prompt if it runs, take it out of the queue if it waits, or if it arrives within a second: who
        gives up a run may do so while it is being sent. Harmless when the prompt has ended."""
        _wait(self._cancel_arriving(prompt_id))

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Where an answer of the server is taken apart: what is not as ComfyUI's comes out as a ComfyError."""
        try:
            yield
        except (LookupError, TypeError, AttributeError, ValueError, RecursionError) as error:
            raise ComfyError(f"What answers on {self.url} is not ComfyUI, or not one that can be understood") from error

    # -- inside the loop

    async def _request(self, method: str, path: str, **options: Any) -> bytes:
        async with self._connection() as session, session.request(method, self.url + path, **options) as response:
            if response.status >= 400:
                raise ComfyError(f"{method} {path} on {self.url} answered {response.status} {response.reason}")
            return await response.read()

    async def _json(self, method: str, path: str, **options: Any) -> Any:
        answer = await self._request(method, path, **options)
        with self.reading():
            return json.loads(answer)

    async def _cancel_arriving(self, prompt_id: str) -> None:
        for _ in range(5):
            there = await self._is_queued(prompt_id)
            await self._cancel(prompt_id)
            if there:
                return
            await asyncio.sleep(0.2)

    async def _cancel(self, prompt_id: str) -> None:
        await self._request("POST", "/queue", json={"delete": [prompt_id]})
        await self._request("POST", "/interrupt", json={"prompt_id": prompt_id})

    async def _upload(self, name: str, data: bytes) -> str:
        form = aiohttp.FormData(quote_fields=False)  # quoted, the server would store a%20b.png
        name = "".join(character if character.isprintable() else "_" for character in name)
        form.add_field("image", data, filename=name)
        answer = await self._json("POST", "/upload/image", data=form)
        with self.reading():
            return f"{_text(answer['subfolder'])}/{_text(answer['name'])}".lstrip("/")

    async def _run(self, prompt: Mapping[str, Any], on_event: Callable[[Event], None], prompt_id: str | None) -> Run:
        client_id = uuid.uuid4().hex
        address = f"{self.url}/ws?clientId={client_id}"
        async with self._connection() as session:
            # the heartbeat ends the wait for a server that is gone without closing the connection
            async with session.ws_connect(address, heartbeat=ANSWER_TIMEOUT, max_msg_size=0) as socket:
                await self._subscribe_to_log(session, client_id)
                body = {"prompt": prompt, "client_id": client_id, **({"prompt_id": prompt_id} if prompt_id else {})}
                prompt_id = await self._submit(session, body)
                events = await self._follow(socket, prompt_id, on_event)
        entry = await self._history(prompt_id)
        with self.reading():
            return _outcome(prompt_id, events, entry)

    def _connection(self) -> _Connection:
        return _Connection(self.url, self._auth)

    async def _subscribe_to_log(self, session: aiohttp.ClientSession, client_id: str) -> None:
        """Have the server send what it logs, where alone the end of its prompt worker is told; harmless when it
        does not."""
        wanted = {"clientId": client_id, "enabled": True}
        async with session.patch(f"{self.url}/internal/logs/subscribe", json=wanted):
            pass

    async def _submit(self, session: aiohttp.ClientSession, body: Mapping[str, Any]) -> str:
        async with session.post(f"{self.url}/prompt", json=body) as response:
            if response.status not in (200, 400):
                raise ComfyError(f"{self.url} answered {response.status} {response.reason} to a prompt")
            data = await response.read()
        with self.reading():
            answer = json.loads(data)
            node_errors = answer["node_errors"]
            rejection = _rejection(answer.get("error"), node_errors) if node_errors or "error" in answer else None
            prompt_id = None if response.status == 400 else _text(answer["prompt_id"])
        if rejection:
            if prompt_id:  # the server would run the rest of the graph without these
                await self._cancel(prompt_id)
            raise PromptRejected(rejection, node_errors)
        if prompt_id is None:
            raise ComfyError(f"{self.url} answered {response.status} {response.reason} to a prompt")
        return prompt_id

    async def _follow(
        self, socket: aiohttp.ClientWebSocketResponse, prompt_id: str, on_event: Callable[[Event], None]
    ) -> list[Event]:
        """Messages of this prompt until it has ended, the connection breaks or the server no longer knows it."""
        events: list[Event] = []
        clock = asyncio.get_running_loop().time
        quiet = clock() + QUIET
        while True:
            try:
                message = await socket.receive(max(quiet - clock(), 0.001))
            except asyncio.TimeoutError:
                if await self._is_queued(prompt_id):
                    quiet = clock() + QUIET
                    continue
                return events
            if message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR):
                return events
            if message.type != aiohttp.WSMsgType.TEXT:  # previews
                continue
            with self.reading():
                event = json.loads(message.data)
                if event["type"] == "logs":
                    self._check_worker(event["data"]["entries"])
                if not isinstance(event["data"], dict) or event["data"].get("prompt_id") != prompt_id:
                    continue
                _check_event(event)
            events.append(event)
            on_event(event)
            quiet = clock() + QUIET
            if event["type"] == "executing" and event["data"]["node"] is None:  # sent once the history is written
                return events

    def _check_worker(self, logged: Iterable[Mapping[str, str]]) -> None:
        if WORKER.search("".join(part["m"] for part in logged)):
            raise WorkerDied(
                f"The prompt worker of the ComfyUI on {self.url} has died, so that no prompt will end there; restart "
                "it, and see in its log what it died of"
            )

    async def _is_queued(self, prompt_id: str) -> bool:
        queue = await self._json("GET", "/queue")
        with self.reading():
            return any(item[1] == prompt_id for item in [*queue["queue_running"], *queue["queue_pending"]])

    async def _history(self, prompt_id: str) -> dict[str, Any] | None:
        """How the prompt ended, None when the server does not know of an end."""
        try:
            queued = await self._is_queued(prompt_id)  # first: what has left the queue is in the history
            entries = await self._json("GET", f"/history/{prompt_id}")
        except ServerUnreachable as error:
            raise ServerUnreachable(f"{self.url} stopped answering while it ran the prompt") from error
        with self.reading():
            entry = entries.get(prompt_id)
        if queued and entry is None:
            raise ServerUnreachable(f"The connection to {self.url} broke while it ran the prompt")
        return entry


class _Connection:
    """An aiohttp session whose connection errors come out as ServerUnreachable."""

    def __init__(self, url: str, auth: aiohttp.BasicAuth | None):
        self._url, self._auth = url, auth

    async def __aenter__(self) -> aiohttp.ClientSession:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=ANSWER_TIMEOUT)
        self._session = aiohttp.ClientSession(timeout=timeout, auth=self._auth)
        return self._session

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: Any) -> None:
        await self._session.close()
        if isinstance(error, (aiohttp.ClientError, asyncio.TimeoutError, OSError, UnicodeError)):
            raise ServerUnreachable(f"No ComfyUI answers on {self._url}") from error


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a text")
    return value


def _check_event(event: Mapping[str, Any]) -> None:
    """Raise TypeError or KeyError for a message that is not as ComfyUI's, in what is read of it here and by others."""
    data = event["data"]
    if event["type"] in ("executing", "progress") and not isinstance(data["node"], (str, type(None))):
        raise TypeError("a node's id is a text")
    if event["type"] == "progress" and not all(isinstance(data[key], (int, float)) for key in ("value", "max")):
        raise TypeError("progress comes in numbers")


def _outcome(prompt_id: str, events: list[Event], entry: dict[str, Any] | None) -> Run:
    if entry is None:
        raise RunInterrupted("The prompt was taken out of the server's queue before it ran")
    # an ExecutionBlocker's message is only in the events, everything after a broken connection only in the history
    kept = [tuple(message) for message in entry["status"]["messages"]]
    messages = [*((event["type"], event["data"]) for event in events), *kept]
    for kind, data in messages:
        if kind == "execution_error":
            raise NodeFailed(data)
        if kind == "execution_interrupted":
            raise RunInterrupted(f"The prompt was interrupted at {data['node_type']} (node '{data['node_id']}')")
    cached = next((data["nodes"] for kind, data in messages if kind == "execution_cached"), [])
    running = [event["data"]["node"] for event in events if event["type"] == "executing" and event["data"]["node"]]
    return Run(prompt_id, entry["outputs"], events, list(cached), list(dict.fromkeys(running)))


def _rejection(error: Mapping[str, Any] | str | None, node_errors: Mapping[str, Any]) -> str:
    """One sentence that names each node and input the server complains about."""
    complaints: dict[str, list[str]] = {}
    for node_id, node in node_errors.items():
        inputs: dict[str, list[str]] = {}
        for reason in node["errors"]:
            inputs.setdefault(_complaint(reason), []).append(reason["extra_info"].get("input_name"))
        for complaint, names in inputs.items():  # ComfyUI repeats what a node's validation says for each input
            named = ", ".join(f"'{name}'" for name in names if name)
            complaint = f"input {named}: {complaint}" if named else complaint
            complaints.setdefault(complaint, []).append(f"node '{node_id}' ({node['class_type']})")
    sentences = [f"{', '.join(nodes)}: {complaint}" for complaint, nodes in complaints.items()]
    if not sentences and isinstance(error, Mapping):
        sentences = [" ".join(part for part in (error["message"], error["details"]) if part)]
    return f"The server rejects the prompt: {'; '.join(sentences or [str(error)]).rstrip('.')}."


def _complaint(reason: Mapping[str, Any]) -> str:
    """What the server says of one input; where the node's own validation speaks, its words alone."""
    name, details = reason["extra_info"].get("input_name"), reason["details"]
    if reason["type"] == "custom_validation_failed" and details != name:
        return details.removeprefix(f"{name} - ")
    return reason["message"] + ("" if details in ("", name) else f" ({details})")


def _until_none(arriving: queue.SimpleQueue[Event | None]) -> Iterator[Event]:
    """What arrives until a None; looks up now and then, since on Windows Ctrl-C does not end a wait."""
    while True:
        try:
            event = arriving.get(timeout=0.5)
        except queue.Empty:
            continue
        if event is None:
            return
        yield event


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="comfy-client", daemon=True).start()
    return loop


def _wait(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run_coroutine_threadsafe(work, _loop()).result()
