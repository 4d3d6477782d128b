"""Load tests and the demo: real processes on loopback, bounded in time, ended by their own pid."""
