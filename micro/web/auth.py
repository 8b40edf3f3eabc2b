"""Bearer tokens of requests: https://www.rfc-editor.org/rfc/rfc6750#section-2.1."""

from __future__ import annotations

from typing import TYPE_CHECKING

from micro.errors import CallError, TokenError
from micro.web.problems import Problem, unauthorized

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import Scope

    from micro.service import Identity, Resources, Verifier


def bearer_token(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The token of the ``Authorization`` field; nothing without the field.

    Raises a 401 `Problem` for another scheme, a malformed or a repeated field.
    """
    found: bytes | None = None
    for name, value in headers:
        if name == b"authorization":
            if found is not None:
                raise unauthorized("Authorization was sent more than once.")
            found = value
    if found is None:
        return None
    token = found[7:]
    if found[:7].lower() != b"bearer " or not token.isascii() or b" " in token or not token:
        raise unauthorized("Send Authorization: Bearer TOKEN.")
    return token.decode("ascii")


async def authenticate(headers: Iterable[tuple[bytes, bytes]], verifier: Verifier) -> Identity:
    """Whom the request's bearer token speaks for.

    Raises a `Problem`: 401 without a good token, 503 while the issuer's keys can't be had.
    """
    token = bearer_token(headers)
    if token is None:
        raise unauthorized()
    identity = verifier.cached(token)
    if identity is not None:
        return identity
    try:
        return await verifier.verify(token)
    except TokenError as error:
        raise unauthorized(str(error)) from error
    except CallError as error:
        raise Problem(
            503, detail="Tokens can't be checked at this moment.", headers={"Retry-After": "1"}
        ) from error


def resources_of(scope: Scope) -> Resources:
    """What `micro.web.wrap.ServiceApp` (or the test harness) put into the request's state."""
    state = scope.get("state")
    resources = state.get("micro") if isinstance(state, dict) else None
    if resources is None:
        raise RuntimeError('no scope["state"]["micro"]: run this app by micro, or in a ServiceHarness')
    return resources  # type: ignore[no-any-return] # ASGI state is untyped
