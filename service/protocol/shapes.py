"""What the shape and datatype of an input may be, whatever the wire that they came on."""

from service.protocol.errors import BadRequest, quoted
from service.protocol.limits import Limits
from service.protocol.tensors import DATATYPES


def check_datatype(name: str, datatype: str) -> None:
    """Raises BadRequest for a datatype that V2 does not have."""
    if datatype not in DATATYPES:
        raise BadRequest(f"input {quoted(name)}: datatype must be one of {', '.join(DATATYPES)}")


def elements_within(name: str, datatype: str, shape: tuple[int, ...], limits: Limits) -> int:
    """The product of a shape; strings have a bound of their own. Raises BadRequest for what no tensor here may be."""
    span = 1
    for size in shape:
        if size < 0:
            raise BadRequest(f"input {quoted(name)}: shape has a negative dimension")
        span *= size or 1
    bound = limits.max_strings if datatype == "BYTES" else limits.max_elements
    if span > bound:
        raise BadRequest(f"input {quoted(name)}: shape has more than {bound} elements")
    return 0 if 0 in shape else span
