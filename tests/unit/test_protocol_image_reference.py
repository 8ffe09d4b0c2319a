from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.image_reference import ImageReference, is_valid, parse

SHA = "sha256:" + "0a" * 32


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("python", "docker.io/library/python:latest"),
        ("python:3.11-slim", "docker.io/library/python:3.11-slim"),
        ("team/my__model", "docker.io/team/my__model:latest"),
        ("team/my_model.v2/x--y:A_b.c-1", "docker.io/team/my_model.v2/x--y:A_b.c-1"),
        ("docker.io/python", "docker.io/library/python:latest"),
        ("index.docker.io/team/a", "docker.io/team/a:latest"),
        ("r.io", "docker.io/library/r.io:latest"),
        ("localhost/a", "localhost/a:latest"),
        ("localhost:5000", "docker.io/library/localhost:5000"),
        ("localhost:5000/a/b/c:x", "localhost:5000/a/b/c:x"),
        ("registry.example.org/team/a", "registry.example.org/team/a:latest"),
        ("Registry.Example.org:443/a", "registry.example.org:443/a:latest"),
        ("127.0.0.1:5000/a", "127.0.0.1:5000/a:latest"),
        ("[::1]:5000/a", "[::1]:5000/a:latest"),
        (f"a@{SHA}", f"docker.io/library/a@{SHA}"),
        (f"r.io/a:1@{SHA}", f"r.io/a:1@{SHA}"),
        ("a@sha512:" + "0" * 128, "docker.io/library/a@sha512:" + "0" * 128),
        ("a:" + "t" * 128, "docker.io/library/a:" + "t" * 128),
    ],
)
def test_references_in_full(text: str, full: str) -> None:
    assert str(parse(text)) == str(parse(full)) == full


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            " ",
            "a b",
            "a\n",
            "-a",
            "a-",
            "_a",
            "a_",
            "a..b",
            "a___b",
            "a._b",
            "/a",
            "a/",
            "a//b",
            ":a",
            "a:",
            "a:-b",
        ),
        *(
            "a:b:c",
            "a:" + "t" * 129,
            "http://r.io/a",
            "r.io:port/a",
            "-r.io/a",
            "r_x.io:1/a",
            "[::1/a",
            ".io/a",
            "café",
        ),
        *(
            "Team/a",
            "PYTHON",
            "r.io/Team/a",
            "a@",
            "a@sha256:12",
            "a@" + SHA.upper(),
            "a@md5:" + "0" * 32,
            f"a@{SHA}@{SHA}",
        ),
        *("0a" * 32, "a" * 256, "a" * 600, "a;b", "$(id)", "a\\b", "a{}", "../a", "r.io/../a"),
    ],
)
def test_what_is_no_reference(text: str) -> None:
    assert not is_valid(text)


def test_upper_case_is_told_as_such() -> None:
    with pytest.raises(ValueError, match="lower case"):
        parse("Team/Model")


def test_the_parts() -> None:
    assert parse(f"r.io:5000/a/b:1@{SHA}") == ImageReference("r.io:5000", "a/b", "1", SHA)


@given(st.text(alphabet="aB0./:@_-[]\n", max_size=30) | st.text(max_size=10))
def test_what_is_valid_is_stable_in_full(text: str) -> None:
    if is_valid(text):
        assert parse(str(parse(text))) == parse(text)
        assert not set(text) & set(" \n\t\\'\"$;{}")
