"""How long hypothesis looks: always at the same examples, so that a run can be repeated; longer by command.

python -m pytest --hypothesis-profile=long tests/hostile/test_readers.py
"""

from hypothesis import HealthCheck, settings

settings.register_profile("steady", derandomize=True, database=None, deadline=None)
settings.register_profile(
    "long",
    max_examples=5_000,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("steady")
