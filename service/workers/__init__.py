"""Several processes as one service: a supervisor that listens and watches, and workers that answer.

```
              ┌ connections (HTTP) ─► worker 1: event loop, lanes, sessions
 supervisor ──┤                       worker 2: …
              └ questions, answers ◄─►
```

The supervisor holds the HTTP port and hands each connection to the worker that has fewest for its lanes; gRPC's
library accepts by itself, so there the kernel shares a port that all workers listen on. Over one socket each, the
supervisor and a worker ask each other: for counts, for changes of what is served, for the end. A worker that dies is
started again and serves what the others do. With one worker there is none of this: the service is a single process.
[ADR 14](../../docs/decisions/0014-workers.md)
"""
