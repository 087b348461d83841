"""Several observers, one path."""

from service.core.events import Event, Fanout, LifecycleChanged


class Recorder:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def observe(self, event: Event) -> None:
        """Take note."""
        self.events.append(event)


def test_every_observer_is_told() -> None:
    """Metrics and logs see the same event."""
    metrics, logs = Recorder(), Recorder()
    event = LifecycleChanged("ready")
    Fanout(metrics, logs).observe(event)
    assert metrics.events == logs.events == [event]
