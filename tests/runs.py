"""What a server has run, and the pictures that came of it."""

from __future__ import annotations

import json
from urllib.request import Request, urlopen

from PIL import Image, ImageStat

from client.comfy_client import ComfyClient
from client.qwen2vl_flux.graph import node
from client.server import ComfyServer


def history(server: ComfyServer) -> dict[str, dict]:
    """By id what the server tells of each prompt it ran."""
    with urlopen(f"{server.url}/history") as answer:
        return json.load(answer)


def forget(server: ComfyServer) -> set[str]:
    """Empty the server's cache, so that what runs next is computed; returns the ids of the prompts that ran so far.

    The server empties it between two prompts, so one is run that nothing else needs.
    """
    body = json.dumps({"free_memory": True}).encode()
    with urlopen(Request(f"{server.url}/free", body, {"Content-Type": "application/json"})):
        pass
    nothing = node("EmptyImage", width=16, height=16, batch_size=1, color=0)
    ComfyClient(server.url).run({"nothing": nothing, "shown": node("PreviewImage", images=["nothing", 0])})
    return set(history(server))


def contrast(picture: Image.Image) -> float:
    """Deviation of the channel that varies most, 0..127.5; 0 is flat."""
    return max(ImageStat.Stat(picture.convert("RGB")).stddev)
