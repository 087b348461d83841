"""The service beside other Python model servers on the same machine: same graph, same photos, same clients, in turns.

`python -m benchmarks.peers --store DIR` measures whatever is installed; `make peers` installs first. `apps/` has one
module for each peer, which runs in that peer's own environment and imports nothing of ours but `apps/work.py`.
"""
