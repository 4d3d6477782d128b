"""The test vectors of docs/assignment.md."""

from router.routes import Route, Variant, ppm_to_percent, validate_route
from router.split import choose, uniform
from tests.docs.markdown import table

KEYS = [b"user-1", b"user-2", b"user-9", b"user-25", b"user-42", b"", "Zoë".encode(), b"\xff\x00\xfe"]
SPLITS = [{"1": 900_000, "2": 100_000}, {"1": 750_000, "2": 250_000}, {"1": 500_000, "2": 499_999, "3": 1}]
SALTS = ["digits", "another salt"]


def route(salt: str, weights_ppm: dict[str, int]) -> Route:
    """A valid route of the model digits with variants named like their versions."""
    variants = tuple(Variant(name, int(name), weight) for name, weight in weights_ppm.items())
    found = Route("digits", variants, salt="" if salt == "digits" else salt)
    validate_route(found)
    return found


def vectors() -> str:
    """One line for each salt and key, with the winners of all splits."""
    splits = [" ".join(f"{name}={ppm_to_percent(weight)}" for name, weight in split.items()) for split in SPLITS]
    rows = []
    for salt in SALTS:
        for key in KEYS:
            draws = [repr(uniform(salt, key, name)) for name in ("1", "2")]
            winners = [choose(route(salt, split), key, 0.0).name for split in SPLITS]
            rows.append([f"`{salt}`", f"`{key.hex()}`" if key else "(empty)", *draws, *winners])
    return table(["Salt", "Key (hex)", "u of `1`", "u of `2`", *(f"`{split}`" for split in splits)], rows)
