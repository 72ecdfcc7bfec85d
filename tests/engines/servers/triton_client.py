"""Triton's official HTTP client asks the model `double`, as JSON and as bytes. Arguments: HOST:PORT and an API key."""

import sys

import numpy as np
import tritonclient.http as http
from tritonclient.utils import InferenceServerException

if __name__ == "__main__":
    url, key = sys.argv[1:]

    def headers():
        """New ones for each call: the client writes into them."""
        return {"Authorization": f"Bearer {key}"}

    client = http.InferenceServerClient(url)
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("double", headers=headers())
    assert client.get_server_metadata()["name"] == "antiphon"
    assert client.get_model_metadata("double", headers=headers())["name"] == "double"
    numbers = np.array([[1, 2.5], [-3, 4]], np.float32)
    texts = np.array([["Zürich".encode()], [b""]], object)
    for binary in (True, False):
        x, t = http.InferInput("in0", numbers.shape, "FP32"), http.InferInput("in1", texts.shape, "BYTES")
        x.set_data_from_numpy(numbers, binary_data=binary)
        t.set_data_from_numpy(texts, binary_data=binary)
        wanted = [http.InferRequestedOutput(name, binary_data=binary) for name in ("out0", "out1")]
        answer = client.infer("double", [x, t], outputs=wanted, request_id="7", headers=headers())
        assert answer.get_response()["id"] == "7"
        assert (answer.as_numpy("out0") == numbers * 2).all()
        assert [text if isinstance(text, bytes) else text.encode() for text in answer.as_numpy("out1").ravel()] == [
            "Zürich".encode(),
            b"",
        ]
    said = ""
    try:
        client.infer("none", [x], headers=headers())
    except InferenceServerException as error:
        said = str(error)
    assert "not found" in said
    print("well")
