"""The headless client against real servers, also through a connection that breaks."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.request import Request, urlopen

import aiohttp
import pytest
from aiohttp import web
from sentences import one_sentence

from client import comfy_client as client_module
from client.arguments import sentence
from client.comfy_client import (
    ComfyClient,
    ComfyError,
    Event,
    NodeFailed,
    PromptRejected,
    RunInterrupted,
    ServerUnreachable,
    WorkerDied,
)
from client.comfyui_child import WORKER_DIED
from client.progress import Progress
from client.qwen2vl_flux.generate import Request as Asked
from client.qwen2vl_flux.generate import generate, prompt_for
from client.qwen2vl_flux.graph import Prompt, variation
from client.server import HOST, ComfyServer, default_comfyui, has_accelerator

LONG = 1000  # sampling steps: some seconds


def node(class_type: str, **inputs: object) -> dict:
    return {"class_type": class_type, "inputs": inputs}


@pytest.fixture(scope="module")
def reference(server: ComfyServer, root: Path) -> str:
    return ComfyClient(server.url).upload_image(root / "demo" / "reference.png")


@pytest.fixture
def graph(reference: str) -> Callable[..., Prompt]:
    """Small variations that no earlier test has left in the server's cache."""
    seeds = iter(range(time.time_ns(), time.time_ns() + 100))
    return lambda steps=2, **options: variation(reference, size=64, steps=steps, seed=next(seeds), **options)


def asked(server: ComfyServer, what: str) -> dict:
    with urlopen(f"{server.url}/{what}") as answer:
        return json.load(answer)


def eventually(holds: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)


def at_first(kind: str, node_id: str, action: Callable[[], object]) -> Callable[[Event], None]:
    """An on_event that acts once, on the first message of a kind about a node."""
    actions = iter([action])

    def on_event(event: Event) -> None:
        if event["type"] == kind and event["data"]["node"] == node_id:
            next(actions, lambda: None)()

    return on_event


class Relay:
    """Passes bytes between a port of its own and a server until told to cut; each connection has its own thread."""

    def __init__(self, port: int):
        self._port = port
        self._live: list[socket.socket] = []
        self.open = threading.Event()  # while it is clear, new connections wait
        self.open.set()
        self._listener = socket.create_server((HOST, 0))
        self.url = f"http://{HOST}:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def connected(self) -> bool:
        return any(end.fileno() != -1 for end in self._live)

    def cut(self) -> None:
        """Break every connection there is."""
        for end in self._live:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:  # it has ended already
                pass

    def close(self) -> None:
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                near = self._listener.accept()[0]
            except OSError:  # closed
                return
            threading.Thread(target=self._pass, args=(near,), daemon=True).start()

    def _pass(self, near: socket.socket) -> None:
        self.open.wait()
        with near, socket.create_connection((HOST, self._port)) as far:
            self._live += (near, far)
            while True:
                for source in select.select([near, far], [], [])[0]:
                    data = source.recv(65536)
                    if not data:
                        return
                    (far if source is near else near).sendall(data)


@pytest.fixture
def relay(server: ComfyServer) -> Iterator[Relay]:
    relay = Relay(server.port)
    yield relay
    relay.close()


def test_a_run_from_its_first_message_to_its_last(client, graph):
    prompt, seen = graph(steps=20), []
    run = client.run(prompt, seen.append)
    assert run.events == seen
    assert {event["data"]["prompt_id"] for event in seen} == {run.prompt_id}
    kinds = [event["type"] for event in seen]
    assert kinds[:2] == ["execution_start", "execution_cached"]
    assert kinds[-2:] == ["execution_success", "executing"] and seen[-1]["data"]["node"] is None
    steps = [event["data"] for event in seen if event["type"] == "progress" and event["data"]["node"] == "sample"]
    values = [step["value"] for step in steps]  # ComfyUI leaves out some that follow too fast
    assert values == sorted(set(values)) and values[-1] == 20 and len(values) > 1
    assert {step["max"] for step in steps} == {20}
    assert run.executed[-3:] == ["sample", "decode", "save"]
    (image,) = run.outputs["save"]["images"]
    shown = next(event["data"]["output"] for event in seen if event["type"] == "executed")
    assert shown == {"images": [image]} and client.fetch(image)[1:4] == b"PNG"


