"""The moving parts of the path: image bytes → tensor, lanes, ONNX Runtime sessions, probabilities → predictions."""
