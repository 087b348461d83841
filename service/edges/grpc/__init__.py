"""The gRPC edge: `effserve.v1.Classifier`, health checking and reflection on one port.

It converts messages to values and failures to statuses, and decides nothing. `GrpcServer` is the life cycle,
`Classifier` the methods, `Stream` one call with many images, `convert` the messages.
"""

from service.edges.grpc.server import GrpcServer

__all__ = ["GrpcServer"]