def test_cached_and_executed_nodes(client, graph):
    first = graph()
    client.run(first)
    again = client.run(first)
    assert again.executed == [] and set(again.cached) == set(first)
    assert again.outputs["save"]["images"]
    other = {**first, "noise": graph()["noise"]}
    run = client.run(other)
    assert run.executed == ["noise", "sample", "decode", "save"]
    assert set(run.cached) == set(first) - {"noise", "sample", "decode", "save"}


def test_runs_at_once_keep_to_themselves(client, graph):
    prompts = [graph(prefix=f"at_once_{number}") for number in range(3)]
    with ThreadPoolExecutor(3) as threads:
        runs = list(threads.map(client.run, prompts))
    for number, run in enumerate(runs):
        assert {event["data"]["prompt_id"] for event in run.events} == {run.prompt_id}
        (image,) = run.outputs["save"]["images"]
        assert image["filename"].startswith(f"at_once_{number}")


def test_inside_a_running_event_loop(client, graph):
    async def inside() -> list[str]:
        return client.run(graph()).executed

    assert "sample" in asyncio.run(inside())


def test_what_on_event_raises_comes_out_and_nothing_stays_connected(relay, client, server, graph):
    def on_event(event: Event) -> None:
        raise BrokenPipeError("nobody reads")

    with pytest.raises(BrokenPipeError, match="nobody reads"):
        ComfyClient(relay.url).run(graph(steps=LONG), on_event)
    eventually(lambda: not relay.connected)
    assert asked(server, "queue")["queue_running"]
    client.interrupt()


def test_a_rejected_prompt_names_node_and_input(client, graph):
    prompt = graph()
    prompt["sigmas"]["inputs"]["steps"] = 0
    with pytest.raises(PromptRejected) as raised:
        client.run(prompt)
    assert "node 'sigmas' (Qwen2VLFluxSigmas): input 'steps'" in str(raised.value)
    assert list(raised.value.node_errors) == ["sigmas"]


def test_the_good_half_of_a_rejected_prompt_does_not_run_on(client, server, graph):
    """The server itself would run the outputs that are in order."""
    prompt = graph(steps=LONG, prefix="half_rejected")
    prompt["other"] = node("SaveImage", images=["image", 0])
    with pytest.raises(PromptRejected, match=r"node 'other' \(SaveImage\): input 'filename_prefix'"):
        client.run(prompt)
    assert "sample" in client.run(graph()).executed  # its turn comes when the other is gone
    assert not any("half_rejected" in str(entry["outputs"]) for entry in asked(server, "history").values())


def test_a_failed_node_is_named_with_its_message(client, graph):
    prompt = graph()
    prompt["image"] = node("EmptyImage", width=4000, height=1, batch_size=1, color=0)
    with pytest.raises(NodeFailed) as raised:
        client.run(prompt)
    error = raised.value
    assert (error.node_id, error.node_type) == ("encode", "Qwen2VLEncode")
    assert error.exception_type.endswith("InputError") and "4000x1" in error.message
    assert str(error) == f"Qwen2VLEncode (node 'encode') failed: {error.message}"
    assert "qwen2vl_encode.py" in error.traceback


@pytest.mark.parametrize("by", ["another thread", "on_event"])
def test_interrupt(client, graph, by):
    sampling, steps = threading.Event(), Counter()
    on_first = at_first("progress", "sample", sampling.set if by == "another thread" else client.interrupt)

    def on_event(event: Event) -> None:
        steps[event["type"]] += 1
        on_first(event)

    other = threading.Thread(target=lambda: sampling.wait(60) and client.interrupt())
    if by == "another thread":
        other.start()
    with pytest.raises(RunInterrupted, match=r"interrupted at SamplerCustomAdvanced \(node 'sample'\)"):
        client.run(graph(steps=LONG), on_event)
    assert 0 < steps["progress"] < LONG
    if by == "another thread":
        other.join()


