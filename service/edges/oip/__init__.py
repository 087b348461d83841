"""The Open Inference Protocol, version 2: what is the same for it over HTTP and gRPC.

`models` says which models there are, `messages` what a request and a response are, `tensors` how images and scores are
coded, `inference` how a request is answered, `describe` what is said of models, `statistics` what they have done,
`changes` how they are loaded and unloaded, `controls` what else of the process can be changed. The edges `http.v2` and
`grpc.inference` convert their own messages to and from these.
"""
