"""Mistakes in nebula.toml as people make them: each is told where it stands, in words that say what to write."""

from pathlib import Path

import pytest

from nebula_resource.errors import ConfigurationError, ValidationFailed
from nebula_resource.service.declaration import load

DB = '[resources.db]\ndriver = "sqlite"\nconfig = { path = "x.db" }\n'


def told(tmp_path: Path, text: str | bytes) -> list[str]:
    """What is said of a file; of one that is no TOML its one line."""
    file = tmp_path / "nebula.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    try:
        load(file, environment={"U": "u"})
    except ValidationFailed as error:
        return [str(each) for each in error.violations]
    except ConfigurationError as error:
        return [error.message.partition(" is not TOML: ")[2]]
    return []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '[admin]\nlog_level = "debug"\n',
            "admin.log_level: must be 'DEBUG', 'INFO', 'WARNING' or 'ERROR' (got str)",
        ),
        (
            '[admin]\npath = "admin"\n',
            "admin.path: must begin with / and have neither // nor a space, ?, #, { or } (got str)",
        ),
        (
            '[resources.db]\ndriver = "sqlite"\n',
            "resources.db.config.path: must be given: path or url say where it is (got nothing)",
        ),
        (
            '[resources.db]\ndriver = "postgres"\n',
            "resources.db.config.host: must be given: host, database, port or url say where it is (got nothing)",
        ),
        (
            '[resources.pay]\ndriver = "http"\nconfig = { base_url = "https://me:canary@pay.internal" }\n',
            "resources.pay.config.base_url: must not hold a login: give user and password as env:NAME or file:PATH of their own (got a URL with a login)",
        ),
        (
            DB.replace('"x.db"', '"env:U"'),
            "resources.db.config.path: is no place of a secret: write the value itself (got a reference)",
        ),
        (
            '[resources.db]\ndriver = "postgres"\nconfig = { host = "env:U", database = "d" }\n',
            "resources.db.config.host: is no place of a secret: write the value itself (got a reference)",
        ),
        (
            '[resources.pay]\ndriver = "http"\nconfig = { base_url = "https://pay", health_path = "env:U" }\n',
            "resources.pay.config.health_path: is no place of a secret: write the value itself (got a reference)",
        ),
        (
            DB + 'dependencies = ["db2", 3]\n[resources.db2]\n',
            "resources.db.dependencies.1: must be the id of a resource (got int)",
        ),
        (
            DB + 'scope = "tenant:acme"\n' + DB.replace("db]", "pay]") + 'dependencies = ["db"]\n',
            "resources.pay.dependencies.0: must be there for global too: it is for tenant:acme alone",
        ),
    ],
)
def test_a_mistake_is_told_in_words_that_help(tmp_path: Path, text: str, said: str) -> None:
    """The choices there are, the short form's own names, the item of a list, the scope that is meant."""
    assert said in told(tmp_path, text)


@pytest.mark.parametrize(
    ("driver", "slip", "meant"), [("sqlite", "pth", "path"), ("postgres", "hots", "host")]
)
def test_a_slip_in_the_short_form_is_met_with_its_own_names(
    tmp_path: Path, driver: str, slip: str, meant: str
) -> None:
    """They are none of the driver's model, yet what people write."""
    text = f'[resources.db]\ndriver = "{driver}"\nconfig = {{ {slip} = "x" }}\n'
    said = f"resources.db.config.{slip}: is no setting of this driver; did you mean '{meant}'? (got an unknown key)"
    assert said in told(tmp_path, text)


