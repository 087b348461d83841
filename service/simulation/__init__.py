"""Offline simulation: what a policy would make of a trace, with the server's own scheduler in virtual time."""
