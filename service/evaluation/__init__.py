"""Offline evaluation: what the variants of a store answer on labelled images, through the service's own path."""
