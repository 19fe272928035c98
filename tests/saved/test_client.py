"""The client with the stand-in for TensorFlow Serving, by gRPC and REST."""

import base64
import contextlib
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import imagecodecs
import numpy as np
import psutil
import pytest
import requests
import tensorflow as tf
from helpers.commands import run_command
from helpers.images import encoded, noise_image
from helpers.serving import __main__ as server
from helpers.serving.grpc_server import start_grpc
from helpers.serving.models import StandIn
from helpers.serving.process import running_server
from helpers.serving.rest_server import start_rest
from PIL import Image
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from udl_tf.errors import Unavailable, UserError
from udl_tf.saved import transport
from udl_tf.saved.client import Client
from udl_tf.saved.loading import load_upscaler
from udl_tf.saved.transport import _one_line

grpc = pytest.importorskip("grpc")
WAYS = ("grpc", "http")


@pytest.fixture(scope="module")
def models(served):
    return StandIn({"small_x2": served})


@contextlib.contextmanager
def listening(way, models, port=0):
    """Starts the service; yields its port."""
    if way == "grpc":
        service, port = start_grpc(models, f"127.0.0.1:{port}")
        yield port
        service.stop(None).wait()
    else:
        service = start_rest(models, "127.0.0.1", port)
        yield service.server_port
        service.shutdown()
        service.server_close()


@pytest.fixture(scope="module")
def addresses(models):
    """HOST:PORT of the stand-in, by way."""
    with listening("grpc", models) as grpc_port, listening("http", models) as rest_port:
        yield {"grpc": f"127.0.0.1:{grpc_port}", "http": f"127.0.0.1:{rest_port}"}


@pytest.fixture(params=WAYS)
def url(request, addresses):
    return f"{request.param}://{addresses[request.param]}/small_x2"


@pytest.fixture(scope="module")
def trained(small_run):
    return load_upscaler(small_run)


def assert_close(result, expected):
    assert result.image.shape == expected.image.shape
    assert np.abs(result.image.astype(int) - expected.image).max() <= 1
    assert np.abs(result.theta - expected.theta).max() <= 0.5 / 256 + 1e-3


def test_a_client_upscales_as_the_trained_model(url, trained):
    client = Client(url)
    assert (client.scale, client.has_uncertainty) == (2, True)
    alpha = np.dstack([noise_image(20, 31), noise_image(20, 31)[..., 0]])
    for image in (noise_image(19, 24), noise_image(1, 1), noise_image(9, 9)[..., 0], alpha):
        result, expected = client.upscale(image), trained.upscale(image)
        assert_close(result, expected)
        assert np.allclose(result.interval(0.9)[0], expected.interval(0.9)[0], atol=1.1)
        assert client.upscale(image, uncertainty=False).theta is None


def test_large_images_are_sent_in_tiles(url, trained):
    image = noise_image(90, 75)
    assert_close(Client(url, max_pixels=40 * 40).upscale(image), trained.upscale(image))


def test_images_above_the_limit_of_the_server_are_sent_in_tiles(addresses):
    result = Client(f"grpc://{addresses['grpc']}/small_x2").upscale(noise_image(210, 230))
    assert result.image.shape == (420, 460, 3)


def test_messages_larger_than_four_mebibytes(addresses):
    client = Client(f"grpc://{addresses['grpc']}/small_x2")
    maps = client.forward(np.zeros((2, 200, 200, 3), np.float32), ("sr", "theta"))
    assert maps["sr"].shape == (2, 400, 400, 3)
    assert maps["sr"].size + maps["theta"].nbytes > 4 * 2**20  # sr is uint8 in the message


def test_the_upscale_command(url, tmp_path):
    image = noise_image(14, 10)
    Image.fromarray(image).save(tmp_path / "a.png")
    options = ("--model", url, "--output", tmp_path / "o", "--uncertainty", "npy")
    result = run_command("upscale", tmp_path / "a.png", *options)
    assert result.returncode == 0, result.stderr
    client = load_upscaler(url)
    assert isinstance(client, Client)
    expected = client.upscale(tmp_path / "a.png")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "o/a.png")), expected.image)
    assert np.array_equal(np.load(tmp_path / "o/a_theta.npy"), expected.theta)
    with pytest.raises(UserError, match="no such file"):
        client.upscale(tmp_path / "b.png")


