"""The model store: what a variant is, how its graph is built, where its weights come from."""

import os

# As in `service`: the runtime that tries graphs out reports to nobody.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
