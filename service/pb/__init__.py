"""The messages of the gRPC front end: `inference.proto`, and what protoc made of it."""
