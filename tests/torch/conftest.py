"""Small networks do not gain from threads, and threads that wait for each other on busy cores take minutes."""

import os
from importlib.util import find_spec

os.environ.setdefault("OMP_NUM_THREADS", "1")
if find_spec("torch") is not None:
    import torch

    torch.set_num_threads(1)
