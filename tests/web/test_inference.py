import base64
import json
import struct
import tracemalloc

import numpy as np
import pytest
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput

from covidcxr.images.decode import decode_image
from covidcxr.images.phantom import radiograph
from covidcxr.web.app import create_app
from support.serving import serving
from support.uploads import MULTIPART, dicom, multipart, picture

INFER = "/v2/models/covidcxr/infer"
GREY = radiograph(np.random.default_rng(0), size=(240, 200))
BRIGHT = np.maximum(GREY, 180)
FLAT = np.full((240, 200), 7, np.uint8)
FILES = [picture(GREY), dicom(BRIGHT), picture(FLAT)]


@pytest.fixture
def client(predictor):
    return create_app(predictor, max_upload_mb=8, max_files=5).test_client()


def files(contents=FILES, **changes):
    data = [base64.b64encode(content).decode() for content in contents]
    return {"name": "image", "datatype": "BYTES", "shape": [len(data)], "data": data} | changes


def pixels(greys, **changes):
    array = np.stack(greys)[..., np.newaxis]
    return {"name": "pixels", "datatype": "UINT8", "shape": list(array.shape), "data": array.tolist()} | changes


def by_name(answer):
    return {output["name"]: output for output in answer["outputs"]}


def test_the_numbers_are_those_of_the_other_interface(client, predictor):
    uploads = multipart([(str(i), content) for i, content in enumerate(FILES)])
    expected = client.post("/api/v1/predictions", data=uploads, content_type=MULTIPART).json
    answer = client.post(INFER, json={"id": "seven", "inputs": [files()]})
    assert answer.status_code == 200
    assert answer.json["id"] == "seven"
    assert answer.json["model_name"] == "covidcxr"
    assert answer.json["model_version"] == predictor.model.partition("@")[2]
    labels = answer.json["parameters"]["labels"].split(",")
    outputs = by_name(answer.json)
    assert outputs["probabilities"]["datatype"] == "FP32"
    assert outputs["probabilities"]["shape"] == [3, 3]
    rows = np.array(outputs["probabilities"]["data"]).reshape(3, 3)
    wanted = np.array([[item["probabilities"][label] for label in labels] for item in expected])
    assert np.abs(rows - wanted).max() <= 1e-6
    assert outputs["label"]["data"] == [item["label"] or "" for item in expected] == ["normal", "covid", ""]
    assert outputs["flags"]["data"] == ["", "", "uniform"]


@pytest.mark.parametrize("how", ["nested", "flat"])
def test_pixels_are_scored_as_they_are(client, predictor, how):
    tensor = pixels([GREY, BRIGHT])
    if how == "flat":
        tensor["data"] = np.stack([GREY, BRIGHT]).ravel().tolist()
    outputs = by_name(client.post(INFER, json={"inputs": [tensor]}).json)
    wanted = [value for grey in (GREY, BRIGHT) for value in predictor.predict(grey).probabilities.values()]
    assert np.abs(np.array(outputs["probabilities"]["data"]) - wanted).max() <= 1e-6


def test_outputs_that_are_asked_for(client):
    wanted = [{"name": "label"}, {"name": "probabilities"}]
    answer = client.post(INFER, json={"inputs": [files()], "outputs": wanted})
    assert [output["name"] for output in answer.json["outputs"]] == ["label", "probabilities"]


def post_binary(client, head, rest):
    body = json.dumps(head).encode()
    headers = {"Inference-Header-Content-Length": str(len(body))}
    return client.post(INFER, data=body + rest, headers=headers, content_type="application/octet-stream")


def test_tensors_may_follow_the_json(client, predictor):
    tensor = pixels([GREY], parameters={"binary_data_size": GREY.size})
    del tensor["data"]
    head = {"inputs": [tensor], "parameters": {"binary_data_output": True}}
    answer = post_binary(client, head, GREY.tobytes())
    assert answer.status_code == 200
    length = int(answer.headers["Inference-Header-Content-Length"])
    outputs = by_name(json.loads(answer.data[:length]))
    row = np.frombuffer(answer.data, "<f4", 3, offset=length)
    assert np.abs(row - list(predictor.predict(GREY).probabilities.values())).max() <= 1e-6
    assert outputs["probabilities"]["parameters"] == {"binary_data_size": 12}
    assert answer.data[length + 12 :] == struct.pack("<I", 6) + b"normal" + struct.pack("<I", 0)


