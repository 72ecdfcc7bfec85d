"""MLServer with a model that doubles numbers and repeats texts. Arguments: the HTTP, the gRPC and the metrics port."""

import asyncio
import sys

from mlserver import MLModel, MLServer, ModelSettings, Settings, types
from mlserver.codecs import NumpyCodec, StringCodec


class Double(MLModel):
    async def predict(self, payload):
        outputs = []
        for given in payload.inputs:
            name = given.name.replace("in", "out")
            if given.datatype == "BYTES":
                made = StringCodec.encode_output(name, StringCodec.decode_input(given))
            else:
                made = NumpyCodec.encode_output(name, NumpyCodec.decode_input(given) * 2)
            made.parameters = None
            outputs.append(made)
        return types.InferenceResponse(id=payload.id, model_name=self.name, outputs=outputs)


async def main():
    http, grpc, metrics = map(int, sys.argv[1:])
    settings = Settings(http_port=http, grpc_port=grpc, metrics_port=metrics, parallel_workers=0, host="127.0.0.1")
    await MLServer(settings).start([ModelSettings(name="double", implementation=Double)])


if __name__ == "__main__":
    asyncio.run(main())
