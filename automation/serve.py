"""ComfyUI in the foreground with the pack, and with the scenes of demo/ to choose in Load Image, until Ctrl-C."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from .server import ComfyServer, ServerFailed, default_comfyui, leave_on_terminate

ROOT = Path(__file__).resolve().parent.parent
INPUT = ROOT / ".dev" / "input"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int)
    port = parser.parse_args().port
    leave_on_terminate()
    comfyui = default_comfyui()
    INPUT.mkdir(parents=True, exist_ok=True)
    example, reference = comfyui / "input" / "example.png", ROOT / "demo" / "reference.png"
    for picture in (example, reference, *ROOT.glob("demo/scenes/*.png")):
        if picture.exists():
            shutil.copy(picture, INPUT)
    try:
        with ComfyServer(comfyui, port=port, input_dir=INPUT) as server:
            print(f"\nOpen {server.url} (Workflow > Browse Templates shows the pack's workflows). Ctrl-C stops it.")
            print(f"Pictures are saved in {comfyui / 'output'}.\n")
            raise SystemExit(server.process.wait())
    except KeyboardInterrupt:
        pass
    except ServerFailed as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
