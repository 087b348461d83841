"""What it takes to make pixels of an image, and what the quick way changes: `python -m benchmarks.decode`."""
