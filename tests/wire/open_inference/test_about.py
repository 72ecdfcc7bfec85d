"""What the server and its models say of themselves."""

import json

import pytest

from antiphon.core.endpoints import Inquiry
from antiphon.core.errors import NotFound, Unauthenticated, UnsupportedParameter
from antiphon.core.tensors import ModelForm, TensorForm
from antiphon.core.wire import Opening
from antiphon.surfaces.open_inference.about import About

ENDPOINT = About("1.2.3")
FORM = ModelForm(("1", "2"), "python", (TensorForm("x", "FP32", (-1, 2)),), (TensorForm("y", "BYTES", ()),))


def opening(path, query=()):
    return Opening("GET", path, query, request_id="r")


def told(path, ready=True, form=None):
    response = ENDPOINT.tell(opening(path), ready, form)
    assert ("content-type", "application/json") in response.headers
    return response.status, json.loads(response.body)


@pytest.mark.parametrize(
    ("path", "inquiry"),
    [
        ("/v2", Inquiry(tell=ENDPOINT.tell)),
        ("/v2/health/live", Inquiry(tell=ENDPOINT.tell)),
        ("/v2/health/ready", Inquiry(tell=ENDPOINT.tell)),
        ("/v2/models/m", Inquiry("m", "", described=True, tell=ENDPOINT.tell)),
        ("/v2/models/m/versions/7", Inquiry("m", "7", described=True, tell=ENDPOINT.tell)),
        ("/v2/models/m/ready", Inquiry("m", tell=ENDPOINT.tell)),
        ("/v2/models/org/m/versions/7/ready", Inquiry("org/m", "7", tell=ENDPOINT.tell)),
    ],
)
def test_what_a_path_asks(path, inquiry):
    assert ENDPOINT.ask(opening(path), b"") == inquiry
    if inquiry.model:
        with pytest.raises(UnsupportedParameter):
            ENDPOINT.ask(opening(path, (("a", "b"),)), b"")
    else:  # probes add to an URL
        assert ENDPOINT.ask(opening(path, (("a", "b"),)), b"") == inquiry


def test_paths_of_nothing():
    others = ("/v2/models/m/config", "/v2/models/org/m/versions/7/config", "/v2/models/m/stats")
    for path in ("/v2/models", "/v2/models/", "/v2/health", *others):
        with pytest.raises(NotFound):
            ENDPOINT.ask(opening(path), b"")


def test_the_server():
    assert told("/v2") == (200, {"version": "1.2.3", "name": "antiphon", "extensions": ["binary_tensor_data"]})
    assert told("/v2/health/live", ready=False) == (200, {"live": True})
    assert told("/v2/health/ready") == (200, {"ready": True, "live": True})
    assert told("/v2/health/ready", ready=False) == (503, {"ready": False, "live": True})


def test_a_model():
    assert told("/v2/models/m/ready") == (200, {"name": "m", "ready": True})
    assert told("/v2/models/m/versions/7/ready", ready=False) == (503, {"name": "m", "ready": False})
    assert told("/v2/models/m", form=FORM) == (
        200,
        {
            "name": "m",
            "platform": "python",
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
            "outputs": [{"name": "y", "datatype": "BYTES", "shape": []}],
            "versions": ["1", "2"],
        },
    )
    assert "versions" not in told("/v2/models/m", form=ModelForm((), "", (), ()))[1]


def test_refusals():
    response = ENDPOINT.refuse(opening("/v2/models/m"), Unauthenticated("No key."))
    assert (response.status, response.body) == (401, b'{"error":"No key."}')
    assert ("www-authenticate", "Bearer") in response.headers
