"""The client against the stand-in, by gRPC and REST."""

import base64
import json
import threading
import time

import numpy as np
import pytest
import requests
import tensorflow as tf
from benchmarks.load import run_load
from helpers.commands import assert_one_line_error, run_command, run_process
from helpers.images import encoded, noise_image
from helpers.serving.grpc_server import start_grpc
from helpers.serving.models import StandIn
from helpers.serving.rest_server import start_rest
from PIL import Image
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from udl_tf.errors import UserError
from udl_tf.export.savedmodel import export_savedmodel
from udl_tf.saved.client import Client
from udl_tf.saved.loading import load

grpc = pytest.importorskip("grpc")
WAYS = ("grpc", "http")


@pytest.fixture(scope="module")
def addresses(served):
    """HOST:PORT of the stand-in by way."""
    models = StandIn({"small_x2": served})
    rest = start_rest(models, "127.0.0.1", 0)
    server, port = start_grpc(models, "127.0.0.1:0")
    yield {"grpc": f"127.0.0.1:{port}", "http": f"127.0.0.1:{rest.server_port}"}
    rest.shutdown()
    rest.server_close()
    server.stop(None).wait()


@pytest.fixture(params=WAYS)
def url(request, addresses):
    return f"{request.param}://{addresses[request.param]}/small_x2"


def test_a_client_upscales_as_the_trained_model(url, small_run):
    client, trained = Client(url), load(small_run)
    assert (client.scale, client.has_uncertainty) == (2, True)
    alpha = np.dstack([noise_image(20, 31), noise_image(20, 31)[..., 0]])
    for image in (noise_image(19, 24), noise_image(1, 1), noise_image(9, 9)[..., 0], alpha):
        made, expected = client.upscale(image), trained.upscale(image)
        assert made.image.shape == expected.image.shape
        assert np.abs(made.image.astype(int) - expected.image).max() <= 1
        assert np.abs(made.theta - expected.theta).max() <= 0.5 / 256 + 1e-3
        assert np.allclose(made.interval(0.9)[0], expected.interval(0.9)[0], atol=1.1)
        assert client.upscale(image, uncertainty=False).theta is None


def test_large_pictures_go_in_tiles(url, small_run):
    image = noise_image(90, 75)
    made = Client(url, max_pixels=40 * 40).upscale(image)
    expected = load(small_run).upscale(image)
    assert np.abs(made.image.astype(int) - expected.image).max() <= 1
    assert np.abs(made.theta - expected.theta).max() <= 0.5 / 256 + 1e-3


def test_pictures_above_the_servers_limit_go_in_tiles_too(addresses):
    made = Client(f"grpc://{addresses['grpc']}/small_x2").upscale(noise_image(210, 230))
    assert made.image.shape == (420, 460, 3)


def test_messages_larger_than_four_mebibytes(addresses):
    client = Client(f"grpc://{addresses['grpc']}/small_x2")
    assert client.upscale(noise_image(199, 201)).theta.nbytes > 1.9e6  # and the image beside it
    big = client.forward(np.zeros((8, 190, 190, 3), np.float32), ("sr", "theta"))
    assert sum(value.nbytes for value in big.values()) > 4 * 2**20


def test_files_and_the_upscale_command(url, tmp_path):
    Image.fromarray(noise_image(14, 10)).save(tmp_path / "a.png")
    Client(url).upscale_file(tmp_path / "a.png", tmp_path / "one", uncertainty="npy")
    assert np.load(tmp_path / "one/a_theta.npy").shape == (28, 20, 3)
    with pytest.raises(UserError, match="no such file"):
        Client(url).upscale_file(tmp_path / "b.png", tmp_path / "one")
    result = run_command(
        "upscale", tmp_path / "a.png", "--model", url, "--output", tmp_path / "two"
    )
    assert result.returncode == 0, result.stderr
    same = [np.asarray(Image.open(tmp_path / name / "a.png")) for name in ("one", "two")]
    assert np.array_equal(*same)
    assert isinstance(load(url), Client)


@pytest.mark.parametrize("way", WAYS)
def test_errors_are_one_line(way, addresses, served):
    place = f"{way}://{addresses[way]}"
    with pytest.raises(UserError, match=r"the server has no model 'other' \(Servable not found"):
        Client(f"{place}/other")
    with pytest.raises(UserError, match=r"the server has no version 7 of model 'small_x2'"):
        Client(f"{place}/small_x2/7")
    assert Client(f"{place}/small_x2/1").scale == 2
    with pytest.raises(UserError, match=r"cannot be reached, also after 1 retries: check"):
        Client(f"{way}://127.0.0.1:9/small_x2", retries=1)
    client = Client(f"{place}/small_x2")
    with pytest.raises(UserError, match=r"refused: .*too large: at most 40000 pixels"):
        client.forward(np.zeros((1, 201, 200, 3), np.float32), ("sr",))
    impatient = Client(f"{place}/small_x2", timeout=0.2)
    with pytest.raises(UserError, match=r"no answer within 0\.2 s: raise the timeout"):
        impatient.forward(np.zeros((24, 190, 190, 3), np.float32), ("sr", "theta"))
    assert client.upscale(noise_image(8, 8)).image.shape == (16, 16, 3)


