"""Access control: token, rate limit, other origins, proxies. All of it is off by default."""

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
"""Addresses that need no token: health checks have none."""
SHORTEST_TOKEN = 16
"""Characters of a token, at least."""
REALM = "covidcxr"


@dataclass(frozen=True, kw_only=True)
class Guard:
    """What a request must satisfy.

    Attributes:
        token: Bearer token, which browsers send as the password of Basic authentication; None requires none.
        rate_limit: Rate such as ``60/minute``, for each client and worker process; None for no limit.
        origins: Other origins whose pages may send requests, such as ``https://example.org``.
        proxies: Number of proxies in front whose X-Forwarded headers are trusted.

    Raises:
        ValueError: The token, the rate or an origin is invalid.
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
                f"Expected a token of {SHORTEST_TOKEN} or more ASCII characters, no spaces. Received another one."
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
    """Check every request of an application, in this order: proxies, rate limit, token."""
    if guard.proxies:
        from werkzeug.middleware.proxy_fix import ProxyFix

        hops = dict.fromkeys(("x_for", "x_proto", "x_host", "x_prefix"), guard.proxies)
        app.wsgi_app = ProxyFix(app.wsgi_app, **hops)  # type: ignore[method-assign] # Flask's own way
    if guard.origins:
        from flask_cors import CORS

        readable = ["Retry-After", "X-Request-ID"]
        CORS(app, resources=[r"/api/.*", r"/v2.*"], origins=list(guard.origins), expose_headers=readable)
    if guard.rate_limit is not None:
        _limit(app, guard.rate_limit)
    if guard.token is not None:
        _ask_for_token(app, guard.token.encode())


def _parse_rate(text: str) -> "RateLimitItem":
    from limits import parse  # here: importing it takes 60 ms

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
        if request.method == "POST" and not limiter.hit(rate, client):  # nothing else is expensive
            seconds = max(1, math.ceil(limiter.get_window_stats(rate, client).reset_time - time.time()))
            raise TooManyRequests(f"Too many requests: the limit is {rate} for one client.", retry_after=seconds)


def _ask_for_token(app: Flask, token: bytes) -> None:
    @app.before_request
    def ask() -> ResponseReturnValue | None:
        if request.path in OPEN or request.method == "OPTIONS" or hmac.compare_digest(_sent_token(), token):
            return None
        if is_interface():
            raise Unauthorized(
                "Expected the header Authorization: Bearer TOKEN. Received none or a wrong token.",
                www_authenticate=WWWAuthenticate("bearer", {"realm": REALM}),
            )
        page = Response(render_template("token.html", disclaimer=DISCLAIMER), 401)
        page.www_authenticate = WWWAuthenticate("basic", {"realm": REALM, "charset": "UTF-8"})
        return page


def _sent_token() -> bytes:
    """Return the bearer token or the Basic password of a request; empty without either."""
    sent = request.authorization
    if sent is None:
        return b""
    return ({"basic": sent.password, "bearer": sent.token}.get(sent.type) or "").encode()
