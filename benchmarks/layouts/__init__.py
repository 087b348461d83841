"""Lanes against threads: the real server on each layout of the cores, with the same requests.

`python -m benchmarks.layouts --store DIR` keeps one server for each layout and sends each the same schedules in turns,
so that a disturbance hits all of them; then clients keep every lane busy, for capacity and service times. Beside it the
same schedules are simulated with what each server measured at its start, and so are single budgets, from too small ones
to large ones: they show from which budget on more lanes are worth more than quicker runs, which is what
`service.core.layout` decides by.

`study` is the file of results, `measure` the real side, `simulated` the other, `page` shows.
"""
