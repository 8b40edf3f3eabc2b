"""Users and sessions over HTTP. The list shows the newest first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta, Struct, convert
from starlette.requests import Request  # noqa: TC002 # handlers' annotations are read at run time

from micro.services.user.application import (
    NEWEST,
    Contended,
    EmailTaken,
    Overloaded,
    Refused,
    Tokens,
    Unknown,
)
from micro.services.user.domain import Actor, Denied
from micro.web.api import Api, Id, JsonResponse, Timestamp
from micro.web.auth import bearer_token, resources_of
from micro.web.pagination import Items, Page, decode_cursor, page_of
from micro.web.problems import unauthorized

if TYPE_CHECKING:
    from collections.abc import Callable

    from micro import Resources
    from micro.security.rotation import RotatingKeys
    from micro.services.user.application import Accounts, Entrance
    from micro.services.user.domain import User

CONFLICTS: dict[type[Exception], int] = {EmailTaken: 409, Contended: 409}
ERRORS = CONFLICTS | {Refused: 401, Denied: 403, Unknown: 404, Overloaded: 503}
KEYS_SECONDS = 300

# Nothing in an address may end a header line or start a second address; each look-ahead keeps Python's `$` from taking
# a final newline.
Email = Annotated[
    str,
    Meta(
        max_length=254,
        pattern=r'^[^\s\x00-\x1f\x7f@<>()\[\],;:\\"]{1,64}@[^\s\x00-\x20\x7f@<>()\[\],;:\\".]+'
        r'(\.[^\s\x00-\x20\x7f@<>()\[\],;:\\".]+)*$(?!\n)',
        description="An e-mail address.",
        extra_json_schema={"format": "email"},
        examples=["ana@example.com"],
    ),
]
Name = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"\S", description="Not blank.")]
Password = Annotated[str, Meta(min_length=8, max_length=128, extra_json_schema={"format": "password"})]
Role = Literal["user", "admin"]


class Secret(Struct, frozen=True):
    """A form that no log shows."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(…)"


class Registration(Secret, frozen=True):
    """A new account."""

    email: Email
    name: Name
    password: Password


class Replacement(Struct, frozen=True):
    """What may be changed; the role only by an admin, and kept when left out."""

    email: Email
    name: Name
    role: Role | None = None


class Credentials(Secret, frozen=True):
    """E-mail and password; any that can't be right are simply wrong."""

    email: Annotated[str, Meta(max_length=1000)]
    password: Annotated[str, Meta(max_length=1000, extra_json_schema={"format": "password"})]


class RefreshForm(Secret, frozen=True):
    """The token that keeps a session."""

    refresh_token: Annotated[str, Meta(max_length=1000)]


class VerifyForm(Secret, frozen=True):
    """A token to check; without it the one of the Authorization header."""

    token: str | None = None


class UserView(Struct, frozen=True):
    """A user, as people see them."""

    id: Id
    email: str
    name: str
    role: Role
    created_at: Timestamp
    updated_at: Timestamp


class Verified(Struct, frozen=True):
    """Whom a good token speaks for; `exp` in seconds since the epoch."""

    active: bool
    sub: str
    role: str
    exp: int


class KeySet(Struct, frozen=True):
    """Public keys, by RFC 7517."""

    keys: list[dict[str, str]]


def user_api(
    accounts: Callable[[Resources], Accounts],
    entrance: Callable[[Resources], Entrance],
    keys: Callable[[Resources], RotatingKeys],
) -> Api:
    """The service's API, on the use cases that the arguments make for each request."""
    api = Api("user", version="1", description="Accounts, sessions and the keys of tokens.", errors=ERRORS)
    users = Users(accounts)
    api.post("/users", status=201, auth=False, problems=(409, 503))(users.register)
    api.get("/users", problems=(403,))(users.list_users)
    api.get("/users/{id}", problems=(403, 404))(users.read_user)
    api.put("/users/{id}", problems=(403, 404, 409))(users.replace_user)
    doors = Doors(entrance, keys)
    api.post("/auth/login", auth=False, problems=(401, 503))(doors.log_in)
    api.post("/auth/refresh", auth=False, problems=(401,))(doors.refresh)
    api.post("/auth/logout", status=204, auth=False, problems=(401,))(doors.log_out)
    api.post("/auth/verify", auth=False, problems=(401,))(doors.verify)
    api.get("/auth/jwks.json", auth=False)(doors.key_set)
    return api