def test_a_prompt_taken_out_of_the_queue(client, server, graph, monkeypatch):
    monkeypatch.setattr(client_module, "QUIET", 0.5)
    with ThreadPoolExecutor(2) as threads:
        sampling = threading.Event()
        running = threads.submit(client.run, graph(steps=LONG), at_first("progress", "sample", sampling.set))
        assert sampling.wait(60)
        waiting = threads.submit(client.run, graph())
        eventually(lambda: asked(server, "queue")["queue_pending"])
        urlopen(Request(f"{server.url}/queue", json.dumps({"clear": True}).encode(), method="POST")).close()
        with pytest.raises(RunInterrupted, match="taken out of the server's queue"):
            waiting.result(60)
        client.interrupt()
        with pytest.raises(RunInterrupted, match="interrupted at"):
            running.result(60)


def test_cancel_takes_one_prompt(client, server, graph, monkeypatch):
    """The one that waits, the one that runs, and one that is only on its way; the others go on."""
    monkeypatch.setattr(client_module, "QUIET", 0.5)
    running, waiting, coming = (str(uuid.uuid4()) for _ in range(3))
    with ThreadPoolExecutor(3) as threads:
        sampling = threading.Event()
        first = threads.submit(client.run, graph(steps=LONG), at_first("progress", "sample", sampling.set), running)
        assert sampling.wait(60)
        second = threads.submit(client.run, graph(), None, waiting)
        eventually(lambda: asked(server, "queue")["queue_pending"])
        client.cancel(waiting)
        cancelled = threads.submit(client.cancel, coming)
        time.sleep(0.3)
        with pytest.raises(RunInterrupted, match="taken out of the server's queue"):
            client.run(graph(), prompt_id=coming)
        cancelled.result(60)
        assert [item[1] for item in asked(server, "queue")["queue_running"]] == [running]
        with pytest.raises(RunInterrupted, match="taken out of the server's queue"):
            second.result(60)
        client.cancel(running)
        with pytest.raises(RunInterrupted, match="interrupted at"):
            first.result(60)
    client.cancel(running)


