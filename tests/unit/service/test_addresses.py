"""Where things are that nebula.toml names: databases in their short forms, files from the folder they are meant from."""

from pathlib import Path

import pytest

from nebula_resource.admin import Key
from nebula_resource.errors import ValidationFailed
from nebula_resource.service.declaration import Declaration, load
from nebula_resource.service.plan import plan_of


def declared(tmp_path: Path, text: str, **environment: str) -> Declaration:
    """What a file says."""
    (tmp_path / "nebula.toml").write_text(text)
    return load(tmp_path / "nebula.toml", environment=environment)


@pytest.mark.parametrize(
    ("config", "url"),
    [
        ('host = "db", database = "shop"', "postgresql://db:5432/shop"),
        ('host = "db", port = 6543, database = "shop"', "postgresql://db:6543/shop"),
        ('host = "::1", database = "shop"', "postgresql://[::1]:5432/shop"),
        ('host = "db", database = "a/b?c#d e"', "postgresql://db:5432/a%2Fb%3Fc%23d%20e"),
    ],
)
def test_the_parts_of_an_address_become_a_url(tmp_path: Path, config: str, url: str) -> None:
    """Whatever stands in them stays in its part."""
    (resource,) = declared(
        tmp_path, f'[resources.db]\ndriver = "postgres"\nconfig = {{ {config} }}\n'
    ).resources
    assert resource.config.url.get_secret_value() == url


@pytest.mark.parametrize(
    ("driver", "short", "field"),
    [("sqlite", 'path = "x.db"', "path"), ("postgres", 'host = "h", database = "d"', "host")],
)
def test_two_addresses_are_one_too_many(tmp_path: Path, driver: str, short: str, field: str) -> None:
    """Nobody guesses which of them is meant."""
    text = f'[resources.db]\ndriver = "{driver}"\nconfig = {{ url = "env:U", {short} }}\n'
    with pytest.raises(ValidationFailed) as caught:
        declared(tmp_path, text, U=f"{driver}:///x")
    assert f"resources.db.config.{field}" in {each.field for each in caught.value.violations}


def test_a_file_of_the_file_is_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the service is started; one that a variable names is where it is started."""
    folder, elsewhere = tmp_path / "etc", tmp_path / "run"
    folder.mkdir()
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    text = '[resources.db]\ndriver = "sqlite"\nconfig = { path = "shop.db" }\n'
    (resource,) = declared(folder, text).resources
    assert resource.config.url.get_secret_value() == f"sqlite:///{folder}/shop.db"
    (elsewhere / "keys.toml").write_text(Key.mint("viewer")[1].entry)
    admin = declared(folder, text, NEBULA_KEYS_FILE="keys.toml").admin
    assert admin.keys_file is not None
    assert admin.keys_file.resolve() == elsewhere / "keys.toml"


def test_off_stands_for_none(tmp_path: Path) -> None:
    """Where a setting may be None, and nowhere else."""
    table = '[resources.db]\ndriver = "sqlite"\nconfig = {{ path = "x.db" }}\npool = {{ {} = "off" }}\n'
    (resource,) = declared(tmp_path, table.format("idle_timeout")).resources
    assert resource.pool.idle_timeout is None
    with pytest.raises(ValidationFailed, match=r"resources\.db\.pool\.max_size"):
        declared(tmp_path, table.format("max_size"))


def test_a_resource_that_is_made_alike_stays_the_same_one(tmp_path: Path) -> None:
    """Its instances are its own: another pool around it is no other resource."""
    table = '[resources.db]\ndriver = "sqlite"\nconfig = {{ path = "x.db" }}\npool = {{ max_size = {} }}\n'
    before = declared(tmp_path, table.format(3))
    plan = plan_of(before, declared(tmp_path, table.format(4)))
    ((old, new),) = plan.changed
    assert new.resource is old.resource
    assert (old.pool.max_size, new.pool.max_size) == (3, 4)
