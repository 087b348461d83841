"""The simulator against the real server: the same schedule for both, and how far they are apart.

`python -m benchmarks.realtime --store DIR` records service times on the running server, sends it schedules in an open
loop from a process of its own, plays the same schedules in the simulator with the recorded times, and compares. What is
measured stays in a folder, so that the simulator can be tried again without the server (`--again`).

`plan` says what is asked, `record` and `loader` measure, `simulated` plays, `compare` judges, `page` shows.
"""