def test_a_cut_connection_while_the_prompt_goes_on(relay, server, graph):
    ids = []

    def on_event(event: Event) -> None:
        ids.append(event["data"]["prompt_id"])
        on_first(event)

    on_first = at_first("progress", "sample", relay.cut)
    with pytest.raises(ServerUnreachable, match=f"{relay.url} broke while it ran the prompt"):
        ComfyClient(relay.url).run(graph(steps=LONG // 4), on_event)
    eventually(lambda: ids[0] in asked(server, "history"))
    assert asked(server, "history")[ids[0]]["outputs"]["save"]["images"]


@pytest.mark.parametrize("good", [True, False], ids=["well", "badly"])
def test_a_prompt_that_ends_while_the_connection_is_cut(relay, server, graph, good):
    """Nothing is lost: the server's history knows the end."""
    prompt = graph(steps=20)
    if not good:  # fails after the sampling
        prompt["tokens"] = node("Qwen2VLEncode", qwen2vl=["qwen2vl", 0], image=["decode", 0], token_budget=0)
        prompt["strip"] = node("ImageScale", image=["decode", 0], upscale_method="bilinear", width=4000, height=1)
        prompt["strip"]["inputs"]["crop"] = "disabled"
        prompt["tokens"]["inputs"]["image"] = ["strip", 0]
        prompt["save"] = node("PreviewAny", source=["tokens", 0])
    known = set(asked(server, "history"))

    def cut() -> None:
        relay.open.clear()
        relay.cut()
        eventually(lambda: set(asked(server, "history")) - known)
        relay.open.set()

    client = ComfyClient(relay.url)
    if good:
        run = client.run(prompt, at_first("progress", "sample", cut))
        assert client.fetch(run.outputs["save"]["images"][0])[1:4] == b"PNG"
        assert run.events and run.events[-1]["type"] != "execution_success"
        assert {"qwen2vl", "model"} <= {*run.cached, *run.executed}
    else:
        with pytest.raises(NodeFailed, match=r"Qwen2VLEncode \(node 'tokens'\) failed: .*4000x1"):
            client.run(prompt, at_first("progress", "sample", cut))


def test_a_killed_server(tmp_path):
    """Without the pack, to be quick: one blur of a large picture takes long enough."""
    folders = {f"{kind}_dir": tmp_path / kind for kind in ("output", "input", "temp", "user")}
    extra = ["--disable-all-custom-nodes", "--disable-api-nodes"]
    prompt = {
        "large": node("EmptyImage", width=2048, height=2048, batch_size=1, color=0),
        "blur": node("ImageBlur", image=["large", 0], blur_radius=31, sigma=10.0),
        "show": node("PreviewImage", images=["blur", 0]),
    }
    with ComfyServer(default_comfyui(), log=tmp_path / "log", extra_args=extra, **folders) as server:
        killed = []

        def kill() -> None:
            server.process.kill()
            killed.append(time.monotonic())

        with pytest.raises(ServerUnreachable, match=f"{server.url} stopped answering while it ran the prompt"):
            ComfyClient(server.url).run(prompt, at_first("executing", "blur", kill))
        assert time.monotonic() - killed[0] < 10
        with pytest.raises(ServerUnreachable, match=f"No ComfyUI answers on {server.url}"):
            ComfyClient(server.url).object_info()


def test_a_port_where_nothing_listens(root):
    with socket.socket() as reserved:
        reserved.bind((HOST, 0))
        client = ComfyClient(f"http://{HOST}:{reserved.getsockname()[1]}")
        calls = [
            client.object_info,
            client.interrupt,
            lambda: client.run({"1": node("EmptyImage")}),
            lambda: client.upload_image(root / "demo" / "reference.png"),
            lambda: client.fetch({"filename": "a.png", "subfolder": "", "type": "output"}),
        ]
        for call in calls:
            with pytest.raises(ServerUnreachable, match=f"^No ComfyUI answers on {client.url}$"):
                call()


@pytest.mark.parametrize("name", ["plain.png", "two words.png", "grün 雪 (50%25).png", 'a "quoted" \\ name.png'])
def test_uploaded_pictures_keep_name_and_bytes(client, root, tmp_path, name):
    path = Path(shutil.copy(root / "demo" / "reference.png", tmp_path / name))
    assert client.upload_image(path) == name
    assert client.fetch({"filename": name, "subfolder": "", "type": "input"}) == path.read_bytes()
    shown = {"image": node("LoadImage", image=name), "show": node("PreviewImage", images=["image", 0])}
    assert client.run(shown).outputs["show"]["images"]


def test_names_that_no_request_can_carry(client, root, tmp_path):
    for name in (b"lines\nin it.png", b"not UTF-8 \xff.png"):
        path = Path(shutil.copy(root / "demo" / "reference.png", tmp_path / os.fsdecode(name)))
        stored = client.upload_image(path)
        assert stored == os.fsdecode(name).replace("\n", "_").replace("\udcff", "_")
        assert client.fetch({"filename": stored, "subfolder": "", "type": "input"}) == path.read_bytes()


def test_two_pictures_of_one_name(client, root, tmp_path):
    scenes = sorted((root / "demo" / "scenes").glob("*.png"))[:2]
    names = []
    for scene in scenes:
        names.append(client.upload_image(shutil.copy(scene, tmp_path / "same.png")))
    assert len(set(names)) == 2
    for scene, name in zip(scenes, names, strict=True):
        assert client.fetch({"filename": name, "subfolder": "", "type": "input"}) == scene.read_bytes()


def test_a_file_that_the_server_does_not_have(client):
    with pytest.raises(ComfyError, match="GET /view .* answered 404"):
        client.fetch({"filename": "gone.png", "subfolder": "", "type": "output"})


def test_a_sentence_said_of_two_inputs_is_told_once(client, example):
    """ComfyUI hands a node's own complaint on for each input that its validation looks at."""
    segment = {"sam2": ["sam2", 0], "image": ["image", 0], "points": "the left one", "box": "", "candidates": "best"}
    prompt = {
        "image": {"class_type": "LoadImage", "inputs": {"image": example}},
        "sam2": {"class_type": "Qwen2VLFluxSAM2Loader", "inputs": {"file": "gone"}},
        "segment": {"class_type": "Qwen2VLFluxSAM2Segment", "inputs": segment},
        "save": {"class_type": "MaskPreview", "inputs": {"mask": ["segment", 0]}},
    }
    with pytest.raises(PromptRejected) as raised:
        client.run(prompt)
    assert str(raised.value).count("not JSON text") == 1
    assert "input 'points', 'box': The points are not JSON text" in str(raised.value)


# ---- a prompt worker that has died ---------------------------------------------------------------------------------

RAISER = """
import sys

class Raiser:
    RETURN_TYPES, FUNCTION, CATEGORY, OUTPUT_NODE = (), "run", "tests", True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"how": (["multiply", "surrogate", "base", "exit", "well"],), "seed": ("INT",)}}

    def run(self, how, seed):
        if how == "well":
            return {"ui": {"text": ["well"]}}
        if how == "exit":
            sys.exit("a node that ends the program")
        if how == "base":
            raise type("Unusual", (BaseException,), {})("no Exception")
        raise ValueError({"multiply": "4000 \\u00d7 1", "surrogate": "MT\\udcc9ED"}[how])

NODE_CLASS_MAPPINGS = {"Raiser": Raiser}
"""


def raising(how: str) -> Prompt:
    return {"raise": node("Raiser", how=how, seed=time.time_ns() % 2**32)}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A base directory for ComfyUI whose one custom node fails as told."""
    (tmp_path / "custom_nodes").mkdir()
    (tmp_path / "custom_nodes" / "raiser.py").write_text(RAISER)
    return tmp_path


def own(home: Path, **env: str) -> ComfyServer:
    folders = {f"{kind}_dir": home / kind for kind in ("output", "input", "temp", "user")}
    extra = ["--base-directory", str(home), "--disable-api-nodes"]
    return ComfyServer(default_comfyui(), log=home / "log", extra_args=extra, env=env, **folders)


@contextlib.contextmanager
def foreign(home: Path, encoding: str) -> Iterator[ComfyClient]:
    """A ComfyUI that somebody else started, whose output has an encoding."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    database = ["--database-url", f"sqlite:///{home / 'comfyui.db'}"]
    command = [sys.executable, default_comfyui() / "main.py", "--port", port, "--base-directory", home, *database]
    command += ["--disable-api-nodes", *([] if has_accelerator(sys.executable) else ["--cpu"])]
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    with open(home / "log", "wb") as log:
        process = subprocess.Popen([str(part) for part in command], env=environment, stdout=log, stderr=log)
    client = ComfyClient(f"http://{HOST}:{port}")

    def answers() -> bool:
        with contextlib.suppress(ServerUnreachable):
            return bool(client.device())
        return False

    try:
        eventually(answers, 300)
        yield client
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    "how, encoding", [("multiply", "cp1251"), ("surrogate", "utf-8:backslashreplace"), ("base", "utf-8")]
)
def test_a_worker_that_dies(home, how, encoding):
    """Somebody else's ComfyUI answers on, and would leave the prompt running for ever."""
    with ThreadPoolExecutor(1) as threads, foreign(home, encoding) as client:
        assert client.run(raising("well")).outputs["raise"]["text"] == ["well"]
        waiting = threads.submit(client.run, raising(how))
        with pytest.raises(WorkerDied, match=f"prompt worker of the ComfyUI on {client.url} has died.*restart it"):
            waiting.result(30)
        assert client.device()


@pytest.mark.parametrize("env", [{}, {"PYTHONIOENCODING": "cp1251", "PYTHONUTF8": "0"}], ids=["utf-8", "cp1251"])
def test_a_server_of_ours_outlives_what_it_cannot_print(home, env):
    with ThreadPoolExecutor(1) as threads, own(home, **env) as server:
        client = ComfyClient(server.url)
        for how, said in (("multiply", "4000 \u00d7 1"), ("surrogate", "MT\udcc9ED")):
            with pytest.raises(NodeFailed) as raised:
                threads.submit(client.run, raising(how)).result(30)
            assert raised.value.message == said
        assert client.run(raising("well")).outputs["raise"]["text"] == ["well"]
    if not env:
        assert "ValueError: MT\\udcc9ED" in server.log.read_text("utf-8")


@pytest.mark.parametrize("how", ["exit", "base"])
def test_a_server_of_ours_ends_with_its_worker(home, how):
    """Python says nothing of a thread that calls sys.exit."""
    with ThreadPoolExecutor(1) as threads, own(home) as server:
        waiting = threads.submit(ComfyClient(server.url).run, raising(how))
        with pytest.raises((ServerUnreachable, WorkerDied)):
            waiting.result(30)
        assert server.process.wait(10) == WORKER_DIED
    assert server.log.read_text().endswith("ComfyUI's prompt worker has died, and this server with it.\n")


# ---- what is not ComfyUI, or not all the time ----------------------------------------------------------------------


class Garbling:
    """Passes everything to a ComfyUI and back, but for one path, on which it answers as told: a status and a body, or,
    for the websocket, messages that come first."""

    def __init__(
        self, server: ComfyServer, path: str, status: int, body: str, headers: Mapping[str, str] | None = None
    ):
        self._server, self._path, self._answer = server, path, (status, body, headers or {})
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()

    def __enter__(self) -> str:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._started.wait(30)
        return self.url

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._started.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self._session.close())
        self._loop.run_until_complete(self._runner.cleanup())

    async def _serve(self) -> None:
        self._session = aiohttp.ClientSession()
        app = web.Application(client_max_size=2**26)
        app.router.add_route("*", "/{path:.*}", self._pass)
        self._runner = web.AppRunner(app, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, HOST, 0)
        await site.start()
        self.url = f"http://{HOST}:{site._server.sockets[0].getsockname()[1]}"

    async def _pass(self, request: web.Request) -> web.StreamResponse:
        status, body, headers = self._answer
        ours = request.path.startswith(self._path)
        if ours and status != 101:
            return web.Response(status=status, text=body, headers=headers)
        address = f"{self._server.url}{request.path_qs}"
        if request.path == "/ws":
            near = web.WebSocketResponse()
            await near.prepare(request)
            if ours:
                await near.send_str(body)
            async with self._session.ws_connect(address) as far:
                passing = asyncio.ensure_future(self._forward(far, near))
                closed = asyncio.ensure_future(near.receive())  # the client says nothing before
                await asyncio.wait((passing, closed), return_when=asyncio.FIRST_COMPLETED)
                for task in (passing, closed):
                    task.cancel()
            return near
        data = await request.read()
        kind = {"Content-Type": request.headers["Content-Type"]} if data else {}
        async with self._session.request(request.method, address, data=data, headers=kind) as answer:
            return web.Response(status=answer.status, body=await answer.read())

    @staticmethod
    async def _forward(far: aiohttp.ClientWebSocketResponse, near: web.WebSocketResponse) -> None:
        async for message in far:
            if message.type == aiohttp.WSMsgType.TEXT:
                await near.send_str(message.data)


