"""What is wrong with a JSON body, in this service's words.

pydantic finds the fault; its own sentences speak of Python, and change with its versions.
"""

import re

from pydantic import ValidationError

WORDS = {
    "json_invalid": "is no JSON",
    "missing": "is missing",
    "extra_forbidden": "is not known here",
    "too_long": "has too many items",
    "model_type": "should be an object",
    "dict_type": "should be an object",
    "list_type": "should be a list",
    "string_type": "should be text",
    "int_type": "should be a whole number",
    "bool_type": "should be true, false, a number or text",
}
"""Kind of fault, as pydantic calls it → the end of a sentence about the place. The first kind of a value that may be of
several is `bool`, and no value may be that alone."""
OTHER = "does not belong there"
SHOWN_STEPS, SHOWN = 4, 80
"""Steps to the place, and characters of it."""
_POSITION = re.compile(r"line (\d+) column (\d+)")


def fault(error: ValidationError) -> tuple[str, str]:
    """The place of the first fault, empty for the body itself, and what is wrong with it."""
    first = error.errors(include_input=False, include_url=False)[0]
    kind, steps = first["type"], first["loc"]
    # The last step to a value that may be of several kinds is the kind that was tried.
    place = ".".join(map(str, (steps[:-1] if kind == "bool_type" else steps)[:SHOWN_STEPS]))
    position = _POSITION.search(first["msg"]) if kind == "json_invalid" else None
    where = "" if position is None else f" (line {position[1]}, column {position[2]})"
    return place[:SHOWN], WORDS.get(kind, OTHER) + where
