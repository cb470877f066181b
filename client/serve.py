"""ComfyUI in the foreground with the pack, and with the scenes of demo/ to choose in Load Image, until Ctrl-C."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from .arguments import LAST_PORT, USUAL_PORT, Parser, whole
from .console import console
from .installation import Problem
from .server import ComfyServer, ServerFailed, default_comfyui, leave_on_terminate

ROOT = Path(__file__).resolve().parent.parent
INPUT = ROOT / ".dev" / "input"


def main() -> None:
    leave_on_terminate()
    with console("serve"):
        parser = Parser(prog="serve")
        parser.add_argument("--port", type=whole(1, LAST_PORT), default=USUAL_PORT)
        serve(parser.parse_args().port)


def serve(port: int) -> None:
    """Run ComfyUI on a port to its end. Raises Problem."""
    comfyui = default_comfyui()
    INPUT.mkdir(parents=True, exist_ok=True)
    example, reference = comfyui / "input" / "example.png", ROOT / "demo" / "reference.png"
    for picture in (example, reference, *ROOT.glob("demo/scenes/*.png")):
        if picture.exists():
            shutil.copy(picture, INPUT)
    try:
        with ComfyServer(comfyui, port=port, input_dir=INPUT) as server:
            print(f"\nOpen {server.url} (Workflow > Browse Templates shows the pack's workflows). Ctrl-C stops it.")
            print(f"Images are saved in {comfyui / 'output'}.\n", flush=True)
            sys.exit(server.process.wait())
    except KeyboardInterrupt:
        pass
    except ServerFailed as error:
        raise Problem(str(error)) from None


if __name__ == "__main__":
    main()
