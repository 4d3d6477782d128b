"""The traffic decision and its control plane: who answers, how much. Sees no tensor, never imports `service`."""
