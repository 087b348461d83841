"""Peers: the app that a competent user of each server would write. Each runs in an environment of its own."""
