import os
import subprocess
import sys

import hypothesis
import numpy as np
import pytest
import schemathesis
from jsonschema import Draft202012Validator, ValidationError
from openapi_spec_validator import validate
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from covidcxr import DISCLAIMER
from covidcxr.images.phantom import radiograph
from covidcxr.prediction.conformal import Conformal
from covidcxr.prediction.predictor import Predictor
from covidcxr.prediction.verdict import Audit, Finding, Verdict
from covidcxr.web.api.docs import describe
from covidcxr.web.api.predictions import EXTRAS
from covidcxr.web.api.reports import PREVALENCES
from covidcxr.web.app import create_app
from covidcxr.web.http.access_log import WELL_FORMED
from support.small_models import with_metadata
from support.uploads import MULTIPART, dicom, multipart, picture

pytestmark = pytest.mark.slow

GREY = radiograph(np.random.default_rng(0), size=(240, 200))
EXAMPLES = int(os.environ.get("COVIDCXR_API_EXAMPLES", "8"))
"""Generated requests for each operation."""
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def app(predictor):
    return create_app(predictor, max_upload_mb=8, max_files=5)


@pytest.fixture(scope="module")
def schema(app):
    return schemathesis.openapi.from_wsgi("/api/v1/openapi.json", app)


def test_the_description_is_valid_openapi(app):
    description = app.test_client().get("/api/v1/openapi.json").json
    validate(description)
    assert description["openapi"] == "3.1.0"
    assert DISCLAIMER in description["info"]["description"]


def test_every_route_of_the_interfaces_is_described(app):
    described = describe()["paths"]
    views = ("api.", "reports.", "inference.", "health.", "docs.openapi")
    rules = [rule.rule for rule in app.url_map.iter_rules() if rule.endpoint.startswith(views)]
    assert set(described) >= {rule.replace("<", "{").replace(">", "}") for rule in rules}
    operations = [methods[name] for methods in described.values() for name in ("get", "post") if name in methods]
    names = [operation["operationId"] for operation in operations]
    assert len(names) == len(set(names))


def test_every_operation_that_is_described_has_its_view(app):
    routes = app.url_map.bind("x")
    for path, methods in describe()["paths"].items():
        for method in methods.keys() - {"parameters"}:
            assert routes.match(path.replace("{", "").replace("}", ""), method.upper())


