"""What tells an operator how the server is: health, readiness, metrics, the log."""

import json
import logging
import re
import threading

import numpy as np
import pytest
from prometheus_client import values
from prometheus_client.parser import text_string_to_metric_families

from covidcxr import __version__
from covidcxr.images.phantom import radiograph
from covidcxr.web.app import create_app
from covidcxr.web.http import metrics
from covidcxr.web.http.logs import LogFormat, configure
from support.uploads import MULTIPART, dicom, multipart, picture

API = "/api/v1/predictions"
GREY = radiograph(np.random.default_rng(0), size=(240, 200))
FLAT = np.full((120, 120), 7, np.uint8)


def post(client, *files, **options):
    return client.post(API, data=multipart(files), content_type=MULTIPART, **options)


def numbers(client):
    """Return the samples of ``/metrics`` by name and labels."""
    families = text_string_to_metric_families(client.get("/metrics").get_data(as_text=True))
    return {(s.name, *sorted(s.labels.values())): s.value for family in families for s in family.samples}


class Broken:
    """A predictor that fails until it is mended."""

    def __init__(self, predictor):
        self.predictor, self.model, self.mended = predictor, predictor.model, False

    def predict(self, grey):
        if not self.mended:
            raise RuntimeError("bug")
        return self.predictor.predict(grey)


def test_ready_means_that_it_predicts(predictor):
    broken = Broken(predictor)
    client = create_app(broken).test_client()
    for path in ("/readyz", "/v2/health/ready", "/v2/models/covidcxr/ready"):
        answer = client.get(path)
        assert answer.status_code == 503
        assert answer.content_type == "application/problem+json"
    assert client.get("/healthz").status_code == client.get("/v2/health/live").status_code == 200
    broken.mended = True
    for path in ("/readyz", "/v2/health/ready", "/v2/models/covidcxr/ready"):
        assert client.get(path).status_code == 200
    assert client.get("/readyz").json == {"status": "ready", "model": predictor.model}


def test_a_server_that_is_about_to_end_is_not_ready_but_answers(predictor):
    stopping = threading.Event()
    client = create_app(predictor, stopping=stopping.is_set).test_client()
    assert client.get("/readyz").status_code == 200
    stopping.set()
    assert client.get("/readyz").status_code == 503
    assert client.get("/readyz").json["detail"] == "The server is shutting down."
    assert client.get("/healthz").status_code == 200
    assert post(client, ("a.png", picture(GREY))).status_code == 200


def test_metrics_count_what_was_done(predictor):
    client = create_app(predictor).test_client()
    post(client, ("a.png", picture(GREY)), ("b.png", picture(np.maximum(GREY, 180))), ("flat.png", picture(FLAT)))
    post(client, ("Doe.txt", b"no picture"))
    client.get("/nothing/Doe")
    found = numbers(client)
    assert found["covidcxr_predictions_total", "normal"] == 1
    assert found["covidcxr_predictions_total", "covid"] == 1
    assert found["covidcxr_predictions_total", "declined"] == 1
    assert found["covidcxr_predictions_total", "pneumonia"] == 0
    assert found["covidcxr_flags_total", "uniform"] == 1
    assert found["covidcxr_images_refused_total",] == 1
    assert found["covidcxr_requests_total", API, "200"] == 1
    assert found["covidcxr_requests_total", API, "422"] == 1
    assert found["covidcxr_requests_total", "404", "unmatched"] == 1
    assert found["covidcxr_request_duration_seconds_count", API] == 2
    assert found["covidcxr_request_duration_seconds_bucket", "+Inf", API] == 2
    assert 0 < found["covidcxr_request_duration_seconds_sum", API] < 10
    assert found["covidcxr_requests_in_progress",] == 1  # the one that asks
    assert "Doe" not in client.get("/metrics").get_data(as_text=True)


class Waiting:
    """A predictor that waits until it may go on."""

    def __init__(self, predictor):
        self.predictor, self.model = predictor, predictor.model
        self.begun, self.go = threading.Event(), threading.Event()

    def predict(self, grey):
        self.begun.set()
        assert self.go.wait(10)
        return self.predictor.predict(grey)


def test_metrics_know_what_is_under_way(predictor):
    waiting = Waiting(predictor)
    app = create_app(waiting)
    asking = threading.Thread(target=lambda: post(app.test_client(), ("a.png", picture(GREY))))
    asking.start()
    assert waiting.begun.wait(10)
    assert numbers(app.test_client())["covidcxr_requests_in_progress",] == 2
    waiting.go.set()
    asking.join()
    assert numbers(app.test_client())["covidcxr_requests_in_progress",] == 1


@pytest.fixture
def sharing(monkeypatch, tmp_path):
    """Returns a function that makes the next application count as the worker of a slot."""
    monkeypatch.setenv(metrics.FOLDER, str(tmp_path))
    monkeypatch.setattr(values, "ValueClass", values.ValueClass)
    return lambda slot: metrics.share(tmp_path, slot)