PAGE = "<html>Welcome</html>"
PROGRESS = '{"type": "progress", "data": {"prompt_id": "%s", "node": "sample", "value": "x", "max": 2}}'
LOOP = {"Location": "/system_stats"}
INVALID = {
    "a page": ("/", 200, PAGE),
    "a loop": ("/system_stats", 302, "", LOOP),
    "statistics as a page": ("/system_stats", 200, PAGE),
    "statistics as a list": ("/system_stats", 200, "[1]"),
    "statistics of no device": ("/system_stats", 200, '{"devices": []}'),
    "statistics of a strange device": ("/system_stats", 200, '{"devices": [{"type": ["cpu"]}]}'),
    "statistics of many lists": ("/system_stats", 200, "[" * 100_000),
    "nodes as a list": ("/object_info", 200, "[]"),
    "nodes that are cut": ("/object_info", 200, '{"Qwen2VLLoader": {"input": '),
    "nodes that are texts": ("/object_info", 200, '{"Qwen2VLLoader": "x"}'),
    "nodes without choices": (
        "/object_info",
        200,
        '{"Qwen2VLLoader": {"input": {"required": {"checkpoint": ["COMBO"]}}}}',
    ),
    "an upload as a page": ("/upload/image", 200, PAGE),
    "an upload as a list": ("/upload/image", 200, '["photo.png"]'),
    "an upload of no name": ("/upload/image", 200, '{"subfolder": null, "name": 7}'),
    "a websocket that is a page": ("/ws", 200, PAGE),
    "a websocket that is not there": ("/ws", 404, ""),
    "a message that is no JSON": ("/ws", 101, PAGE),
    "a message that is a list": ("/ws", 101, "[1, 2]"),
    "a message of no kind": ("/ws", 101, '{"data": {}}'),
    "progress of no number": ("/ws", 101, PROGRESS),
    "a prompt answered by a page": ("/prompt", 200, PAGE),
    "a prompt answered by a list": ("/prompt", 200, "[]"),
    "a prompt of no id": ("/prompt", 200, '{"node_errors": {}}'),
    "a prompt of an odd id": ("/prompt", 200, '{"node_errors": {}, "prompt_id": 7}'),
    "a prompt refused by a page": ("/prompt", 400, PAGE),
    "a prompt refused by a list": ("/prompt", 400, '{"error": "no", "node_errors": ["no"]}'),
    "a prompt refused for nothing": ("/prompt", 400, '{"node_errors": {}}'),
    "a queue without keys": ("/queue", 200, "{}"),
    "a queue of numbers": ("/queue", 200, '{"queue_running": [1], "queue_pending": []}'),
    "a history as a list": ("/history", 200, "[]"),
    "a history that is a page": ("/history", 200, PAGE),
    "a picture that is a page": ("/view", 200, PAGE),
}


