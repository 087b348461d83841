"""effserve: answers every image with the most accurate EfficientNet its latency budget can buy."""

__version__ = "0.1.0"