@pytest.mark.parametrize("way", WAYS)
def test_errors_are_one_line(way, addresses, models):
    place = f"{way}://{addresses[way]}"
    with pytest.raises(Unavailable, match=r"the server has no model 'other' \(Servable not found"):
        Client(f"{place}/other")
    with pytest.raises(UserError, match=r"the server has no version 7 of model 'small_x2'"):
        Client(f"{place}/small_x2/7")
    assert Client(f"{place}/small_x2/1").scale == 2
    with pytest.raises(Unavailable, match=r"/small_x2: unreachable after 1 retry: check"):
        Client(f"{way}://127.0.0.1:9/small_x2", retries=1)
    with pytest.raises(Unavailable, match=r"/small_x2: unreachable: check the address"):
        Client(f"{way}://127.0.0.1:9/small_x2", retries=0)
    client = Client(f"{place}/small_x2")
    with pytest.raises(UserError, match=r"refused: .*too large: at most 40000 pixels"):
        client.forward(np.zeros((1, 201, 200, 3), np.float32), ("sr",))
    impatient = Client(f"{place}/small_x2", timeout=0.5)
    with (
        models.busy(),
        pytest.raises(UserError, match=r"no answer within 0\.5 s: increase the timeout"),
    ):
        impatient.forward(np.zeros((1, 8, 8, 3), np.float32), ("sr", "theta"))
    assert client.upscale(noise_image(8, 8)).image.shape == (16, 16, 3)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (  # as TensorFlow Serving writes it
            "{{function_node __inference_signature_wrapper_12}} {{function_node"
            " __inference_<lambda>_9}} assertion failed: [not an image: expected a PNG] [3] [4]\n"
            "\t [[{{node map/while/Assert/Assert}}]]",
            "not an image: expected a PNG 3 4",
        ),
        ("Servable not found {{function_node cut", "Servable not found"),
        ("plain", "plain"),
        ("x" * 999, "x" * 300),
    ],
)
def test_messages_of_the_server_without_its_notes_on_the_graph(text, expected):
    assert _one_line(text) == expected


@pytest.mark.parametrize("answer", ["<html>", [], {}, {"predictions": []}, {"predictions": [3]}])
def test_a_server_of_another_kind_is_one_line(answer, monkeypatch):
    class Answer:
        status_code = 200

        def json(self):
            return json.loads(answer) if isinstance(answer, str) else answer

    monkeypatch.setattr(requests.Session, "post", lambda *args, **options: Answer())
    with pytest.raises(
        UserError, match=r"http://host/a: unexpected answer .*: expected Tensor"
    ) as e:
        Client("http://host/a")
    assert "\n" not in str(e.value)


def test_garbage_instead_of_an_image_is_one_line(addresses, monkeypatch):
    client = Client(f"http://{addresses['http']}/small_x2")
    garbage = {"sr_image_bytes": b64(b"x"), "theta_image_bytes": b64(b"x")}
    monkeypatch.setattr(transport.RestTransport, "_predict", lambda *args: [garbage])
    with pytest.raises(UserError, match="small_x2: unexpected answer"):
        client.upscale(noise_image(4, 4))


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"max_pixels": None}, "unexpected answer .the model card of a model that cannot be serv"),
        ({"tile": 8}, "unexpected answer .the model card of a model that cannot be served"),
        ({"tile": 2**70}, "tile: got 1180591620717411303424; input should be less than"),
        ({"scale": 5}, "scale: got 5; input should be less than or equal to 4"),
        ({"align": 0}, "align: got 0; input should be greater than or equal to 1"),
        ({"outputs": []}, r"outputs: got \[\]; expected sr, or sr and theta"),
    ],
)
def test_a_model_card_that_does_not_fit_is_one_line(change, part, served, monkeypatch):
    card = json.loads((served / "1/assets/model_card.json").read_text()) | change
    monkeypatch.setattr(transport.RestTransport, "card", lambda self: json.dumps(card).encode())
    with pytest.raises(UserError, match=part) as caught:
        Client("http://host/a")
    assert str(caught.value).startswith("http://host/a")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("sr", "part"),
    [
        (noise_image(4, 4), r"sr of the shape \(1, 4, 4, 3\)"),
        (noise_image(8, 8)[..., 0], r"sr of the shape \(1, 8, 8, 1\)"),
        (noise_image(8, 8).astype(np.uint16), "a PNG of uint16"),
    ],
)
def test_results_of_another_shape_or_depth_are_one_line(sr, part, addresses, monkeypatch):
    client = Client(f"http://{addresses['http']}/small_x2")
    answer = {"b64": base64.b64encode(imagecodecs.png_encode(np.ascontiguousarray(sr))).decode()}
    monkeypatch.setattr(transport.RestTransport, "_predict", lambda *args: [answer])
    with pytest.raises(UserError, match=f"small_x2: unexpected answer .{part}"):
        client.upscale(noise_image(4, 4), uncertainty=False)


