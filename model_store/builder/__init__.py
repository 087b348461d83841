"""Offline: spec table → ONNX graph, checkpoint → weights, fold, verify. Never imported by the service."""
