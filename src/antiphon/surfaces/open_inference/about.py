"""The state of the server and its models: `GET /v2`, `/v2/health/live`, `/v2/health/ready`,
`/v2/models/{name}[/versions/{version}][/ready]`.

Health and the server's own name require no key: probes have none.
"""

from functools import partial

from msgspec import UNSET

from antiphon.core.endpoints import Inquiry
from antiphon.core.tensors import ModelForm, TensorForm
from antiphon.core.wire import Opening, Response
from antiphon.surfaces.open_inference import wire
from antiphon.surfaces.open_inference.addressing import address_of

SERVER, LIVE, READY = "/v2", "/v2/health/live", "/v2/health/ready"


class About(wire.Endpoint):
    """The endpoint. `version` is the server's."""

    def __init__(self, version: str) -> None:
        self._version = version

    def ask(self, opening: Opening, body: bytes) -> Inquiry:
        tell = partial(self.tell, opening)
        if opening.path in (SERVER, LIVE, READY):
            return Inquiry(tell=tell)  # the query is ignored: probes and load balancers add parameters
        address = address_of(opening)
        return Inquiry(address.model, address.version, described=not address.act, tell=tell)

    def tell(self, opening: Opening, ready: bool, form: ModelForm | None) -> Response:
        match opening.path:
            case "/v2":
                return wire.json_response(opening, 200, wire.ServerMetadata(self._version))
            case "/v2/health/live":
                return wire.json_response(opening, 200, wire.Live(True))
            case "/v2/health/ready":
                return wire.json_response(opening, 200 if ready else 503, wire.Ready(ready, True))
        name = address_of(opening).model
        if form is None:
            return wire.json_response(opening, 200 if ready else 503, wire.ModelReady(name, ready))
        inputs, outputs = ([_form(each) for each in side] for side in (form.inputs, form.outputs))
        versions = list(form.versions) or UNSET
        return wire.json_response(opening, 200, wire.ModelMetadata(name, form.platform, inputs, outputs, versions))


def _form(form: TensorForm) -> wire.Form:
    return wire.Form(form.name, form.datatype, list(form.shape))
