import base64
import re

import numpy as np
import pytest

from covidcxr.images.phantom import radiograph
from covidcxr.web.app import create_app
from covidcxr.web.http.guard import Guard
from support.serving import hosting
from support.uploads import MULTIPART, multipart, picture

API = "/api/v1/predictions"
TOKEN = "a-token-of-some-length"
PNG = picture(radiograph(np.random.default_rng(0), size=(240, 200)))
BODY = multipart([("a.png", PNG)])


def post(client, **options):
    return client.post(API, data=BODY, content_type=MULTIPART, **options)


def guarded(predictor, **guard):
    return create_app(predictor, guard=Guard(**guard)).test_client()


def basic(password):
    return {"Authorization": "Basic " + base64.b64encode(f"anybody:{password}".encode()).decode()}


@pytest.mark.parametrize("headers", [{"Authorization": f"Bearer {TOKEN}"}, basic(TOKEN)], ids=["bearer", "basic"])
def test_the_token_opens_everything(predictor, headers):
    client = guarded(predictor, token=TOKEN)
    assert post(client, headers=headers).status_code == 200
    for path in ("/", "/metrics", "/v2", "/api/v1/openapi.json", "/static/icon.svg"):
        assert client.get(path, headers=headers, buffered=True).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer " + TOKEN[:-1]},
        {"Authorization": "Bearer ünïcödé-tökén-of-söme-length"},
        {"Authorization": "Bearer"},
        {"Authorization": f"Digest {TOKEN}"},
        {"Authorization": TOKEN},
        basic("another-token-altogether"),
        {"Authorization": "Basic !!!"},
    ],
)
def test_without_the_token_programs_get_a_problem_and_people_an_explanation(predictor, headers):
    client = guarded(predictor, token=TOKEN)
    for path in (API, "/v2", "/metrics", "/api/v1/openapi.json", "/api/nothing"):
        answer = client.get(path, headers=headers)
        assert answer.status_code == 401
        assert answer.content_type == "application/problem+json"
        assert answer.headers["WWW-Authenticate"] == "Bearer realm=covidcxr"
        assert "Authorization: Bearer TOKEN" in answer.json["detail"]
    page = client.get("/", headers=headers)
    assert page.status_code == 401
    assert page.headers["WWW-Authenticate"].startswith("Basic realm=covidcxr")  # browsers then ask
    assert "This server requires a token" in page.get_data(as_text=True)
    assert "default-src 'self'" in page.headers["Content-Security-Policy"]


def test_who_asks_whether_the_server_lives_needs_no_token(predictor):
    client = guarded(predictor, token=TOKEN)
    for path in ("/healthz", "/readyz", "/v2/health/live", "/v2/health/ready"):
        assert client.get(path).status_code == 200


def test_the_rate_limit_counts_uploads_by_client(predictor):
    client = guarded(predictor, rate_limit="2/minute")
    first, second = ({"REMOTE_ADDR": address} for address in ("192.0.2.1", "192.0.2.2"))
    assert [post(client, environ_base=first).status_code for _ in range(3)] == [200, 200, 429]
    answer = post(client, environ_base=first)
    assert answer.content_type == "application/problem+json"
    assert answer.json["detail"] == "Too many requests: the limit is 2 per 1 minute for one client."
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    assert post(client, environ_base=second).status_code == 200
    assert client.get("/api/v1/model", environ_base=first).status_code == 200


def test_the_rate_limit_counts_wrong_tokens_too(predictor):
    client = guarded(predictor, rate_limit="2/minute", token=TOKEN)
    assert [post(client).status_code for _ in range(3)] == [401, 401, 429]


def test_without_a_limit_nobody_is_turned_away(predictor):
    client = create_app(predictor).test_client()
    assert {client.post(API).status_code for _ in range(100)} == {400}


def test_forwarded_addresses_are_believed_from_so_many_proxies_only(predictor):
    forwarded = [{"X-Forwarded-For": f"198.51.100.{number}, 203.0.113.{number}"} for number in range(3)]
    for proxies, statuses in ((0, [200, 429, 429]), (1, [200, 200, 200])):
        client = guarded(predictor, rate_limit="1/minute", proxies=proxies)
        assert [post(client, headers=headers).status_code for headers in forwarded] == statuses
    client = guarded(predictor, rate_limit="1/minute", proxies=1)
    made_up = [{"X-Forwarded-For": f"{number}, 203.0.113.1"} for number in ("192.0.2.1", "192.0.2.2")]
    assert [post(client, headers=headers).status_code for headers in made_up] == [200, 429]


def test_other_origins_may_ask_where_they_are_named(predictor):
    origin = "https://viewer.example.org"
    client = guarded(predictor, origins=(origin,), token=TOKEN)
    preflight = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    answer = client.options(API, headers=preflight)
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == origin
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]
    assert answer.headers["Access-Control-Allow-Headers"].lower() == "authorization"
    answer = post(client, headers={"Origin": origin, "Authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == origin
    assert "Access-Control-Allow-Credentials" not in answer.headers
    assert answer.headers["Access-Control-Expose-Headers"] == "Retry-After, X-Request-ID"
    other = post(client, headers={"Origin": "https://evil.example.org", "Authorization": f"Bearer {TOKEN}"})
    assert "Access-Control-Allow-Origin" not in other.headers
    assert "Access-Control-Allow-Origin" not in client.get("/", headers={"Origin": origin}).headers


def test_no_other_origin_may_ask_by_default(predictor):
    answer = create_app(predictor).test_client().options(API, headers={"Origin": "https://viewer.example.org"})
    assert not [name for name, _ in answer.headers if name.startswith("Access-Control")]


@pytest.mark.parametrize(
    ("guard", "message"),
    [
        ({"token": "short"}, "a token of 16 or more"),
        ({"token": ""}, "a token of 16 or more"),
        ({"token": "a token with spaces in it"}, "no spaces"),
        ({"token": "ein-schlüssel-der-länge"}, "ASCII"),
        ({"rate_limit": "often"}, "a rate such as 60/minute. Received often"),
        ({"rate_limit": ""}, "a rate such as 60/minute"),
        ({"origins": ("*",)}, "an origin such as"),
        ({"origins": ("https://example.org/path",)}, "an origin such as"),
        ({"origins": ("ftp://example.org",)}, "an origin such as"),
    ],
)
def test_a_guard_that_cannot_be_is_refused(guard, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Guard(**guard)


def test_the_token_is_in_no_representation():
    assert TOKEN not in repr(Guard(token=TOKEN))


@pytest.mark.slow
def test_a_browser_that_was_given_the_token_uses_the_page(predictor, browser):
    """What a person does who is asked for a password: the page's own requests then bring it, too."""
    credentials = {"username": "anybody", "password": TOKEN}
    with (
        hosting(create_app(predictor, guard=Guard(token=TOKEN))) as address,
        browser.new_context(http_credentials=credentials) as context,
    ):
        page = context.new_page()
        assert page.goto(address).status == 200
        with page.expect_response(lambda answer: answer.url.endswith("/predictions")) as answered:
            page.set_input_files("#files", [{"name": "a.png", "mimeType": "", "buffer": PNG}])
        assert answered.value.status == 200
