"""The reader of nebula.toml: everything that is wrong with a configuration file, at once, and no value of it."""

import os
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from nebula_resource.admin import AdminSettings
from nebula_resource.errors import ConfigurationError, ValidationFailed
from nebula_resource.service.admin_section import AdminSection
from nebula_resource.service.declaration import load


def _found(tmp_path: Path, text: str, **environment: str) -> dict[str, str]:
    file = tmp_path / "nebula.toml"
    file.write_text(text)
    try:
        load(file, environment=environment)
    except ValidationFailed as error:
        return {each.field: str(each) for each in error.violations}
    return {}


def test_a_right_file_has_no_findings(tmp_path: Path) -> None:
    """What the guide shows is taken as it stands."""
    text = """
        [admin]
        port = 0
        groups = { shop = ["orders"] }

        [resources.orders]
        driver = "sqlite"
        config = { path = "orders.db" }
        pool = { max_size = 3 }
        health = "off"

        [resources.mail]
        driver = "http"
        scope = "tenant:acme"
        config = { base_url = "http://localhost:9" }
    """
    assert _found(tmp_path, text) == {}


def test_every_violation_is_told_at_once_with_its_dotted_path(tmp_path: Path) -> None:
    """One mistake in each part: none hides another, and no value is repeated."""
    text = """
        surprise = 1

        [admin]
        port = "canary-1"
        host = "0.0.0.0"

        [resources.orders]
        driver = "sqlit"
        template = "canary-2"
        autoscale = { max = 3 }
        budget = "canary-3"

        [resources.bills]
        driver = "sqlite"
        scope = "canary-4"
        config = { path = "bills.db", password = "canary-5" }
        pool = { max_sise = 3 }
        health = "canary-6"
        required = "canary-7"

        [budgets.all]
        max = 3
    """
    found = _found(tmp_path, text)
    assert set(found) == {
        "surprise", "admin.port", "admin.host", "budgets",
        "resources.orders.driver", "resources.orders.template", "resources.orders.autoscale",
        "resources.orders.budget", "resources.bills.scope", "resources.bills.config.password",
        "resources.bills.pool.max_sise", "resources.bills.health", "resources.bills.required",
    }  # fmt: skip  # one list of paths
    assert "did you mean 'sqlite'?" in found["resources.orders.driver"]
    assert "did you mean 'max_size'?" in found["resources.bills.pool.max_sise"]
    assert "canary" not in "".join(found.values())


@pytest.mark.parametrize("given", ["env:SHOP_PASSWORD", "file:password.txt"])
def test_a_secret_comes_by_reference(tmp_path: Path, given: str) -> None:
    """Both kinds of reference give the secret, which is masked wherever the declaration is shown."""
    (tmp_path / "password.txt").write_text("canary\n")
    file = tmp_path / "nebula.toml"
    file.write_text(
        '[resources.orders]\ndriver = "postgres"\n'
        f'config = {{ host = "db", database = "d", user = "{given}", password = "{given}" }}\n'
    )
    declaration = load(file, environment={"SHOP_PASSWORD": "canary"})
    (resource,) = declaration.resources
    assert resource.config.password.get_secret_value() == "canary"
    assert "canary" not in repr(declaration) + str(declaration.shown())


@pytest.mark.parametrize(
    "given", ["canary", "env:MISSING", "env:EMPTY", "file:nowhere", "file:empty.txt", "env:canary"]
)
def test_a_secret_that_is_no_good_reference_is_refused(tmp_path: Path, given: str) -> None:
    """A plain one, one that is missing and one that is empty are one finding each, at the secret's own path."""
    (tmp_path / "empty.txt").write_text("\n")
    text = (
        '[resources.orders]\ndriver = "postgres"\n'
        f'config = {{ host = "db", database = "d", user = "env:U", password = "{given}" }}\n'
    )
    found = _found(tmp_path, text, EMPTY="", U="u")
    assert set(found) == {"resources.orders.config.password"}
    assert "canary" not in str(found)


def test_what_could_keep_its_reader_waiting_is_not_read(tmp_path: Path) -> None:
    """A pipe that nobody writes to, in the place of a secret, of the keys and of the file itself."""
    os.mkfifo(tmp_path / "pipe")
    text = (
        '[admin]\nkeys_file = "pipe"\naudit_file = "pipe"\n[resources.orders]\ndriver = "postgres"\n'
        'config = { host = "db", database = "d", user = "env:U", password = "file:pipe" }\n'
    )
    found = _found(tmp_path, text, U="u")
    assert found == {
        "admin.audit_file": "admin.audit_file: must be a regular file in a folder that exists",
        "admin.keys_file": "admin.keys_file: the key file must be a regular file: a pipe or a device cannot be read again",
        "resources.orders.config.password": "resources.orders.config.password: "
        "the file it names must be a regular one (got a pipe or a device)",
    }
    with pytest.raises(ConfigurationError, match="must be a regular file"):
        load(tmp_path / "pipe", environment={})


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("canary = = 1", "line 1"),
        ("canary = 1\ncanary = 2", "a name that stands there a second time at end of document"),
        ("[canary]\n[canary]", "a table that stands there a second time at line 2"),
        ("a = canary", "no value .a text stands in quotes. at line 1"),
        ("canary", "a name without = behind it at end of document"),
        ('a = "canary', "a text whose quotes do not end at"),
        ("[" * 5, "not TOML"),
    ],
)
def test_a_file_that_is_not_toml_is_one_error_that_quotes_nothing(
    tmp_path: Path, text: str, word: str
) -> None:
    """It names the file and the place."""
    with pytest.raises(ConfigurationError, match=word) as caught:
        _found(tmp_path, text)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda path: None, "the key file is not there"),
        (lambda path: path.mkdir(), "the key file is a folder"),
        (lambda path: path.write_bytes(b"\xff"), "the key file is not TOML"),
        (lambda path: path.write_text("[keys"), "the key file is not TOML"),
        (
            lambda path: path.write_text("a = 1"),
            "a key file holds tables [keys.ID] and nothing else, at least one",
        ),
        (lambda path: path.write_text("#" * 1024 * 1025), "a key file has at most 1 MiB"),
    ],
)
def test_what_is_wrong_with_the_key_file_is_said(
    tmp_path: Path, made: Callable[[Path], object], said: str
) -> None:
    """In words, and without a guess at what was found."""
    made(tmp_path / "keys.toml")
    found = _found(tmp_path, '[admin]\nkeys_file = "keys.toml"\n')
    assert found == {"admin.keys_file": f"admin.keys_file: {said}"}


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path: Path) -> None:
    """Each by what it is."""
    with pytest.raises(ConfigurationError, match="there is no file"):
        load(tmp_path / "nebula.toml", environment={})
    with pytest.raises(ConfigurationError, match="is a folder"):
        load(tmp_path, environment={})


