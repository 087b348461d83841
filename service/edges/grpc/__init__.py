"""The gRPC edge: `effserve.v1.Classifier`, `inference.GRPCInferenceService`, health checking, reflection; one port.

It converts messages to values and failures to statuses, and decides nothing. `GrpcServer` is the life cycle,
`Classifier` and `Inference` the methods, `Stream` one call with many images, `convert` and `tensors` the messages.
"""

from service.edges.grpc.server import GrpcServer

__all__ = ["GrpcServer"]
