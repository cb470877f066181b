"""comfy-catapult: prompts in API form as jobs, all scheduled at once.

    catapult.py URL FOLDER MASK file...

Uploads the picture MASK under its name, then runs each file, a prompt in API form. FOLDER gets <name>_<number>.png for
each saved picture, and seen.json: `mask`, the name that the upload got; `nodes`, the pack's nodes by catapult's model
of /object_info; `histories`, by name catapult's model of how the prompt ended.

catapult 3.0.0 wants a display_name of every node; some of ComfyUI 0.30's own have none, so that only the raw answer can
be asked for and is given to catapult's model node by node.
"""

from __future__ import annotations

import asyncio
import json
import sys

from anyio import Path
from comfy_catapult.api_client import ComfyAPIClient
from comfy_catapult.catapult import ComfyCatapult
from comfy_catapult.comfy_schema import APIHistoryEntry, APIObjectInfoEntry, APIWorkflow, ComfyUIPathTriplet
from comfy_catapult.comfy_utils import DownloadPreviewImage
from comfy_catapult.remote_file_api_comfy import ComfySchemeRemoteFileAPI


async def main(url: str, folder: Path, mask: Path, *files: Path) -> None:
    remote = ComfySchemeRemoteFileAPI(comfy_api_urls=[url], overwrite=True)
    place = ComfyUIPathTriplet(type="input", subfolder="", filename=mask.name)
    uploaded = await remote.UploadToTriplet(src_path=mask, untrusted_comfy_api_url=url, untrusted_dst_triplet=place)
    seen = {"mask": uploaded.filename, "nodes": {}, "histories": {}}
    async with ComfyAPIClient(comfy_api_url=url) as client:
        object_info = await client.GetObjectInfoRaw()
        for name, entry in object_info.items():
            if entry["python_module"] == object_info["GridDotFocus"]["python_module"]:
                seen["nodes"][name] = APIObjectInfoEntry.model_validate(entry).model_dump()
        async with ComfyCatapult(comfy_client=client, debug_path=None) as catapult:
            jobs = {}
            for file in files:
                prompt = json.loads(await file.read_text(encoding="utf-8"))
                read = APIWorkflow.model_validate(prompt).root
                (save,) = (node_id for node_id, node in read.items() if node.class_type == "SaveImage")
                _, future = await catapult.Catapult(
                    job_id=file.stem.replace("_", "-"), prepared_workflow=prompt, important=[save], use_future_api=True
                )
                jobs[file.stem] = save, future
            for name, (save, future) in jobs.items():
                history = APIHistoryEntry.model_validate(await future)
                seen["histories"][name] = history.model_dump()
                for number in range(len(history.outputs[save].root["images"])):
                    await DownloadPreviewImage(
                        node_id=save,
                        job_history=history,
                        field_path=f"images[{number}]",
                        comfy_api_url=url,
                        remote=remote,
                        local_dst_path=folder / f"{name}_{number}.png",
                    )
    await (folder / "seen.json").write_text(json.dumps(seen), encoding="utf-8")


asyncio.run(main(sys.argv[1], *map(Path, sys.argv[2:])))
