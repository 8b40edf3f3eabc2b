"""The user service: who has an account, and who is who."""

from __future__ import annotations

from typing import TYPE_CHECKING

from micro import Service
from micro.security.rotation import RotatingKeys
from micro.services.user.api import user_api
from micro.services.user.application import Accounts, Entrance
from micro.services.user.domain import ACCESS_SECONDS
from micro.services.user.events import UserCreatedEvent, UserUpdatedEvent
from micro.services.user.infrastructure import Argon2, SqlKeys, SqlSessions, SqlUsers

if TYPE_CHECKING:
    from micro import Resources
    from micro.services.user.application import Passwords

UPKEEP_SECONDS = 300.0


def user_service(passwords: Passwords) -> Service:
    """The service, with everything put together."""

    def accounts(micro: Resources) -> Accounts:
        return Accounts(SqlUsers(micro), passwords, micro.clock)

    def keys(micro: Resources) -> RotatingKeys:
        return RotatingKeys(SqlKeys(micro), micro.clock, ACCESS_SECONDS)

    def entrance(micro: Resources) -> Entrance:
        return Entrance(SqlSessions(micro), passwords, keys(micro), micro.clock)

    async def upkeep(micro: Resources) -> None:
        """Rotate the signing keys when it is time, and forget the sessions that have run out."""
        while True:
            await keys(micro).tend()
            await SqlSessions(micro).sweep(int(micro.clock.now().timestamp()))
            await micro.clock.sleep(UPKEEP_SECONDS)

    made = Service(
        "user",
        app=user_api(accounts, entrance, keys),
        routes=["/users", "/auth"],
        port=8001,
        migrations="migrations",
        publishes=[UserCreatedEvent, UserUpdatedEvent],
    )
    made.background(upkeep)
    return made


service = user_service(Argon2())
