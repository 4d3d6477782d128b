"""The data plane and the running program: takes a request, runs a model, answers. Decides nothing about traffic."""