@pytest.mark.parametrize("text", ["", "host:8500/a", "ftp://host/a", "grpc://host", "grpc://h/a/b"])
def test_addresses_that_are_none(text):
    with pytest.raises(UserError, match="expected grpc://HOST:8500/NAME or http://HOST:8501/NAME"):
        Client(text)


def test_tf_servings_own_paths_are_addresses_too(addresses):
    assert Client(f"http://{addresses['http']}/v1/models/small_x2/versions/1").scale == 2


@pytest.mark.parametrize("way", WAYS)
def test_a_server_that_is_late_is_waited_for(way, served):
    models = StandIn({"small_x2": served})
    started = []
    if way == "grpc":
        server, port = start_grpc(StandIn({}), "127.0.0.1:0")  # finds a free port
        server.stop(None).wait()
    else:
        first = start_rest(StandIn({}), "127.0.0.1", 0)
        port = first.server_port
        first.shutdown()
        first.server_close()

    def start():
        time.sleep(0.5)
        if way == "grpc":
            started.append(start_grpc(models, f"127.0.0.1:{port}")[0])
        else:
            started.append(start_rest(models, "127.0.0.1", port))

    thread = threading.Thread(target=start)
    thread.start()
    assert Client(f"{way}://127.0.0.1:{port}/small_x2", retries=6).scale == 2
    thread.join()
    if way == "grpc":
        started[0].stop(None).wait()
    else:
        started[0].shutdown()
        started[0].server_close()


def post(addresses, signature, rows, key="instances", raw=None):
    place = f"http://{addresses['http']}/v1/models/small_x2:predict"
    body = {"signature_name": signature, key: rows}
    answer = requests.post(place, data=raw or json.dumps(body), timeout=60)  # which may hold NaN
    return answer.status_code, answer.json()


def b64(data: bytes) -> dict:
    return {"b64": base64.b64encode(data).decode()}


def test_rest_rows_and_columns(addresses, small_run):
    image = noise_image(5, 7)
    expected = load(small_run).upscale(image).image
    for rows in ([image.tolist()], [{"image": image.tolist()}]):
        status, answer = post(addresses, "sr_only", rows)
        assert status == 200
        assert np.abs(np.array(answer["predictions"][0]) - expected).max() <= 1
    status, answer = post(addresses, "serving_default", {"image": [image.tolist()]}, key="inputs")
    assert sorted(answer["outputs"]) == ["sr", "theta"]
    status, answer = post(addresses, "image_bytes", [{"image_bytes": b64(encoded(image, "png"))}])
    assert sorted(answer["predictions"][0]) == ["sr_image_bytes", "theta_image_bytes"]
    assert set(answer["predictions"][0]["sr_image_bytes"]) == {"b64"}