def test_metrics_are_those_of_all_workers_and_outlive_them(predictor, sharing, tmp_path):
    clients = []
    for slot in (0, 2):
        sharing(slot)
        clients.append(create_app(predictor).test_client())
        post(clients[-1], ("a.png", picture(GREY)))
    assert [numbers(client)["covidcxr_predictions_total", "normal"] for client in clients] == [2, 2]
    files = sorted(tmp_path.iterdir())
    sharing(2)
    replacement = create_app(predictor).test_client()
    post(replacement, ("a.png", picture(GREY)))
    found = numbers(clients[0])
    assert found["covidcxr_predictions_total", "normal"] == 3
    assert found["covidcxr_predictions_total", "pneumonia"] == 0
    assert found["covidcxr_request_duration_seconds_count", API] == 3
    assert found["covidcxr_model_info", __version__, predictor.model] == 1
    assert sorted(tmp_path.iterdir()) == files  # replaced workers leave nothing behind


def test_failures_are_counted_and_none_stays_under_way(predictor):
    client = create_app(Broken(predictor)).test_client()
    assert post(client, ("a.png", picture(GREY))).status_code == 500
    found = numbers(client)
    assert found["covidcxr_requests_total", API, "500"] == 1
    assert found["covidcxr_requests_in_progress",] == 1


@pytest.mark.parametrize("sent", ["7f3a-B.2_~x", "a" * 64])
def test_a_well_formed_request_id_is_kept(predictor, sent):
    answer = create_app(predictor).test_client().get("/healthz", headers={"X-Request-ID": sent})
    assert answer.headers["X-Request-ID"] == sent


@pytest.mark.parametrize("sent", ["", "a" * 65, "two words", 'a"b', "ä"])
def test_other_request_ids_are_replaced(predictor, sent):
    answer = create_app(predictor).test_client().get("/healthz", headers={"X-Request-ID": sent})
    assert re.fullmatch("[0-9a-f]{16}", answer.headers["X-Request-ID"])


@pytest.fixture
def loggers():
    """Puts the loggers back as they were: configure() is for a whole process."""
    names = ("covidcxr.requests", "gunicorn.error", "covidcxr.web", "pydicom", "PIL")
    kept = [(log, log.handlers, log.propagate, log.level, log.filters[:]) for log in map(logging.getLogger, names)]
    yield
    for log, handlers, propagate, level, filters in kept:
        log.handlers, log.propagate, log.filters = handlers, propagate, filters
        log.setLevel(level)


@pytest.mark.usefixtures("loggers")
def test_the_log_has_one_line_of_json_for_each_request(predictor, capsys):
    configure(LogFormat.JSON)
    client = create_app(predictor).test_client()
    body = multipart([("Doe.dcm", dicom(GREY, PatientName="Doe^Jane"))])
    client.post(API + "?include=preview&name=Doe", data=body, content_type=MULTIPART, headers={"X-Request-ID": "r1"})
    client.get("/Doe.png")
    client.open("/healthz", method="DOE")
    text = capsys.readouterr().err
    lines = [json.loads(line) for line in text.splitlines()]
    first, *others = lines
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first.pop("time"))
    assert first.pop("duration_ms") > 0
    assert first.pop("bytes_out") > 10_000
    assert first == {
        "level": "info",
        "message": "request",
        "request_id": "r1",
        "method": "POST",
        "route": API,
        "status": 200,
        "bytes_in": len(body),
    }
    assert [(line["method"], line["route"], line["status"]) for line in others] == [
        ("GET", "unmatched", 404),
        ("other", "unmatched", 405),
    ]
    assert "Doe" not in text


@pytest.mark.usefixtures("loggers")
def test_lines_of_text_and_addresses_for_those_who_ask(predictor, capsys):
    configure(LogFormat.TEXT)
    client = create_app(predictor, log_addresses=True).test_client()
    client.get("/healthz", environ_base={"REMOTE_ADDR": "192.0.2.7"})
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(r"Z info request request_id=\w+ method=GET route=/healthz status=200 .* address=192.0.2.7$", line)


@pytest.mark.usefixtures("loggers")
def test_a_failure_is_one_line_of_json_with_its_traceback(predictor, capsys):
    configure(LogFormat.JSON)
    post(create_app(Broken(predictor)).test_client(), ("Doe.png", picture(GREY)))
    failure, request = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert failure["level"] == "error"
    assert "RuntimeError: bug" in failure["traceback"]
    assert request["status"] == 500
    assert "Doe" not in json.dumps(failure)


@pytest.mark.usefixtures("loggers")
def test_without_a_format_there_is_no_line_for_a_request(predictor, capsys):
    configure(None)
    create_app(predictor).test_client().get("/healthz")
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("loggers")
def test_lines_of_gunicorn_lose_what_a_client_sent(capsys):
    configure(LogFormat.JSON)
    log = logging.getLogger("gunicorn.error")
    log.warning("Invalid request from ip=192.0.2.7: Invalid HTTP Header: 'Doe'")
    log.error("Error handling request %s %s", "GET", "/?name=Doe")
    log.warning("Worker (pid:7) was sent SIGKILL!")
    messages = [json.loads(line)["message"] for line in capsys.readouterr().err.splitlines()]
    assert messages == ["Invalid request", "Error handling request", "Worker (pid:7) was sent SIGKILL!"]
