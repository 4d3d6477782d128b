"""Faults on purpose: `python -m loadtests.faults` lists the experiments, each harms a gateway of its own under load.

A module here with `ROW` (the row of docs/reliability.md) and `run(long: bool) -> Outcome` is an experiment; its name is
the module's, the first line of its docstring its caption. It starts its gateways with `stand.stand`, on free ports and
with a state directory of its own, sends requests with `callers.Callers`, and hands back figures, each with its gate.
"""
