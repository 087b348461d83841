"""HTTP and gRPC. Edges convert and translate errors; they decide nothing."""