def test_a_client_of_the_protocol_understands_it(model_file, predictor, tmp_path):
    """Triton's own client over a real connection, tensors as bytes after the JSON both ways."""
    with serving(model_file, tmp_path / "log") as (_, host, port):
        client = InferenceServerClient(f"{host}:{port}")
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("covidcxr")
        assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
        version = client.get_model_metadata("covidcxr")["versions"][0]
        assert client.is_model_ready("covidcxr", version)
        for binary in (True, False):
            image = InferInput("image", [2], "BYTES")
            image.set_data_from_numpy(np.array(FILES[:2], object))
            pixel = InferInput("pixels", [1, *GREY.shape, 1], "UINT8")
            pixel.set_data_from_numpy(GREY[np.newaxis, ..., np.newaxis], binary_data=binary)
            wanted = [InferRequestedOutput(name, binary_data=binary) for name in ("probabilities", "label")]
            for given, greys in ((image, [GREY, decode_image(FILES[1], "")]), (pixel, [GREY])):
                result = client.infer("covidcxr", [given], model_version=version, outputs=wanted)
                expected = [list(predictor.predict(grey).probabilities.values()) for grey in greys]
                assert np.abs(result.as_numpy("probabilities") - expected).max() <= 1e-6
                assert result.as_numpy("label").shape == (len(greys),)
        client.close()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ([], "an object with a valid 'inputs'"),
        ({}, "an object with a valid 'inputs'"),
        ({"inputs": []}, "one input, image or pixels. Received 0"),
        ({"inputs": [files(), files()]}, "one input, image or pixels. Received 2"),
        ({"inputs": [1]}, "an object with a valid 'name'"),
        ({"inputs": [files(name="input")]}, "Expected the input image"),
        ({"inputs": [files(datatype="FP32")]}, "Expected the input image"),
        ({"inputs": [files(shape=[3, 1])]}, "Expected the input image"),
        ({"inputs": [files(shape=[])]}, "Expected the input image"),
        ({"inputs": [files(shape=[2])]}, "Expected 2 elements"),
        ({"inputs": [files(shape=[True])]}, "a shape of integers"),
        ({"inputs": [files(shape=[-1])]}, "a shape of integers"),
        ({"inputs": [files(shape=[6])]}, "at most 5 images"),
        ({"inputs": [files(data=["no base64!"], shape=[1])]}, "in base64"),
        ({"inputs": [files(data=["no base64!"] * 2, shape=[1])]}, "Expected 1 elements"),
        ({"inputs": [files(data=[7], shape=[1])]}, "in base64"),
        ({"inputs": [files(data="text", shape=[1])]}, "an object with a valid 'data'"),
        ({"inputs": [pixels([GREY], shape=[1, 240, 200, 3])]}, "Expected the input image"),
        ({"inputs": [pixels([GREY], shape=[1, 240, 201, 1])]}, "Expected 48240 values"),
        ({"inputs": [pixels([GREY], shape=[1, 60000, 60000, 1])]}, "a supported size"),
        ({"inputs": [pixels([GREY], shape=[1, 10**30, 200, 1])]}, "a supported size"),
        ({"inputs": [pixels([GREY], data=[300] * GREY.size)]}, "integers from 0 to 255"),
        ({"inputs": [pixels([GREY], data=[0.5] * GREY.size)]}, "integers from 0 to 255"),
        ({"inputs": [pixels([GREY], data=[10**30] * GREY.size)]}, "integers from 0 to 255"),
        ({"inputs": [pixels([GREY], data=[[1], [1, 2]])]}, "integers from 0 to 255"),
        ({"inputs": [pixels([GREY], data=[[1, 2], [3, [4]]])]}, "integers from 0 to 255"),
        ({"inputs": [pixels([GREY], data=[[True] * 200] * 240)]}, "integers from 0 to 255"),
        ({"inputs": [pixels([GREY], data=[])]}, "integers from 0 to 255"),
        ({"inputs": [pixels([GREY], data=[[], []])]}, "integers from 0 to 255"),
        ({"inputs": [pixels([GREY], parameters={"binary_data_size": 9})]}, "the 0 bytes after the JSON"),
        ({"inputs": [files()], "outputs": [{"name": "map"}]}, "outputs named probabilities, label, flags"),
        ({"inputs": [files()], "id": 7}, "a string as id"),
    ],
)
def test_a_request_that_breaks_the_protocol_is_refused(client, body, message):
    answer = client.post(INFER, json=body)
    assert answer.status_code == 400, answer.json
    assert answer.content_type == "application/problem+json"
    assert message in answer.json["detail"]
    assert answer.json["error"] == answer.json["detail"]


def test_texts_instead_of_numbers_take_no_more_memory_than_the_request(client):
    """An array of texts would give every one of them the room of the longest."""
    body = json.dumps({"inputs": [pixels([GREY], data=["x" * 1_000_000, *"abc" * 10])]})
    tracemalloc.start()
    answer = client.post(INFER, data=body)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert answer.status_code == 400
    assert peak < 10 * len(body)


@pytest.mark.parametrize("body", [b"", b"no JSON", b"[" * 100_000, b"\xff\xfe", b'{"inputs": NaN}'])
def test_a_body_that_is_no_request_is_refused(client, body):
    answer = client.post(INFER, data=body, content_type="application/json")
    assert answer.status_code == 400


@pytest.mark.parametrize("rest", [b"", b"\x05\0\0\0abc", b"\xff\xff\xff\xffabc", b"\x01\0"])
def test_binary_elements_that_are_not_as_long_as_they_say_are_refused(client, rest):
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": len(rest)}}
    assert post_binary(client, {"inputs": [tensor]}, rest).status_code == 400


def test_binary_elements_beyond_the_shape_are_not_read(client):
    rest = bytes(4) + b"\xff\xff\xff\xff"
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": len(rest)}}
    answer = post_binary(client, {"inputs": [tensor]}, rest)
    assert answer.status_code == 400
    assert "Expected 1 elements, according to the shape. Received more bytes." in answer.json["detail"]


@pytest.mark.parametrize("length", ["x", "-1", "999999999", "²", "9" * 5000])
def test_a_header_length_that_cannot_be_is_refused(client, length):
    answer = client.post(INFER, data=b"{}", headers={"Inference-Header-Content-Length": length})
    assert answer.status_code == 400


def test_one_image_that_cannot_be_scored_refuses_the_request(client):
    answer = client.post(INFER, json={"inputs": [files([FILES[0], b"text"])]})
    assert answer.status_code == 422
    assert "image 1 of the request" in answer.json["detail"]


def test_only_this_model_and_version_are_there(client, predictor):
    version = predictor.model.partition("@")[2]
    assert client.get(f"/v2/models/covidcxr/versions/{version}").status_code == 200
    assert client.get(f"/v2/models/covidcxr/versions/{version}/ready").status_code == 200
    for path in ("/v2/models/other", "/v2/models/other/ready", "/v2/models/covidcxr/versions/1"):
        assert client.get(path).status_code == 404
    assert client.post("/v2/models/covidcxr/versions/1/infer", json={"inputs": [files()]}).status_code == 404
