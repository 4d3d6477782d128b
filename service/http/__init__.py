"""HTTP on the public port: one module a protocol."""
