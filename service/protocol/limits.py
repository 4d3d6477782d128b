"""How much a request may hold. Every bound is checked before the memory it bounds is taken."""

from dataclasses import dataclass

MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """The defaults follow Triton's (64 MiB of body, 100 levels of JSON)."""

    max_body_bytes: int = 64 * MEBIBYTE
    max_decompressed_bytes: int = 64 * MEBIBYTE
    max_json_depth: int = 100
    max_inputs: int = 1024
    max_outputs: int = 1024
    max_elements: int = 64 * MEBIBYTE
    """Of one tensor; dimensions of 0 count as 1, so that [0, 2**62] is refused too."""
    max_strings: int = 1_000_000
    """Of one BYTES tensor: each element is an object of its own."""
    max_parameters_bytes: int = 64 * 1024
    """Of the JSON text of `parameters`: of those of the request, and of each of its tensors."""
    max_id_length: int = 1024
