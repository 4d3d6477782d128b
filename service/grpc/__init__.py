"""The gRPC front end. Loaded by a worker only where gRPC is on: grpcio is an extra."""
