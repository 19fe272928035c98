"""The gRPC service of the stand-in, based on the classes of tensorflow-serving-api."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from helpers.serving.models import Refused, StandIn

_THREADS = 16


@contextmanager
def _aborts_if_refused(context: grpc.ServicerContext) -> Iterator[None]:
    """Aborts the call with the status of a Refused raised in the block."""
    try:
        yield
    except Refused as refused:
        context.abort(grpc.StatusCode[refused.code], str(refused))


class _Prediction(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, models: StandIn):
        self.models = models

    def Predict(self, request, context):
        spec = request.model_spec
        answer = predict_pb2.PredictResponse()
        with _aborts_if_refused(context):
            version, _ = self.models.find(spec.name, _version(spec))
            signature = spec.signature_name or "serving_default"
            inputs = {key: _tensor(key, proto) for key, proto in request.inputs.items()}
            outputs = self.models.predict(spec.name, version, signature, inputs)
        wanted = set(request.output_filter) or set(outputs)
        for key in wanted & set(outputs):
            answer.outputs[key].CopyFrom(tf.make_tensor_proto(outputs[key]))
        answer.model_spec.name, answer.model_spec.signature_name = spec.name, signature
        answer.model_spec.version.value = version
        return answer

    def GetModelMetadata(self, request, context):
        answer = get_model_metadata_pb2.GetModelMetadataResponse()
        with _aborts_if_refused(context):
            version, model = self.models.find(request.model_spec.name, _version(request.model_spec))
            if set(request.metadata_field) - {"signature_def"}:
                raise Refused("INVALID_ARGUMENT", "the only metadata is signature_def")
        signatures = get_model_metadata_pb2.SignatureDefMap()
        for name, signature in model.signatures.items():
            signatures.signature_def[name].CopyFrom(signature)
        answer.metadata["signature_def"].Pack(signatures)
        answer.model_spec.name = request.model_spec.name
        answer.model_spec.version.value = version
        return answer


class _Status(model_service_pb2_grpc.ModelServiceServicer):
    def __init__(self, models: StandIn):
        self.models = models

    def GetModelStatus(self, request, context):
        answer = get_model_status_pb2.GetModelStatusResponse()
        with _aborts_if_refused(context):
            version, _ = self.models.find(request.model_spec.name, _version(request.model_spec))
        available = get_model_status_pb2.ModelVersionStatus.AVAILABLE
        answer.model_version_status.add(version=version, state=available)
        return answer


def _version(spec: Any) -> int | None:
    return spec.version.value if spec.HasField("version") else None


def _tensor(key: str, proto: Any) -> tf.Tensor:
    try:
        return tf.constant(tf.make_ndarray(proto), tf.as_dtype(proto.dtype))
    except (TypeError, ValueError) as error:
        raise Refused("INVALID_ARGUMENT", f"input {key}: not a tensor ({error})") from None


def start_grpc(models: StandIn, address: str) -> tuple[grpc.Server, int]:
    """Starts the service in background threads; an address that ends in :0 gets any free port.

    Returns:
        (server, port).
    """
    options = [
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_send_message_length", -1),
        ("grpc.so_reuseport", 0),  # otherwise several servers may share a port
    ]
    server = grpc.server(ThreadPoolExecutor(_THREADS), options=options)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(_Prediction(models), server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(_Status(models), server)
    port = server.add_insecure_port(address)
    server.start()
    return server, port