@pytest.mark.parametrize("invalid", INVALID.values(), ids=[name.replace(" ", "_") for name in INVALID])
def test_answers_that_are_nonsense(server, root, invalid):
    """Whatever it is and whenever it comes, one sentence that names the address."""
    prompt_id = str(uuid.uuid4())
    path, status, body, *headers = invalid
    request = Asked("variation", root / "demo" / "reference.png", seed=1, checkpoint="demo", size=64, steps=2)
    with Garbling(server, path, status, body.replace("%s", prompt_id), *headers) as url:
        client = ComfyClient(url)
        with pytest.raises(ComfyError) as raised:
            client.device()
            if body == PROGRESS:
                client.run(
                    prompt_for(request, lambda path: client.upload_image(path)), Progress({}, "").__call__, prompt_id
                )
            list(generate(request, client))
    assert url in one_sentence(sentence(raised.value))
    eventually(lambda: not any(asked(server, "queue").values()))


@pytest.mark.parametrize("body", ["[]", "{}", '{"%s": []}', '{"%s": {"status": {"messages": 7}, "outputs": {}}}'])
def test_an_end_that_is_told_as_nonsense(server, graph, body):
    prompt_id = str(uuid.uuid4())
    with Garbling(server, "/history", 200, body.replace("%s", prompt_id)) as url:
        with pytest.raises(ComfyError):
            ComfyClient(url).run(graph(), prompt_id=prompt_id)


