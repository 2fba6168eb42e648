"""Who may do what: the outermost layer of the admin application, for one door.

Browsers are asked where they believe they are (Host), so that a name that an attacker's DNS points at us
opens nothing, and who sent them (Origin, Sec-Fetch-Site). Actions need the door's right or its token.
"""

from __future__ import annotations

import ipaddress

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reuseport.admin.doors import Door

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
PROBES = frozenset({"/livez", "/readyz", "/startupz"})
"""Asked for by load balancers that say any Host; they tell a word."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SECURITY = [
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
]
CHALLENGE = {"www-authenticate": 'Bearer realm="reuseport"'}


class Gate:
    """Puts `actions` (may this request act?) and `token` (would a token help?) into the request's state."""

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self._app = app
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        headers = Headers(scope=scope)
        right = self._may_act(headers)
        refusal = self._refusal(scope, headers, right)
        scope["state"] = {
            "actions": right is True,
            "token": self._door.token is not None and not self._door.acts,
        }

        async def secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *SECURITY]
            await send(message)

        await (self._app if refusal is None else refusal)(scope, receive, secured)

    def _refusal(self, scope: Scope, headers: Headers, right: bool | None) -> ASGIApp | None:
        if "content-length" in headers and "transfer-encoding" in headers:
            # RFC 9112, 6.3: somebody between may have taken the other one for the end of the body.
            why = "a body has one end: send Content-Length or Transfer-Encoding, not both"
            return _refused(400, why, {"connection": "close"})
        if not self._door.acts and scope["path"] not in PROBES and not self._is_us(headers.get("host", "")):
            return _refused(403, "this Host is unknown here: use the address, or name it with --admin-host")
        if right is None:
            return _refused(401, "wrong token: send that of --admin-token-file", CHALLENGE)
        if scope["method"] in SAFE:
            return None
        if not _same_origin(headers):
            return _refused(403, "another site's page may not act here")
        if right:
            return None
        if self._door.token is None:
            return _refused(403, "only to look at: give --admin-token-file, or use the control socket")
        return _refused(401, "actions need the token: send Authorization: Bearer TOKEN", CHALLENGE)

    def _may_act(self, headers: Headers) -> bool | None:
        """None: it tried, with a wrong token."""
        if self._door.acts:
            return True
        given = headers.get("authorization")
        if given is None or self._door.token is None:
            return False
        scheme, _, secret = given.partition(" ")
        if scheme.lower() != "bearer" or not self._door.token.matches(secret.strip().encode("latin-1")):
            return None
        return True

    def _is_us(self, host: str) -> bool:
        """An address is always us: only names can be pointed at us by somebody else's DNS."""
        if not self._door.hosts:
            return True  # a unix socket
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        name = name.removeprefix("[").removesuffix("]").lower().rstrip(".")
        if name in self._door.hosts:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def _same_origin(headers: Headers) -> bool:
    origin = headers.get("origin")
    if origin is not None and origin.partition("://")[2] != headers.get("host"):
        return False
    return headers.get("sec-fetch-site", "none") in ("same-origin", "none")


def _refused(status: int, why: str, headers: dict[str, str] | None = None) -> ASGIApp:
    return JSONResponse({"error": why}, status, headers)
