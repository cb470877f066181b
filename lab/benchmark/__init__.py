"""What the embedded checkpoint makes of held-out scenes, through a real server and the pack's nodes, judged by
classical vision (judge.py): `python3 dev.py bench pictures`. On two quiet cores, 200 references take half an hour."""
