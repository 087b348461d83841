"""Serving with as many workers as are wanted: a single process where that is one, else a supervisor and its workers."""

import uvloop

from service import app
from service.app import Progress
from service.core.events import LifecycleChanged
from service.core.workers import Workers, how_many
from service.edges.grpc.server import check_free
from service.pipeline.cpus import usable_cores
from service.settings import Settings, variable
from service.startup import StartupError, allow_many_files, steps
from service.telemetry import logs
from service.workers.supervisor import Supervisor


def run(settings: Settings, progress: Progress) -> None:
    """Serve until a signal comes. Raises `StartupError`."""
    allow_many_files()
    cores = usable_cores()
    workers = wanted(settings, cores)
    if workers.count == 1:
        app.run(settings, progress, workers.why)
        return
    if settings.log.changes or settings.tracing.changes:
        raise StartupError("log.changes and tracing.changes reach one process, so they need workers.count to be 1")
    if settings.store.memory_limit_mib is not None:
        raise StartupError(
            "store.memory_limit_mib is kept by one process, so it needs workers.count to be 1: what is loaded for a "
            "request would otherwise be loaded by one worker alone"
        )
    app.configure_logs(settings)
    app.check_ports(settings)
    _check_grpc(settings)
    observer = logs.Logs(requests=settings.log.requests)
    observer.observe(LifecycleChanged("starting", workers.why))
    supervisor = Supervisor(settings, observer, count=workers.count, cores=cores)
    uvloop.run(supervisor.run(progress(steps(settings.store.dir))))


def wanted(settings: Settings, cores: int) -> Workers:
    """By what is set. Where neither lanes nor threads are, it takes a measurement to know how many lanes there are;
    this is the most that there can be."""
    lanes = settings.lanes.count or max(cores // (settings.lanes.threads or 1), 1)
    return how_many(settings.workers.count, lanes)


def _check_grpc(settings: Settings) -> None:
    """Workers share the port, so none of them would notice that somebody else has it, too."""
    try:
        check_free(settings.grpc.host, settings.grpc.port)
    except OSError as error:
        detail = f"{error.strerror}; {variable('grpc.port')} can name another port"
        raise StartupError(detail) from error
