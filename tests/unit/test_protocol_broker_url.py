from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.broker_url import BrokerAddress, BrokerUrlError, parse

PASSWORD = "p4ssw0rd"


@pytest.mark.parametrize("path", ["", "/", "//", "/%2F", "/%2f"])
@pytest.mark.parametrize("scheme", ["amqp", "pyamqp", "PYAMQP"])
def test_the_sites_own_urls(scheme: str, path: str) -> None:
    address = parse(f" {scheme}://user:{PASSWORD}@rabbit.example.org:5673{path}\n")
    assert address == BrokerAddress(False, "user", PASSWORD, "rabbit.example.org", 5673, "/")


@pytest.mark.parametrize(
    ("path", "vhost"),
    [
        ("/41f2b137-41ec-442b-a206-e96198f8ee11", "41f2b137-41ec-442b-a206-e96198f8ee11"),
        ("/a%2Fb", "a/b"),
        ("/a/b", "a/b"),
        ("//a", "/a"),
        ("/caf%C3%A9", "café"),
    ],
)
def test_an_owners_vhost(path: str, vhost: str) -> None:
    assert parse(f"pyamqp://u:p@h:5672{path}").vhost == vhost


@pytest.mark.parametrize(
    ("url", "tls", "expected_tls", "port"),
    [
        ("amqp://h", False, False, 5672),
        ("amqps://h", False, True, 5671),
        ("pyamqp://h", True, True, 5671),
        ("pyamqp://h:5672", True, True, 5672),
    ],
)
def test_tls_and_its_default_port(url: str, tls: bool, expected_tls: bool, port: int) -> None:
    address = parse(url, tls=tls)
    assert (address.tls, address.port) == (expected_tls, port)


def test_nobody_named_is_guest() -> None:
    address = parse("amqp://h")
    assert (address.user, address.password) == ("guest", "guest")


def test_ipv6() -> None:
    address = parse("amqp://u:p@[::1]:5673/v")
    assert (address.host, address.port) == ("::1", 5673)
    assert str(address) == "amqp://u@[::1]:5673/v"


def test_percent_encoding() -> None:
    address = parse("amqp://us%40er:p%2F%3A%40%23%3F@h/")
    assert (address.user, address.password) == ("us@er", "p/:@#?")


def test_printing_shows_no_password() -> None:
    address = parse(f"amqps://user:{PASSWORD}@h//")
    assert str(address) == "amqps://user@h:5671/%2F"
    assert PASSWORD not in repr(address)


def test_another_vhost() -> None:
    address = parse("amqp://u:p@h/a")
    assert address.with_vhost("/") == parse("amqp://u:p@h//")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "must begin with amqp://"),
        ("rabbit:5672", "must begin with amqp://"),
        (f"redis://:{PASSWORD}@h", "must begin with amqp://"),
        ("amqp:u@h", "must begin with amqp://"),
        ("amqp://", "names no host"),
        (f"amqp://u:{PASSWORD}@:5672/", "names no host"),
        (f"amqp://u:{PASSWORD}@h:0/", "port must be"),
        (f"amqp://u:{PASSWORD}@h:99999/", "port must be"),
        (f"amqp://u:{PASSWORD}/x@h:5672/", "port must be"),
        (f"amqp://u:{PASSWORD}#x@h/", "%23"),
        (f"amqp://u:{PASSWORD}@h/?heartbeat=5", "drop options"),
        (f"amqp://u:{PASSWORD}[@h/", "brackets"),
        (f"amqp://u:{PASSWORD}@h:5672;amqp://i", "port must be"),
        (f"amqp://u:{PASSWORD}@-h-/", "host is not valid"),
        (f"amqp://u:{PASSWORD}@h i/", "spaces"),
        (f"amqp://u:{PASSWORD}@h\n.org/", "control characters"),
        (f"amqp://u:{PASSWORD}%00@h/", "password holds control"),
        ("amqp://u%0a:p@h/", "user name holds control"),
        ("amqp://h/" + "v" * 256, "virtual host"),
        ("amqp://h/%00", "virtual host"),
    ],
)
def test_what_is_wrong_is_told_without_the_password(url: str, words: str) -> None:
    with pytest.raises(BrokerUrlError) as caught:
        parse(url)
    said = str(caught.value)
    assert said.startswith("BROKER_URL")
    assert words in said
    assert PASSWORD not in said
    assert caught.value.__cause__ is None


@given(st.text(st.characters(blacklist_categories=("Cs", "Cc", "Zl", "Zp"))), st.text("ab/é%2F:@", max_size=40))
def test_quoted_logins_and_vhosts_come_back(password: str, vhost: str) -> None:
    address = parse(f"amqp://u:{quote(password, safe='')}@h/{quote(vhost, safe='')}")
    assert (address.password, address.vhost) == (password, vhost or "/")


@given(st.text(max_size=40) | st.text("amqp:/@[]?#%0;u", max_size=30).map("amqp://".__add__))
def test_no_text_raises_anything_else(text: str) -> None:
    try:
        address = parse(text)
    except BrokerUrlError:
        pass
    else:
        assert address.host
        assert 0 < address.port < 65536
