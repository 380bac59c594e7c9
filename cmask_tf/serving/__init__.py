"""The exported model over gRPC and REST: the embedded server and the client."""
