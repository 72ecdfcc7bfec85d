"""KServe's Python runtime with a model that doubles numbers and repeats texts. Arguments: the HTTP and gRPC ports."""

import sys

from kserve import InferOutput, InferResponse, Model, ModelServer


class Double(Model):
    def __init__(self):
        super().__init__("double")
        self.ready = True

    def predict(self, request, headers=None, response_headers=None):
        outputs = []
        for given in request.inputs:
            array = given.as_numpy()
            made = InferOutput(name=given.name.replace("in", "out"), shape=list(array.shape), datatype=given.datatype)
            made.set_data_from_numpy(array if given.datatype == "BYTES" else array * 2, binary_data=True)
            outputs.append(made)
        told = {"response_id": request.id, "model_name": self.name, "infer_outputs": outputs}
        return InferResponse(**told, use_binary_outputs=request.use_binary_outputs)


if __name__ == "__main__":
    ModelServer(http_port=int(sys.argv[1]), grpc_port=int(sys.argv[2])).start([Double()])
