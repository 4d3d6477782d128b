"""The demo's parts: traffic of held-out digits, what /metrics says of it, the screen, and the steps of the tour."""
