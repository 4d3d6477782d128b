"""Open Inference Protocol V2 in memory and on the wire: bytes to tensors and back. No sockets, no trust."""
