"""Serving an exported model over TensorFlow Serving's gRPC and REST, and the client of such a server."""
