"""ComfyUI in the foreground with the pack and something to look at, until Ctrl-C."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from .server import ComfyServer, ServerFailed, default_comfyui, leave_on_terminate

DEMO = Path(__file__).resolve().parent.parent / "demo"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int)
    port = parser.parse_args().port
    leave_on_terminate()
    comfyui = default_comfyui()
    for picture in DEMO.rglob("*.png"):  # so that the bundled workflows find their pictures
        target = comfyui / "input" / picture.name
        if not target.exists():
            target.parent.mkdir(exist_ok=True)
            shutil.copy(picture, target)
    try:
        with ComfyServer(comfyui, port=port) as server:
            print(f"\nOpen {server.url} (Workflow > Browse Templates shows the pack's workflows). Ctrl-C stops it.\n")
            raise SystemExit(server.process.wait())
    except KeyboardInterrupt:
        pass
    except ServerFailed as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