@pytest.mark.parametrize(
    "text",
    [
        *("", "host:8500/a", "ftp://host/a", "grpc://host", "grpc://h/a/b"),
        *("grpc://host:85OO/a", "http://host:99999/a", "http://[::1/a", "grpc://h:1/a/²"),
    ],
)
def test_invalid_addresses(text):
    with pytest.raises(UserError, match="expected grpc://HOST:8500/NAME or http://HOST:8501/NAME"):
        Client(text)


def test_paths_of_tensorflow_serving_are_addresses_too(addresses):
    assert Client(f"http://{addresses['http']}/v1/models/small_x2/versions/1").scale == 2


@pytest.mark.parametrize("way", WAYS)
def test_a_client_waits_for_a_server_that_starts_late(way, models):
    with listening(way, StandIn({})) as port:  # finds a free port
        pass
    finished = threading.Event()

    def start():
        time.sleep(0.5)
        with listening(way, models, port):
            finished.wait(60)

    thread = threading.Thread(target=start)
    thread.start()
    assert Client(f"{way}://127.0.0.1:{port}/small_x2", retries=6).scale == 2
    finished.set()
    thread.join()


def post(addresses, signature, rows, key="instances", raw=None):
    place = f"http://{addresses['http']}/v1/models/small_x2:predict"
    body = {"signature_name": signature, key: rows}
    answer = requests.post(place, data=raw or json.dumps(body), timeout=60)  # json.dumps writes NaN
    return answer.status_code, answer.json()


def b64(data: bytes) -> dict:
    return {"b64": base64.b64encode(data).decode()}


def test_rest_rows_and_columns(addresses, trained):
    image = noise_image(5, 7)
    expected = trained.upscale(image).image
    for rows in ([image.tolist()], [{"image": image.tolist()}]):
        status, answer = post(addresses, "sr_only", rows)
        assert status == 200
        assert np.abs(np.array(answer["predictions"][0]) - expected).max() <= 1
    status, answer = post(addresses, "serving_default", {"image": [image.tolist()]}, key="inputs")
    assert sorted(answer["outputs"]) == ["sr", "theta"]
    status, answer = post(addresses, "image_bytes", [{"image_bytes": b64(encoded(image, "png"))}])
    assert sorted(answer["predictions"][0]) == ["sr_image_bytes", "theta_image_bytes"]
    assert set(answer["predictions"][0]["sr_image_bytes"]) == {"b64"}


