"""The clients: `Client` and `AsyncClient`, over HTTP or gRPC, with the same questions and the same answers.

Nothing of a server is imported, and of HTTP and gRPC only what the address names. `asking` keeps the time of a
question, `retrying` says when it is asked again, `over_http` and `over_grpc` send it, `values` are the answers.
"""

from service.client.blocking import Client
from service.client.errors import ClientError, LocalKind
from service.client.retrying import NEVER, Retries
from service.client.values import Answer, Plan, Variants
from service.client.waiting import AsyncClient
from service.core.errors import ErrorKind

__all__ = [
    "NEVER",
    "Answer",
    "AsyncClient",
    "Client",
    "ClientError",
    "ErrorKind",
    "LocalKind",
    "Plan",
    "Retries",
    "Variants",
]
