"""`onrecord admin`: accounts for the pages, made, listed, changed and removed."""

from __future__ import annotations

import io
from typing import Any

import pytest

from store.audit import audit_entries
from store.web_accounts import WebAccounts

PASSWORD = "four words are enough"


@pytest.fixture(autouse=True)
def typed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What stands on standard input; a password unless said otherwise."""

    def stand(octets: bytes = f"{PASSWORD}\n".encode()) -> None:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(octets)))

    stand()
    return stand


def create(sample: Any, login: str, *words: str) -> Any:
    return sample.run("admin", "create", login, "--password-stdin", *words)


def test_an_account_sees_one_portal_or_all(sample: Any, typed: Any) -> None:
    assert create(sample, "Ada@Acme.example", "--name", "Ada").text == "ada@acme.example signs in to all portals\n"
    typed()
    made = create(sample, "bo", "--portal", "P1", "--json").json
    assert (made["login"], made["name"], made["portal"]) == ("bo", None, "P1")
    assert [each["login"] for each in sample.done("admin", "list", "--json").json] == ["ada@acme.example", "bo"]
    assert "Ada" in sample.done("admin", "list").text


def test_the_password_is_nowhere(sample: Any) -> None:
    create(sample, "ada")
    files = [each for each in sample.folder.rglob("*") if each.is_file()]
    assert any(b"$argon2id$" in each.read_bytes() for each in files)
    assert not any(PASSWORD.encode() in each.read_bytes() for each in files)


@pytest.mark.parametrize(
    ("login", "octets", "said"),
    [
        ("ada", b"short\n", "the password has 5 characters; write at least 12"),
        ("ada", b"", "standard input holds no password"),
        ("ada", b"one line\nand another\n", "standard input holds no password"),
        ("two words", f"{PASSWORD}\n".encode(), "'two words' is no login"),
        ("", f"{PASSWORD}\n".encode(), "'' is no login"),
    ],
)
def test_what_is_none_is_refused(sample: Any, typed: Any, login: str, octets: bytes, said: str) -> None:
    typed(octets)
    outcome = create(sample, login)
    assert outcome.status == 1
    assert said in outcome.error
    assert sample.done("admin", "list", "--json").json == []


def test_a_login_is_taken_once_whatever_its_case(sample: Any, typed: Any) -> None:
    create(sample, "ada")
    typed()
    outcome = create(sample, "ADA")
    assert outcome.status == 1
    assert "ada is an account already" in outcome.error


def test_another_password_and_removal_end_sessions_and_are_audited(sample: Any, typed: Any) -> None:
    create(sample, "ada")

    async def begin(directory: Any, writer: Any) -> str:
        accounts = WebAccounts(directory._database, who="test")
        return await accounts.begin_session(await accounts.account("ada"))

    async def is_open(directory: Any, writer: Any) -> bool:
        return await WebAccounts(directory._database, who="test").session(token) is not None

    token = sample.work(begin)
    assert sample.work(is_open)
    typed(b"another four words\n")
    assert sample.done("admin", "password", "ada", "--password-stdin").text == "ada has another password\n"
    assert not sample.work(is_open)
    assert sample.done("admin", "remove", "ada").text == "removed: ada\n"
    assert sample.done("admin", "list", "--json").json == []

    async def actions(directory: Any, writer: Any) -> list[str]:
        return [each.action for each in await audit_entries(directory._database)]

    assert sample.work(actions)[:3] == ["web_account.remove", "web_account.password", "web_account.add"]


@pytest.mark.parametrize("words", [("password", "nobody", "--password-stdin"), ("remove", "nobody")])
def test_an_account_that_is_none_is_named(sample: Any, words: tuple[str, ...]) -> None:
    outcome = sample.run("admin", *words)
    assert outcome.status == 1
    assert "there is no account 'nobody'" in outcome.error
