"""The driver of a resource in nebula.toml: a name of ours, or ``module:Class`` in each of its forms."""

import sys
from pathlib import Path

import pytest

from nebula_resource.errors import ConfigurationError
from nebula_resource.service.declaration import load
from nebula_resource.service.driver_table import find_driver

MODULE = """
from nebula_resource import Resource, resource_factory

class Plain(Resource):
    async def create(self, config, context):
        return object()

class Named(Plain):
    def __init__(self, id):
        self.id = id

class Needy(Plain):
    def __init__(self, server, password):
        pass

def made():
    return Plain()

@resource_factory(id="box")
async def box(config, context):
    yield object()
"""


@pytest.fixture(autouse=True)
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of the user's, beside the file."""
    (tmp_path / "shop_of_drivers.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "shop_of_drivers", raising=False)


@pytest.mark.parametrize("what", ["Plain", "Named", "made", "box"])
def test_what_makes_a_resource_makes_one_for_each_table(tmp_path: Path, what: str) -> None:
    """With its own id and its own needs: none is changed by what another table says."""
    table = f'[resources.{{}}]\ndriver = "shop_of_drivers:{what}"\n'
    text = table.format("one") + 'dependencies = ["two"]\n' + table.format("two")
    (tmp_path / "nebula.toml").write_text(text)
    two, one = (each.resource for each in load(tmp_path / "nebula.toml", environment={}).resources)
    assert (one.id, two.id) == ("one", "two")
    assert (tuple(one.dependencies), tuple(two.dependencies)) == (("two",), ())


def test_what_asks_for_more_than_an_id_is_told_so() -> None:
    """Its constructor would have to be given what no file says."""
    with pytest.raises(ConfigurationError, match="must take no arguments, or id"):
        find_driver("shop_of_drivers:Needy").make("needy", None)


@pytest.mark.parametrize("name", ["redis", "kafka", "mongodb"])
def test_a_driver_that_is_not_there_yet_is_no_typing_mistake(name: str) -> None:
    """Nobody is sent to look for the right spelling."""
    with pytest.raises(ConfigurationError, match="this driver is not supported yet"):
        find_driver(name)


def test_a_client_is_one_instance_for_all() -> None:
    """An HTTP client has connections of its own: a pool of exclusive clients would have one for each caller."""
    pool = find_driver("http").pool
    assert (pool["sharing"], pool["min_size"], pool["max_size"]) == ("shared", 1, 2)


def test_a_group_may_name_one_registration(tmp_path: Path) -> None:
    """By its public id, which the file does not hold: what stands before the mark is looked at."""
    text = '[admin.groups]\nall = ["one~z32b53mwwl"]\n[resources.one]\ndriver = "shop_of_drivers:Plain"\n'
    (tmp_path / "nebula.toml").write_text(text)
    assert load(tmp_path / "nebula.toml", environment={}).admin.groups == {"all": ("one~z32b53mwwl",)}