IMAGE = noise_image(4, 4).tolist()
MALFORMED = {
    "bad base64": ("image_bytes", [{"b64": "@@@"}], "expected string"),
    "not an image": ("image_bytes", [b64(b"x" * 100)], "not an image"),
    "wrong rank": ("serving_default", [[1, 2, 3]], "has shape (1, 3); expected"),
    "NaN": ("serving_default", [[[[float("nan"), 0, 0]]]], "expected uint8"),
    "out of range": ("serving_default", [[[[0, 0, 300]]]], "values 0..300"),
    "zero size": ("serving_default", [[]], "expected"),
    "nothing": ("serving_default", [], "not empty"),
    "above the limit": ("image_bytes", [b64(encoded(noise_image(201, 200), "png"))], "too large"),
    "no such signature": ("other", [IMAGE], "signature 'other' is not in the model"),
    "no such input": ("serving_default", [{"picture": IMAGE}], "expected the keys ['image']"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_rest_requests_are_refused_and_the_next_is_answered(addresses, case):
    signature, rows, message = MALFORMED[case]
    status, answer = post(addresses, signature, rows)
    assert status == 400
    assert message in answer["error"]
    assert post(addresses, "sr_only", [IMAGE])[0] == 200


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
def test_malformed_grpc_requests_are_refused_and_the_next_is_answered(addresses, inputs, message):
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
        answer = predict({"image": np.zeros((1, 4, 4, 3), np.uint8)})
        assert tf.make_ndarray(answer.outputs["sr"]).shape == (1, 8, 8, 3)
        assert (answer.model_spec.name, answer.model_spec.version.value) == ("small_x2", 1)


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


@pytest.mark.slow
def test_many_requests_at_once_are_answered_in_bounded_memory(served, trained):
    """16 clients at a time, of a server in a process of its own."""
    random = np.random.default_rng(0)
    images = [noise_image(*random.integers(8, 49, 2), seed) for seed in range(25)]
    expected = [trained.upscale(image) for image in images]
    with running_server(served) as (pid, *urls):
        process = psutil.Process(pid)
        for url in urls:
            client, memory = Client(url), []

            def ask(index, client=client, memory=memory):
                result = client.upscale(images[index % len(images)])
                memory.append(process.memory_info().rss)
                return result

            with ThreadPoolExecutor(16) as pool:
                results = list(pool.map(ask, range(100)))
            for index, result in enumerate(results):
                assert_close(result, expected[index % len(images)])
            early = memory[len(memory) // 10]
            assert memory[-1] < 1.1 * early + 50e6


def test_what_the_stand_in_refuses(tmp_path, served, addresses):
    taken = {way: address.rpartition(":")[2] for way, address in addresses.items()}
    for folder, grpc_port, rest_port, message in (
        (tmp_path, 0, 0, f"{tmp_path}: holds no version of a model"),
        (tmp_path / "x", 0, 0, "x: no such folder"),
        (served / "1", 0, 0, f"which holds versions: use {served}"),
        (served, 0, 99999, "--rest-port 99999: expected 0..65535"),
    ):
        ports = ("--grpc-port", str(grpc_port), "--rest-port", str(rest_port))
        with pytest.raises(UserError) as error:
            server.main([str(folder), *ports])
        assert message in str(error.value)
    for option, way, message in (
        ("--grpc-port", "grpc", "cannot be used: choose another --grpc-port"),
        ("--rest-port", "http", "Address already in use: choose another --rest-port"),
    ):
        ports = {"--grpc-port": "0", "--rest-port": "0", option: taken[way]}
        with pytest.raises(UserError) as error:
            server.main([str(served), *(x for pair in ports.items() for x in pair)])
        assert f":{taken[way]}: {message}" in str(error.value)


@pytest.mark.parametrize(
    ("facts", "part"),
    [
        ({"architecture": {"channels": 5}}, r"of 5 channels and the value range \[0, 255\] does"),
        ({"range": [-1.0, 1.0]}, r"of 3 channels and the value range \[-1\.0, 1\.0\] does not"),
    ],
)
def test_models_that_take_no_files_need_grpc(facts, part, served, monkeypatch):
    card = json.loads((served / "1/assets/model_card.json").read_text())
    architecture = card["architecture"] | facts.pop("architecture", {})
    card |= {"architecture": architecture, "calibration": None, **facts}
    monkeypatch.setattr(transport.RestTransport, "card", lambda self: json.dumps(card).encode())
    with pytest.raises(UserError, match=part + r".*: use gRPC, as in grpc://HOST:8500/a"):
        Client("http://host:8501/a")


@pytest.mark.parametrize("channels", [1, 4])
def test_images_of_other_channels_travel_as_png(channels, monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (2, 5, 6, channels), dtype=np.uint8)
    address = transport.Address.parse("http://host:8501/stack")
    rest = transport.RestTransport(address, timeout=1, retries=0)
    monkeypatch.setattr(rest, "_predict", lambda signature, rows: [r["image_bytes"] for r in rows])
    assert np.array_equal(rest.upscale(images, False, "uint8")["sr"], images)
