"""Metrics, logs and traces: subscribers of the path's events. They know nothing of the edges."""
