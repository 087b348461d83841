"""`effserve top` over time and against servers that are away, others', or new; the arithmetic is tested elsewhere."""

import httpx
import pytest

from service.commands.console import CommandError
from service.commands.top import WINDOW_S, NoPicture, Reading, Watch, ask, top
from service.commands.top_view import Frame
from service.telemetry.metrics import Metrics
from service.telemetry.scrape import Scrape, read
from tests.unit.foreign import answering
from tests.unit.telemetry.events import answered, loaded
from tests.unit.telemetry.test_metrics import Service


class Server:
    """Answers one request by b0 between two looks, a second apart; may be restarted, or go away."""

    def __init__(self) -> None:
        self.now_s, self.began_s, self.away = 100.0, 40.0, False
        self._begin()

    def _begin(self) -> None:
        self._metrics, service = Metrics(), Service()
        self._metrics.watch(service.health, service.variants)
        self._metrics.observe(loaded("b0"))

    def restart(self) -> None:
        """Everything is counted anew."""
        self.began_s = self.now_s
        self._begin()

    def clock(self) -> float:
        """The reader's."""
        return self.now_s

    def ask(self) -> Reading:
        """See `top.Ask`."""
        self.now_s += 1
        if self.away:
            raise NoPicture("there is no connection")
        self._metrics.observe(answered("b0"))
        self._metrics.refresh()
        found = dict(read(self._metrics.exposition("")[0].decode(), 0.0).samples)
        found["process_start_time_seconds"] = {frozenset(): self.began_s}
        return Reading(Scrape(self.now_s, found), "ready", self.now_s)


@pytest.fixture
def server() -> Server:
    """Began a minute ago."""
    return Server()


@pytest.fixture
def watch(server: Server) -> Watch:
    """Who looks at it."""
    return Watch("http://it", server.ask, server.clock)


def over(frame: Frame) -> tuple[bool, float, float]:
    """Whether since the start, over how many seconds, and how many answers were given in them."""
    shown = frame.picture
    assert shown is not None
    return shown.since_start, shown.over_s, round(shown.answers_per_s * shown.over_s, 6)


def test_the_first_picture_is_of_the_time_since_the_start(watch: Watch) -> None:
    """Then of the time since the first look."""
    assert over(watch.look()) == (True, 61.0, 1)
    assert over(watch.look()) == (False, 1.0, 1)
    assert over(watch.look()) == (False, 2.0, 2)


def test_the_picture_is_of_the_last_seconds(watch: Watch) -> None:
    """However long one looks; no more is remembered."""
    for _ in range(50):
        frame = watch.look()
    assert over(frame) == (False, WINDOW_S, WINDOW_S)
    assert repr(watch) == f"<Watch http://it {WINDOW_S + 1:.0f} scrapes>"


def test_a_restart_is_told_and_nothing_is_taken_from_before(server: Server, watch: Watch) -> None:
    """For a minute it is news."""
    for _ in range(5):
        watch.look()
    server.restart()
    frame = watch.look()
    assert over(frame) == (True, 1.0, 1)
    assert (frame.notice, frame.status) == ("the server was restarted 1 s ago", "ready")
    notices = [watch.look().notice for _ in range(60)]
    assert (notices[0], notices[-1]) == ("the server was restarted 2 s ago", "")


def test_a_server_that_is_away_leaves_its_last_picture(server: Server, watch: Watch) -> None:
    """With how long it has been away; when it is back, the picture goes on."""
    before = watch.frame()
    server.away = True
    frames = [watch.frame() for _ in range(3)]
    assert [frame.notice for frame in frames] == [f"no answer for {n} s: there is no connection" for n in (1, 2, 3)]
    assert {(frame.away, frame.status) for frame in frames} == {(True, "away")}
    assert all(frame.picture is before.picture for frame in frames)
    server.away = False
    back = watch.frame()
    assert (back.away, back.notice, over(back)) == (False, "", (False, 4.0, 1))


def test_a_server_that_never_was_there_is_waited_for(server: Server, watch: Watch) -> None:
    """Without a picture."""
    server.away = True
    frame = watch.frame()
    assert (frame.picture, frame.away, frame.notice) == (None, True, "no answer for 1 s: there is no connection")


@pytest.mark.parametrize(
    ("status", "content", "reason"),
    [
        (200, "<html>hello</html>", "what answers there is not effserve"),
        (200, "up 1\n", "what answers there is not effserve"),
        (200, "", "what answers there is not effserve"),
        (404, "no such page", "/metrics answers 404"),
        (502, "bad gateway", "/metrics answers 502"),
    ],
)
def test_who_is_not_effserve_is_told_so(status: int, content: str, reason: str) -> None:
    """In one line, which ends the command."""
    with answering(content, status=status) as url:
        with httpx.Client(base_url=url, verify=False) as client, pytest.raises(NoPicture, match=reason):
            ask(client)
        with pytest.raises(CommandError, match=f"{reason}; is `effserve serve` running, and is --url right"):
            top(url=url, interval_s=1.0, once=True)


def test_where_nobody_listens_there_is_no_connection() -> None:
    """The port is taken and not listened on."""
    with answering("") as url:
        gone = url
    with pytest.raises(CommandError, match="there is no connection"):
        top(url=gone, interval_s=1.0, once=False)


def test_metrics_are_there_over_http_alone() -> None:
    """A server's gRPC address is answered with that."""
    with pytest.raises(CommandError, match="over HTTP; --url is grpc://localhost:9000"):
        top(url="grpc://localhost:9000", interval_s=1.0, once=True)