def test_dependencies_are_looked_at_across_the_file(tmp_path: Path) -> None:
    """One that nobody declares, a circle, and two resources under one key."""
    one = '[resources.{}]\ndriver = "sqlite"\nconfig = {{ path = "x.db" }}\n'
    text = (
        one.format("a") + 'dependencies = ["b"]\n' + one.format("b") + 'dependencies = ["a"]\n'
        + one.format("c") + 'dependencies = ["nobody"]\n' + one.format("d") + 'id = "a"\n'
    )  # fmt: skip  # a resource a line
    assert set(_found(tmp_path, text)) == {
        "resources.b.dependencies",
        "resources.c.dependencies.0",
        "resources.d.id",
    }


def test_the_environment_wins_over_the_file_and_options_over_both(tmp_path: Path) -> None:
    """A wrong variable is told by its own name."""
    file = tmp_path / "nebula.toml"
    file.write_text("[admin]\nport = 1\n")
    assert load(file, environment={}).admin.port == 1
    assert load(file, environment={"NEBULA_PORT": "2"}).admin.port == 2
    assert load(file, environment={"NEBULA_PORT": "2"}, options={"port": 3}).admin.port == 3
    with pytest.raises(ValidationFailed) as caught:
        load(file, environment={"NEBULA_PORT": "many", "NEBULA_HOST": "0.0.0.0"})
    assert {each.field for each in caught.value.violations} == {"NEBULA_PORT", "NEBULA_HOST"}


def test_the_file_of_the_audit_has_a_folder(tmp_path: Path) -> None:
    """It stands beside the configuration, need not exist, and is no folder; by variable it is where one stands."""
    file = tmp_path / "nebula.toml"
    file.write_text('[admin]\naudit_file = "audit.jsonl"\n')
    declared = load(file, environment={})
    assert declared.admin.audit_file == tmp_path / "audit.jsonl"
    assert declared.shown()["admin"]["audit_file"] == str(tmp_path / "audit.jsonl")
    for wrong in ("gone/audit.jsonl", "."):
        assert "admin.audit_file" in _found(tmp_path, f'[admin]\naudit_file = "{wrong}"\n')
    assert "NEBULA_AUDIT_FILE" in _found(
        tmp_path, "", NEBULA_AUDIT_FILE=str(tmp_path / "gone" / "audit.jsonl")
    )


def test_what_the_admin_api_can_be_told_stands_in_the_file(tmp_path: Path) -> None:
    """Each setting of AdminSettings is one of [admin], with a variable, and reaches the application."""
    text = '[admin]\ntenant_metrics = ["acme"]\nmax_streams = 8\npage = false\n'
    (tmp_path / "nebula.toml").write_text(text)
    told = load(tmp_path / "nebula.toml", environment={}).admin.for_admin()
    assert (told.tenant_metrics, told.max_streams, told.page) == (("acme",), 8, False)
    variables = {"NEBULA_TENANT_METRICS": "acme, globex", "NEBULA_MAX_STREAMS": "9"}
    told = load(tmp_path / "nebula.toml", environment=variables).admin.for_admin()
    assert (told.tenant_metrics, told.max_streams) == (("acme", "globex"), 9)
    assert {each.name for each in fields(AdminSettings)} <= AdminSection.model_fields.keys()
    crowd = ",".join(map(str, range(51)))
    assert _found(tmp_path, "[admin]\n", NEBULA_TENANT_METRICS=crowd).keys() == {"NEBULA_TENANT_METRICS"}


def test_hosts_are_names(tmp_path: Path) -> None:
    """With scheme or port none would ever be the name of a Host header; where it was given is what is told."""
    assert set(_found(tmp_path, '[admin]\nhosts = ["https://ops.internal"]')) == {"admin.hosts"}
    assert set(_found(tmp_path, "", NEBULA_HOSTS="ops.internal:8443")) == {"NEBULA_HOSTS"}


def test_one_wrong_setting_of_admin_hides_no_other(tmp_path: Path) -> None:
    """The files and names beside it are looked at all the same."""
    text = """
        [admin]
        port = "eighty"
        host = 7
        keys_file = "nowhere.toml"
        audit_file = "nowhere/audit.jsonl"
        hosts = ["https://ops.internal"]
    """
    assert set(_found(tmp_path, text)) == {
        "admin.port", "admin.host", "admin.keys_file", "admin.audit_file", "admin.hosts",
    }  # fmt: skip  # one list of paths
