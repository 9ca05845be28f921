"""Assembly: what a reload may change takes hold in what is served."""

import logging

import pytest

from nebula_resource import Manager
from nebula_resource.service.admin_section import AdminSection
from nebula_resource.service.assembly import assemble
from nebula_resource.service.declaration import Source, declare
from nebula_resource.service.live_config import LiveConfig
from nebula_resource.testing import MockResource


@pytest.mark.usefixtures("untouched")
async def test_uses_are_logged_as_soon_as_the_level_is_debug(caplog: pytest.LogCaptureFixture) -> None:
    """And no longer than that: hearing of them costs every caller."""
    async with Manager() as manager:
        live = LiveConfig(manager, declare(Source(), environment={}), environment={})
        assemble(live, manager)
        await manager.register(MockResource("db"), {})

        async def uses_logged() -> int:
            caplog.clear()
            async with manager.acquire("db"):
                pass
            return sum(each.message == "resource.acquired" for each in caplog.records)

        assert live.on_settings is not None
        assert await uses_logged() == 0
        live.on_settings(AdminSection(log_level="DEBUG"))
        assert await uses_logged() == 1
        live.on_settings(AdminSection(log_level="INFO"))
        assert await uses_logged() == 0
        assert logging.getLogger().level == logging.INFO
