"""effserve: answers every image with the most accurate EfficientNet its latency budget can buy."""

import os

__version__ = "0.1.0"

# ONNX Runtime's builds since 1.29 report to their maker which models are opened, and keep a queue of reports in the
# cache folder. It reads this when it is loaded; who wants the reports sets it to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