def test_what_the_description_repeats_of_the_code_is_the_same():
    paths, schemas = describe()["paths"], describe()["components"]["schemas"]
    assert schemas["Problem"]["properties"]["request_id"]["pattern"] == f"^{WELL_FORMED.pattern}$"
    prediction = schemas["Prediction"]
    assert set(EXTRAS) == prediction["properties"].keys() - set(prediction["required"])
    form = paths["/api/v1/report.pdf"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    share = form["properties"]["prevalence"]
    assert (share["minimum"], share["maximum"]) == PREVALENCES


OPERATIONS = (
    *("POST /api/v1/predictions", "GET /api/v1/model", "GET /healthz", "GET /readyz", "GET /v2"),
    *("GET /v2/models/{name}", "GET /v2/models/{name}/ready", "POST /v2/models/{name}/infer"),
)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_answers_to_generated_requests_are_as_described(schema, operation):
    method, path = operation.split()
    statuses = set()

    @hypothesis.settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(case=schema[path][method].as_strategy())
    def ask(case):
        if "name" in case.path_parameters:
            case.path_parameters["name"] = "covidcxr"
        response = case.call()
        statuses.add(response.status_code)
        case.validate_response(response, checks=CHECKS)

    ask()
    assert statuses <= {200, 400, 413, 422} if method == "POST" else statuses == {200}


def test_the_examples_of_the_description_work(app):
    client, paths = app.test_client(), describe()["paths"]
    operation = paths["/v2/models/{name}/infer"]["post"]
    name = paths["/v2/models/{name}/infer"]["parameters"][0]["example"]
    body = operation["requestBody"]["content"]["application/json"]["example"]
    check("InferenceRequest", body)
    assert client.post(f"/v2/models/{name}/infer", json=body).status_code == 200
    operation = paths["/api/v1/predictions"]["post"]
    form = operation["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
    query = {parameter["name"]: parameter["example"] for parameter in operation["parameters"]}
    body = multipart([("a.png", picture(GREY))], [("include", form["include"]["example"])])
    answer = client.post("/api/v1/predictions", query_string=query, data=body, content_type=MULTIPART)
    assert {"activation_map", "preview"} <= set(answer.json[0])


def check(name, answer):
    """Hold an answer against one of the schemas of the description."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": describe()["components"]}
    Draft202012Validator(schema).validate(answer)


def test_answers_with_predictions_are_as_described(app):
    client = app.test_client()
    files = [("a.png", picture(GREY)), ("b.dcm", dicom(GREY)), ("flat.png", picture(np.full((120, 120), 7, np.uint8)))]
    for query in ("", "?include=activation_map,lungs,patient,preview"):
        answer = client.post("/api/v1/predictions" + query, data=multipart(files), content_type=MULTIPART)
        assert answer.status_code == 200
        for item in answer.json:
            check("Prediction", item)
    check("Model", client.get("/api/v1/model").json)
    check("InferenceModel", client.get("/v2/models/covidcxr").json)
    tensor = {"name": "pixels", "datatype": "UINT8", "shape": [1, 240, 200, 1], "data": GREY.ravel().tolist()}
    answer = client.post("/v2/models/covidcxr/infer", json={"id": "7", "inputs": [tensor]})
    check("InferenceRequest", {"id": "7", "inputs": [tensor]})
    check("InferenceResponse", answer.json)
    with pytest.raises(ValidationError):
        check("Prediction", {"path": "a.png", "error": "no picture"})


def test_problems_are_as_described(app):
    client = app.test_client()
    answer = client.post("/api/v1/predictions", data=multipart([("a.txt", b"a")]), content_type=MULTIPART)
    check("FilesProblem", answer.json)
    check("Problem", client.get("/api/v1/predictions").json)


def test_the_model_says_all_that_its_file_says(model_file, tmp_path):
    finding = Finding(test="lungs_erased", verdict=Verdict.WARN, value=0.7, low=0.6, high=0.8, says="It still scores.")
    audited = with_metadata(
        model_file,
        tmp_path / "audited.onnx",
        audit=Audit(date="2026-01-01", data_hash="0" * 64, findings=(finding,)),
        conformal=Conformal(
            coverage=0.9, thresholds=(0.1, 0.1, 0.1), images=(9, 9, 9), scores=(0.5,), low=(0.4,), high=(0.6,)
        ),
    )
    predictor = Predictor.load(audited)
    app = create_app(predictor)
    answer = app.test_client().get("/api/v1/model").json
    check("Model", answer)
    assert answer["model"] == predictor.model
    assert answer["labels"] == ["normal", "pneumonia", "covid"]
    assert answer["card"]["intended_use"] == "Tests only."
    assert answer["card"]["disclaimer"] == DISCLAIMER
    assert answer["preprocessing"] == {"size": 224, "crop": 0.9, "equalize": False, "blur": 0.0}
    assert [(point["name"], point["threshold"]) for point in answer["operating_points"]] == [
        ("screening", 0.3),
        ("balanced", 0.36),
    ]
    assert answer["coverage"] == 0.9
    assert answer["audit"]["verdict"] == "warn"
    assert answer["audit"]["findings"][0]["says"] == "It still scores."
    check("Model", create_app(Predictor.load()).test_client().get("/api/v1/model").json)


def test_nothing_of_the_description_is_imported_before_somebody_asks(model_file):
    script = (
        "import sys; from pathlib import Path; from covidcxr.prediction.predictor import Predictor;"
        "from covidcxr.web.app import create_app;"
        "create_app(Predictor.load(Path(sys.argv[1])));"
        "print(sorted({'yaml', 'limits', 'flask_cors', 'flask_swagger_ui'}"
        " & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script, str(model_file)], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
