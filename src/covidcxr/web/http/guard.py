"""Who may ask, and how often: a token, a rate limit, other origins. All of it is off unless it is asked for."""

import hmac
import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from flask import Flask, Response, render_template, request
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import TooManyRequests, Unauthorized

from covidcxr import DISCLAIMER
from covidcxr.web.http.problems import is_interface

if TYPE_CHECKING:
    from limits import RateLimitItem

OPEN = frozenset({"/healthz", "/readyz", "/v2/health/live", "/v2/health/ready"})
"""Addresses that need no token: who asks whether a server lives has none."""
SHORTEST_TOKEN = 16
"""Characters."""
REALM = "covidcxr"


@dataclass(frozen=True, kw_only=True)
class Guard:
    """What a request must bring.

    Attributes:
        token: As a bearer token, or as the password of a browser's own question; None asks for none.
        rate_limit: Such as ``60/minute``, for each client in each worker process; None sets none.
        origins: Other origins whose pages may ask, such as ``https://example.org``.
        proxies: Proxies in front, whose X-Forwarded headers are believed.
    """

    token: str | None = field(default=None, repr=False)
    rate_limit: str | None = None
    origins: tuple[str, ...] = ()
    proxies: int = 0

    def __post_init__(self) -> None:
        token = self.token
        if token is not None and not (
            len(token) >= SHORTEST_TOKEN and token.isascii() and token.isprintable() and " " not in token
        ):
            raise ValueError(
                f"Expected a token of {SHORTEST_TOKEN} or more ASCII characters, no spaces. Received another."
            )
        for origin in self.origins:
            parts = urlsplit(origin)
            if (
                parts.scheme not in ("http", "https")
                or origin != f"{parts.scheme}://{parts.netloc}"
                or not parts.netloc
            ):
                raise ValueError(f"Expected an origin such as https://example.org. Received {origin}.")
        if self.rate_limit is not None:
            _parse_rate(self.rate_limit)


def install(app: Flask, guard: Guard) -> None:
    """Have every request of an application pass the guard, in the order: proxies, rate limit, token."""
    if guard.proxies:
        from werkzeug.middleware.proxy_fix import ProxyFix

        hops = dict.fromkeys(("x_for", "x_proto", "x_host", "x_prefix"), guard.proxies)
        app.wsgi_app = ProxyFix(app.wsgi_app, **hops)  # type: ignore[method-assign] # Flask's own way to wrap it
    if guard.origins:
        from flask_cors import CORS

        readable = ["Retry-After", "X-Request-ID"]
        CORS(app, resources=[r"/api/.*", r"/v2.*"], origins=list(guard.origins), expose_headers=readable)
    if guard.rate_limit is not None:
        _limit(app, guard.rate_limit)
    if guard.token is not None:
        _ask_for_token(app, guard.token.encode())


def _parse_rate(text: str) -> "RateLimitItem":
    from limits import parse  # here: it costs 60 ms

    try:
        return parse(text)
    except ValueError as error:
        raise ValueError(f"Expected a rate such as 60/minute. Received {text}.") from error


def _limit(app: Flask, rate_limit: str) -> None:
    from limits.storage import MemoryStorage
    from limits.strategies import MovingWindowRateLimiter

    rate, limiter = _parse_rate(rate_limit), MovingWindowRateLimiter(MemoryStorage())

    @app.before_request
    def count() -> None:
        client = request.remote_addr or ""
        if request.method == "POST" and not limiter.hit(rate, client):  # nothing else costs more than its bytes
            seconds = max(1, math.ceil(limiter.get_window_stats(rate, client).reset_time - time.time()))
            raise TooManyRequests(f"Expected at most {rate} from one client. Received more.", retry_after=seconds)


def _ask_for_token(app: Flask, token: bytes) -> None:
    @app.before_request
    def ask() -> ResponseReturnValue | None:
        if request.path in OPEN or request.method == "OPTIONS" or hmac.compare_digest(_sent_token(), token):
            return None
        if is_interface():
            raise Unauthorized(
                "Expected the header Authorization: Bearer TOKEN. Received none, or another token.",
                www_authenticate=WWWAuthenticate("bearer", {"realm": REALM}),
            )
        page = Response(render_template("token.html", disclaimer=DISCLAIMER), 401)
        page.www_authenticate = WWWAuthenticate("basic", {"realm": REALM, "charset": "UTF-8"})
        return page


def _sent_token() -> bytes:
    """Return the bearer token of a request, or the password that a browser asked its user for; empty without any."""
    sent = request.authorization
    if sent is None:
        return b""
    return ({"basic": sent.password, "bearer": sent.token}.get(sent.type) or "").encode()
