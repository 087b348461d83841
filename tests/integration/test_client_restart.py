"""Python clients outlast a server: it ends, another one takes its ports, and who asked meanwhile is answered."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service.client import Answer, ClientError, Retries
from tests.contract.client_kit import FORMS, asked
from tests.fixtures import jpeg, tiny_store
from tests.integration.process import PATIENCE_S, Server, serving

PHOTO = jpeg(160, 120)
BUDGET_MS = 60_000.0
PATIENT = Retries(attempts=10_000, pause_s=0.1, longest_pause_s=0.2, tokens=1e6)


@pytest.mark.slow
def test_a_restart_is_outlasted(tmp_path: Path) -> None:
    """By each form of the client, given the patience for it."""
    store = tiny_store(tmp_path / "store")
    with serving(store, tmp_path) as first:
        first.stop()
        with pytest.raises(ClientError):
            _ask("http", first)
    ports = {"EFFSERVE_HTTP_PORT": str(first.http_port), "EFFSERVE_GRPC_PORT": str(first.grpc_port)}
    with ThreadPoolExecutor(len(FORMS)) as threads:
        asking = [threads.submit(_ask, form, first, PATIENT) for form in FORMS]
        with serving(store, tmp_path, ports):
            assert [one.result().variant for one in asking] == ["b1"] * len(FORMS)


def _ask(form: str, server: Server, retries: Retries | None = None) -> Answer:
    port = server.http_port if form.startswith("http") else server.grpc_port
    url = f"{form[:4]}://127.0.0.1:{port}"
    return asked(form, url, PHOTO, retries or Retries(), budget_ms=BUDGET_MS, deadline_s=PATIENCE_S)
