"""The demo's parts: callers with held-out digits and labels, what /metrics says, the screen, the steps of the tour."""
