"""Measures what the project claims about itself: `python -m benchmarks.figures`."""