PICTURE = noise_image(4, 4).tolist()
MALFORMED = {
    "bad base64": ("image_bytes", [{"b64": "@@@"}], "expected string"),
    "not an image": ("image_bytes", [b64(b"x" * 100)], "not an image"),
    "wrong rank": ("serving_default", [[1, 2, 3]], "has shape (1, 3); expected"),
    "NaN": ("serving_default", [[[[float("nan"), 0, 0]]]], "expected uint8"),
    "out of range": ("serving_default", [[[[0, 0, 300]]]], "values 0..300"),
    "zero size": ("serving_default", [[]], "expected"),
    "nothing": ("serving_default", [], "not empty"),
    "above the limit": ("image_bytes", [b64(encoded(noise_image(201, 200), "png"))], "too large"),
    "no such signature": ("other", [PICTURE], "signature 'other' is not in the model"),
    "no such input": ("serving_default", [{"picture": PICTURE}], "expected the keys ['image']"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_rest_requests_are_told_and_the_next_is_answered(addresses, case):
    signature, rows, message = MALFORMED[case]
    status, answer = post(addresses, signature, rows)
    assert status == 400
    assert message in answer["error"]
    assert post(addresses, "sr_only", [PICTURE])[0] == 200


def test_rest_paths(addresses):
    place = f"http://{addresses['http']}/v1/models/small_x2"
    (state,) = requests.get(place, timeout=9).json()["model_version_status"]
    assert (state["version"], state["state"]) == ("1", "AVAILABLE")
    metadata = requests.get(f"{place}/versions/1/metadata", timeout=9).json()
    signatures = metadata["metadata"]["signature_def"]["signature_def"]
    assert signatures["serving_default"]["inputs"]["image"]["dtype"] == "DT_UINT8"
    assert requests.get(f"{place}/versions/2", timeout=9).status_code == 404
    assert requests.get(f"http://{addresses['http']}/", timeout=9).status_code == 404
    assert post(addresses, "", None, raw=b"{no json")[1]["error"].startswith("JSON Parse error")


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"image": np.zeros((4, 4, 3), np.uint8)}, "has shape (4, 4, 3)"),
        ({"image": np.full((1, 4, 4, 3), np.nan, np.float32)}, "is float32; expected uint8"),
        ({"image": np.zeros((1, 0, 4, 3), np.uint8)}, "zero size"),
        ({"image": np.zeros((1, 201, 200, 3), np.uint8)}, "too large"),
        ({"picture": np.zeros((1, 4, 4, 3), np.uint8)}, "expects ['image']"),
        ({}, "expects ['image']"),
    ],
)
def test_malformed_grpc_requests_are_told_and_the_next_is_answered(addresses, inputs, message):
    with grpc.insecure_channel(addresses["grpc"]) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)

        def predict(inputs):
            request = predict_pb2.PredictRequest()
            request.model_spec.name = "small_x2"
            for key, value in inputs.items():
                request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
            return stub.Predict(request, timeout=60)

        with pytest.raises(grpc.RpcError) as caught:
            predict(inputs)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert message in caught.value.details()
        made = predict({"image": np.zeros((1, 4, 4, 3), np.uint8)})
        assert tf.make_ndarray(made.outputs["sr"]).shape == (1, 8, 8, 3)
        assert (made.model_spec.name, made.model_spec.version.value) == ("small_x2", 1)


def test_grpc_metadata_and_status(addresses):
    with grpc.insecure_channel(addresses["grpc"]) as channel:
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.name = "small_x2"
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        assert stub.GetModelMetadata(request).metadata["signature_def"].Unpack(signatures)
        assert "image_bytes" in signatures.signature_def
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = "small_x2"
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        (status,) = stub.GetModelStatus(request).model_version_status
        assert (status.version, status.state) == (
            1,
            get_model_status_pb2.ModelVersionStatus.AVAILABLE,
        )


def test_five_hundred_requests_sixteen_at_a_time(served, small_run):
    results = run_load(served, load(small_run))
    assert [r["way"] for r in results] == ["grpc", "http"]
    for result in results:
        assert result["answered"] == 500
        assert result["image_difference"] <= 1
        assert result["theta_difference"] <= 0.5 / 256 + 1e-3
        assert result["memory_end_mb"] < 1.1 * result["memory_early_mb"] + 50


def test_the_local_server_tells_what_it_lacks(tmp_path, served, addresses):
    taken = {way: address.rpartition(":")[2] for way, address in addresses.items()}
    for folder, grpc_port, rest_port, message in (
        (tmp_path, 0, 0, f"{tmp_path}: holds no version of a model"),
        (tmp_path / "x", 0, 0, "x: no such folder"),
        (served / "1", 0, 0, f"with versions in it: give {served}"),
        (served, 0, 99999, "--rest-port 99999: expected 0..65535"),
        (served, taken["grpc"], 0, f":{taken['grpc']}: cannot be used: choose another --grpc-port"),
        (served, 0, taken["http"], f":{taken['http']}: Address already in use: choose another"),
    ):
        ports = ("--grpc-port", str(grpc_port), "--rest-port", str(rest_port))
        assert_one_line_error(run_process("helpers.serving", folder, *ports), message)


def test_a_servers_limit_below_three_margins(small_run, tmp_path):
    """Tiles may then keep less than they overlap by; where they would keep nothing, it is told."""
    trained, image = load(small_run), noise_image(40, 33)
    margin = trained.receptive_field // 2
    for limit, message in (((2 * margin + 3) ** 2, None), ((2 * margin) ** 2, "--max-pixels 1024")):
        export_savedmodel(small_run, tmp_path / str(limit), max_pixels=limit, warmup=False)
        models = StandIn({"small": tmp_path / str(limit)})
        server, port = start_grpc(models, "127.0.0.1:0")
        client = Client(f"grpc://127.0.0.1:{port}/small")
        if message is None:
            assert np.array_equal(client.upscale(image).image, trained.upscale(image).image)
        else:
            with pytest.raises(UserError, match=message):
                client.upscale(image)
        server.stop(None).wait()


def test_a_wrong_format_of_maps_is_refused_at_once(url, tmp_path):
    with pytest.raises(UserError, match="uncertainty 'foo': expected one of none, npy, tiff, png"):
        Client(url).upscale_file("photo.jpg", tmp_path, uncertainty="foo")