def test_what_nobody_declares_is_told_beside_other_mistakes(tmp_path: Path) -> None:
    """Of a resource that is wrong itself, and of one that needs a wrong one; the wrong one's own id is known."""
    text = (
        '[admin.groups]\nall = ["db", "dbs"]\nbad = "db"\n'
        '[resources.one]\nid = "db"\ndriver = "sqlit"\ndependencies = ["cash"]\n'
        + DB.replace("db]", "pay]")
        + 'dependencies = ["db", "dbx"]\n'
    )
    assert {each.partition(": ")[0] for each in told(tmp_path, text)} == {
        "admin.groups.all.1", "admin.groups.bad", "resources.one.driver", "resources.one.dependencies.0",
        "resources.pay.dependencies.1",
    }  # fmt: skip  # one list of paths


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere", "the file it names must be there (got nothing)"),
        ("folder", "the file it names must be a file (got a folder)"),
        ("loop", "the file it names must be one that can be read (got OSError)"),
        ("large", "the file it names must not exceed 64 KiB (got more)"),
        ("bytes", "the file it names must be text in UTF-8 (got something else)"),
    ],
)
def test_why_a_secret_cannot_be_read_is_said(tmp_path: Path, name: str, said: str) -> None:
    """In words, not as Python calls it; what has no words of ours by its kind."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "large").write_text("a" * (64 * 1024 + 1))
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    text = f'[resources.db]\ndriver = "postgres"\nconfig = {{ host = "h", database = "d", user = "env:U", password = "file:{name}" }}\n'
    assert told(tmp_path, text) == [f"resources.db.config.password: {said}"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('a = "canary\nb = 1', "a text whose quotes do not end at line 1, column 12"),
        ("[canary\nb = 1", "a table's name that does not end with ] at line 1, column 8"),
        ('[[canary]\nb = 1', "a table's name that does not end with ] at line 1, column 9"),
        ("a = { b = 1,\n c = 2 }", "no name (braces end on the line on which they begin, and not with a comma) at line 1, column 13"),
        ('a = { canary = 1, canary = 2 }', "a name that stands there a second time at line 1, column 29"),
        ('a = "C:\\logs"', "a backslash that stands for nothing (write two of them, or the text in single quotes) at line 1, column 10"),
        ("a = 0800", "more than one value (a text stands in quotes, and a number has no leading zero) at line 1, column 6"),
        ('a = "canary" b', "more than one value (a text stands in quotes, and a number has no leading zero) at line 1, column 14"),
        ('a = "b\x01c"', "a character that is not allowed there at line 1, column 7"),
        ('{"a": 1}', "no name at line 1, column 1"),
    ],
)  # fmt: skip  # a mistake a line
def test_what_is_no_toml_is_told_by_its_kind(tmp_path: Path, text: str, said: str) -> None:
    """And by its place, on every Python that we support."""
    assert told(tmp_path, text) == [said]


@pytest.mark.parametrize("begin", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_editors_of_all_kinds_write_it(tmp_path: Path, begin: bytes, end: str) -> None:
    """With a byte order mark or without, with either kind of line end."""
    assert told(tmp_path, begin + (DB + "surprise = 1\n").replace("\n", end).encode()) == [
        "resources.db.surprise: is no setting of a resource (got an unknown key)"
    ]


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_the_end_of_a_line_is_no_part_of_a_secret(tmp_path: Path, end: str) -> None:
    """Editors and ``echo`` write one, on Windows of two characters; what stands before it stays, spaces too."""
    (tmp_path / "password").write_bytes(f" hush {end}".encode())
    file = tmp_path / "nebula.toml"
    file.write_text(
        '[resources.db]\ndriver = "postgres"\n'
        'config = { host = "h", database = "d", user = "env:U", password = "file:password" }\n'
    )
    (declared,) = load(file, environment={"U": "u"}).resources
    assert declared.config.password.get_secret_value() == " hush "


def test_a_configuration_of_megabytes_is_none(tmp_path: Path) -> None:
    """It is not read into a parser that would take minutes for it."""
    file = tmp_path / "nebula.toml"
    file.write_text("#" * (4 * 1024 * 1024 + 1))
    with pytest.raises(ConfigurationError, match="is larger than 4 MiB"):
        load(file, environment={})


def test_what_nests_without_end_is_no_toml(tmp_path: Path) -> None:
    """The parser gives up on it: no traceback."""
    file = tmp_path / "nebula.toml"
    file.write_text("a = " + "[" * 20_000)
    with pytest.raises(ConfigurationError, match=r"is not TOML$"):
        load(file, environment={})


def test_what_this_user_may_not_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the file itself, and of a secret's. Whoever runs tests as root may read everything."""

    def forbidden(path: Path, most: int) -> bytes:
        raise PermissionError(13, "Permission denied")

    text = '[resources.db]\ndriver = "postgres"\nconfig = { host = "h", database = "d", user = "env:U", password = "file:password" }\n'
    monkeypatch.setattr("nebula_resource.service.secret_references.read_plain", forbidden)
    said = "resources.db.config.password: the file it names must be one that this user may read (got no permission)"
    assert told(tmp_path, text) == [said]
    monkeypatch.setattr("nebula_resource.service.toml_file.read_plain", forbidden)
    with pytest.raises(ConfigurationError, match="may not be read by this user"):
        load(tmp_path / "nebula.toml", environment={})


def test_what_is_needed_is_the_one_of_the_deepest_scope(tmp_path: Path) -> None:
    """As the manager will find it: that one is opened first."""
    text = (
        DB.replace("db]", "orders]")
        + 'scope = "tenant:acme"\ndependencies = ["db"]\n'
        + DB
        + DB.replace("db]", "db_of_acme]")
        + 'id = "db"\nscope = "tenant:acme"\n'
    )
    (tmp_path / "nebula.toml").write_text(text)
    names = [each.name for each in load(tmp_path / "nebula.toml", environment={}).resources]
    assert names.index("db_of_acme") < names.index("orders")
