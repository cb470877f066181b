"""`python -m thumbnails`, where the pack is a module without ComfyUI."""

from benchmarks.pack import name_pack

name_pack()

from qwen2vl_flux_pack.thumbnails.make import main  # noqa: E402

main()
