"""Tests that need torch: run by `make torch`, skipped where it is not installed."""
