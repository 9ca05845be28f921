"""What a provider gave is known again when a check quotes it."""

import pytest

from nebula_resource import Manager, QuarantinePolicy, ResourceContext, Secret
from nebula_resource.errors import ProbeFailed
from nebula_resource.model.config_display import MASK
from nebula_resource.model.credentials import StaticCredentials
from nebula_resource.model.health import HealthCheckable, HealthStatus, Unhealthy
from nebula_resource.quarantine import RecoveryStrategy, RecoveryTarget
from tests.unit.manager.things import Instance, Thing, ThingConfig


class Talkative(Thing, HealthCheckable):
    """Asks for its login when it is made, and quotes every login that it ever had when it is checked."""

    def __init__(self) -> None:
        super().__init__("talkative")
        self.logins: list[str] = []

    async def create(self, config: ThingConfig, context: ResourceContext) -> Instance:
        await self._ask(context)
        return await super().create(config, context)

    async def health_check(self, instance: Instance, context: ResourceContext) -> HealthStatus:
        told = list(self.logins)
        await self._ask(context)
        return HealthStatus.unhealthy(f"refused {'; '.join(told)}", metadata={"login": told[-1]})

    async def _ask(self, context: ResourceContext) -> None:
        assert context.credentials is not None
        self.logins.append((await context.credentials.get("login")).value.get_secret_value())


async def test_a_check_that_quotes_its_credential_shows_none() -> None:
    """Neither the one that the instance was made with nor the one of now; and nothing else lets them show."""
    vault = StaticCredentials({"login": Secret("first-secret")})
    async with Manager(credentials=vault) as manager:
        thing = Talkative()
        registration = await manager.register(thing, pool={"min_size": 1})
        found = [await manager.check("talkative")]
        vault.put("login", Secret("other-secret"))
        found += [await manager.check("talkative"), await manager.check("talkative")]
    assert thing.logins[0] == "first-secret"
    assert thing.logins[-1] == "other-secret"
    for status in found:
        assert isinstance(status.state, Unhealthy)
        assert MASK in status.state.reason
        assert "secret" not in f"{status.state.reason}{status.metadata}"
    assert repr(registration.secrets) == "<Secrets of 1 credentials>"


async def test_a_provider_looks_like_itself() -> None:
    """What a resource is given names the provider, and no secret."""
    vault = StaticCredentials({"login": Secret("first-secret")})
    async with Manager(credentials=vault) as manager:
        registration = await manager.register(Thing("thing"))
        assert repr(manager.credentials_of(registration)) == repr(vault)


class Chatty(RecoveryStrategy):
    """Asks for the login, as it would to log in elsewhere, and quotes it."""

    async def attempt_recovery(self, registration: RecoveryTarget, context: ResourceContext) -> HealthStatus:
        assert context.credentials is not None
        login = (await context.credentials.get("login")).value.get_secret_value()
        return HealthStatus.unhealthy(f"{login} is refused")


async def test_a_recovery_strategy_that_quotes_the_credential_shows_none() -> None:
    """What an attempt found is told with it, and answers the person who asked for a release."""
    vault = StaticCredentials({"login": Secret("first-secret")})
    async with Manager(credentials=vault, quarantine=QuarantinePolicy(strategy=Chatty())) as manager:
        await manager.register(Thing("thing"))
        manager.quarantine("thing", "by hand")
        with pytest.raises(ProbeFailed) as caught:
            await manager.release("thing")
    assert isinstance(caught.value.health, HealthStatus)
    assert caught.value.health.state.because == f"{MASK} is refused"