@pytest.mark.parametrize(
    "address", [f"http://{'a' * 70}.org", "http://host..org", "http://host name", "http://host:99999"]
)
def test_addresses_that_are_none(address):
    with pytest.raises(ComfyError):
        ComfyClient(address).device()


def test_a_password_is_sent_and_not_shown():
    """Also in a program, whose errors may end in a log."""
    seen = []

    async def hear(request: web.Request) -> web.Response:
        seen.append(aiohttp.BasicAuth.decode(request.headers["Authorization"], "utf-8"))
        return web.Response(text=PAGE)

    async def serve() -> str:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", hear)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, HOST, 0)
        await site.start()
        address = f"{HOST}:{site._server.sockets[0].getsockname()[1]}"
        client = ComfyClient(f"http://anna:p%40ss%20word@{address}/comfy/")
        assert client.url == f"http://{address}/comfy"
        loop = asyncio.get_running_loop()
        for call in (client.device, client.object_info, client.interrupt, lambda: client.run({})):
            with contextlib.suppress(ComfyError):
                await loop.run_in_executor(None, call)
        await runner.cleanup()
        with pytest.raises(ServerUnreachable) as raised:
            await loop.run_in_executor(None, client.device)
        return str(raised.value)

    said = asyncio.run(serve())
    assert {(each.login, each.password) for each in seen} == {("anna", "p@ss word")} and len(seen) == 4
    assert "anna" not in said and "p%40ss" not in said and "p@ss" not in said
