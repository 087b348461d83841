"""What is said of a JSON body that is not what it should be."""

import pytest
from pydantic import BaseModel, ValidationError

from service.edges.http.json_faults import OTHER, fault
from service.edges.http.models import ImageUpload
from service.edges.http.tensors import Request

INPUT = '{"inputs": [{"name": "image", "datatype": "UINT8", "shape": %s}]}'


@pytest.mark.parametrize(
    ("model", "body", "place", "words"),
    [
        (Request, '{"inputs": [', "", "is no JSON (line 1, column 12)"),
        (Request, "", "", "is no JSON (line 1, column 0)"),
        (Request, "[]", "", "should be an object"),
        (Request, "{}", "inputs", "is missing"),
        (Request, '{"inputs": 7}', "inputs", "should be a list"),
        (Request, '{"inputs": [7]}', "inputs.0", "should be an object"),
        (Request, '{"inputs": [], "id": 7}', "id", "should be text"),
        (Request, '{"inputs": [], "parameters": []}', "parameters", "should be an object"),
        (
            Request,
            '{"inputs": [], "parameters": {"budget_ms": [5]}}',
            "parameters.budget_ms",
            "should be true, false, a number or text",
        ),
        (Request, INPUT % '["1"]', "inputs.0.shape.0", "should be a whole number"),
        (Request, INPUT % ([1] * 9), "inputs.0.shape", "has too many items"),
        (ImageUpload, '{"image": "", "budget": 5}', "budget", "is not known here"),
    ],
)
def test_the_first_fault_is_told_in_our_words(model: type[BaseModel], body: str, place: str, words: str) -> None:
    """Its place, and what should be there."""
    with pytest.raises(ValidationError) as failed:
        model.model_validate_json(body)
    assert fault(failed.value) == (place, words)


def test_a_long_place_is_cut_and_an_unforeseen_fault_has_words_too() -> None:
    """A client may call its parameters whatever it likes."""

    class Odd(BaseModel):
        values: dict[str, float]

    with pytest.raises(ValidationError) as failed:
        Odd.model_validate_json('{"values": {"%s": "x"}}' % ("n" * 500))
    place, words = fault(failed.value)
    assert (len(place), words) == (80, OTHER)