class Users:
    """Everything below `/users`."""

    def __init__(self, accounts: Callable[[Resources], Accounts]) -> None:
        self._accounts = accounts

    async def register(self, request: Request, body: Registration) -> UserView | JsonResponse:
        """Register. Nobody becomes an admin by that."""
        user = await self._use(request).register(body.email, body.name, body.password)
        return JsonResponse(_view(user), 201, headers={"Location": f"/users/{user.id}"})

    async def list_users(self, request: Request, query: Page) -> Items[UserView]:
        """List everybody, as an admin."""
        (before,) = decode_cursor(query.cursor) or (NEWEST,)
        found = await self._use(request).list(_actor(request), query.limit + 1, before=before)
        return page_of([_view(user) for user in found], query.limit, lambda user: (user.id,))

    async def read_user(self, request: Request, id: Id) -> UserView:
        """Read one user: oneself, or anybody as an admin."""
        return _view(await self._use(request).user(_actor(request), id))

    async def replace_user(self, request: Request, id: Id, body: Replacement) -> UserView:
        """Replace e-mail and name: one's own, or anybody's as an admin, who may also change the role."""
        replace = self._use(request).replace
        return _view(await replace(_actor(request), id, email=body.email, name=body.name, role=body.role))

    def _use(self, request: Request) -> Accounts:
        return self._accounts(resources_of(request.scope))


class Doors:
    """Everything below `/auth`."""

    def __init__(
        self, entrance: Callable[[Resources], Entrance], keys: Callable[[Resources], RotatingKeys]
    ) -> None:
        self._entrance = entrance
        self._keys = keys

    async def log_in(self, request: Request, body: Credentials) -> Tokens | JsonResponse:
        """Begin a session."""
        entrance = self._entrance(resources_of(request.scope))
        return _granted(await entrance.log_in(body.email, body.password))

    async def refresh(self, request: Request, body: RefreshForm) -> Tokens | JsonResponse:
        """Exchange the refresh token for new tokens. Used twice, it ends the session."""
        return _granted(await self._entrance(resources_of(request.scope)).refresh(body.refresh_token))

    async def log_out(self, request: Request, body: RefreshForm) -> None:
        """End a session. Access tokens stay valid for their 15 minutes."""
        await self._entrance(resources_of(request.scope)).log_out(body.refresh_token)

    async def verify(self, request: Request, body: VerifyForm | None) -> Verified:
        """Say whom a token speaks for: the one in the body, else the one in the header."""
        token = (body and body.token) or bearer_token(request.scope["headers"])
        if token is None:
            raise unauthorized()
        identity = await resources_of(request.scope).verifier.verify(token)
        return Verified(True, identity.subject, identity.role, int(identity.expires))

    async def key_set(self, request: Request) -> KeySet | JsonResponse:
        """The public keys of the tokens that this service issues."""
        ring = await self._keys(resources_of(request.scope)).ring()
        return JsonResponse(ring.jwks(), headers={"Cache-Control": f"public, max-age={KEYS_SECONDS}"})


def _actor(request: Request) -> Actor:
    identity = request.scope["state"]["identity"]
    return Actor(identity.subject, identity.role == "admin")


def _view(user: User) -> UserView:
    return convert(user, UserView, from_attributes=True)


def _granted(tokens: Tokens) -> JsonResponse:
    return JsonResponse(tokens, headers={"Cache-Control": "no-store"})
