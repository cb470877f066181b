"""An image file as ComfyUI's Load Image gives it to other nodes, for the panels in web/ before the first run.

How Load Image turns a file by its EXIF orientation differs between versions of ComfyUI and PyAV, between still and
animated files, and from what browsers do with the same file. So it is asked itself.
"""

from __future__ import annotations

import asyncio
import os
from io import BytesIO

import folder_paths
from aiohttp import web
from PIL import Image

from ..systems.common.images import thumbnail

# The address on ComfyUI's server that the panels ask.
ADDRESS = "/qwen2vl_flux/loaded"
# The pixels of the longer side of an answer, at most.
SIDE = 1024
# The pixels of all frames of a file that is read at most; Load Image takes 27 bytes for each while it reads.
MOST_PIXELS = 2**26


def register() -> None:
    """Let ComfyUI's server answer ADDRESS. Where nodes are used without a server, nobody asks."""
    from server import PromptServer

    server = getattr(PromptServer, "instance", None)
    if server and ADDRESS not in {getattr(route, "path", None) for route in server.routes}:  # by a second copy of us
        serve(server.routes)


def serve(routes: web.RouteTableDef) -> None:
    """Answer ADDRESS with an image as a JPEG, its longer side SIDE at most, and with its true size in the header
    Picture-Size; filename, subfolder and type name it as they do for ComfyUI's /view. What is no image in that
    folder, or too large to be read beside a run, is not found."""
    reading = asyncio.Semaphore()

    @routes.get(ADDRESS)
    async def loaded(request: web.Request) -> web.Response:
        asked = request.rel_url.query
        async with reading:
            try:
                jpeg, width, height = await asyncio.to_thread(
                    read, asked.get("filename", ""), asked.get("subfolder", ""), asked.get("type", "input")
                )
            except (OSError, ValueError, RuntimeError, Image.DecompressionBombError) as error:
                raise web.HTTPNotFound(text=f"There is no image to show: {type(error).__name__}.") from error
        headers = {"Cache-Control": "no-cache", "Picture-Size": f"{width}x{height}"}
        return web.Response(body=jpeg, content_type="image/jpeg", headers=headers)


def read(filename: str, subfolder: str, kind: str) -> tuple[bytes, int, int]:
    """The first image of a file in ComfyUI's folder `kind` (input, output or temp) as a JPEG; its width and height.

    Raises OSError or ValueError for what is no image within that folder, or too large.
    """
    from nodes import LoadImage

    folder = folder_paths.get_directory_by_type(kind)
    if folder is None:
        raise ValueError(f"ComfyUI has no folder {kind!r}")
    folder = os.path.abspath(folder)
    path = os.path.abspath(os.path.join(folder, subfolder, filename))
    if os.path.commonpath((folder, path)) != folder:
        raise ValueError(f"{filename!r} lies outside of the folder {kind}")
    with Image.open(path) as header:
        if header.width * header.height * getattr(header, "n_frames", 1) > MOST_PIXELS:
            raise ValueError(f"{filename!r} has more than {MOST_PIXELS} pixels")
    pictures, _ = LoadImage().load_image(f"{os.path.relpath(path, folder)} [{kind}]")
    jpeg = BytesIO()
    thumbnail(pictures[0], SIDE).save(jpeg, "JPEG", quality=90)
    height, width = pictures.shape[1:3]
    return jpeg.getvalue(), width, height
