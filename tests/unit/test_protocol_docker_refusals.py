from __future__ import annotations

import shlex

import pytest

from protocol.docker_command import parse
from protocol.faults import ParticipantFault

TOKEN = "t0k3n-value"


def refusal(text: object) -> str:
    with pytest.raises(ParticipantFault) as caught:
        parse(text)
    assert caught.value.sentence.startswith("Your submission")
    return caught.value.sentence


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ("--privileged", "--privileged"),
        ("--net host", "--net"),
        ("--network=host", "--network"),
        ("--gpus all", "--gpus"),
        ("--mount type=bind,src=/,dst=/x", "--mount"),
        ("--pid=host", "--pid"),
        ("--cap-add=ALL", "--cap-add"),
        ("--security-opt seccomp=unconfined", "--security-opt"),
        ("--user=0", "--user"),
        ("-u 0", "-u"),
        ("-d", "-d"),
        ("-itd", "-d"),
        ("-p8080:80", "-p"),
        ("-P", "-P"),
        ("-itu0", "-u"),
        ("--env-file=/etc/passwd", "--env-file"),
        ("--v {}:/o", "--v"),
        ("-rm", "-r"),
        ("--RM", "--RM"),
        ("--rm=maybe", "--rm"),
        ("-i=maybe", "-i"),
        ("-e KEY", "-e"),
        ("-e =V", "-e"),
        ("-e 'A B=V'", "-e"),
        ("--env 1A=V", "--env"),
        ("-w relative", "-w"),
        ("-w /a/../b", "-w"),
        ("-w /proc/self", "-w"),
    ],
)
def test_what_is_refused_is_named(options: str, named: str) -> None:
    assert f"the option {named}," in refusal(f"docker run {options} a")


@pytest.mark.parametrize(
    "volume",
    [
        "/var/run/docker.sock:/s:rw",
        "/a:/b:Z",
        "/a:/b:ro:ro",
        "/a",
        "name:/b",
        "{}",
        "{}:",
        "{}:relative",
        "{}/sub:/o",
        "{}:/o:ro",
        "/a/../b:/c",
        "../a:/c",
        "{}:/../c",
        "{}:/",
        "{}://",
        "{}:/.",
        "{}:/proc",
        "{}:/proc/x",
        "{}:/sys",
        "/a:/dev/x",
        "/:/x",
        "/proc:/x",
        ":/x",
        "/i:/mnt/in/x",
        "/i:/mnt",
        "{}:/mnt/in",
        "{}:/mnt/in/x",
        "{}:/mnt",
        "$HOME:/x",
        "~:/x",
    ],
)
def test_other_volumes_are_refused(volume: str) -> None:
    assert "the option -v," in refusal(f"docker run -v {shlex.quote(volume)} a")


@pytest.mark.parametrize(
    "volumes",
    [
        "-v {}:/a -v {}:/b",
        "-v /i:/a -v /i:/b",
        "-v /i:/a -v /j:/a",
        "-v {}:/a -v /i:/a",
        "-v {}:/a/b -v /i:/a",
    ],
)
def test_volumes_that_contradict_each_other(volumes: str) -> None:
    assert "the option -v," in refusal(f"docker run {volumes} a")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (5, "not a text"),
        (["docker"], "not a text"),
        ("x" * 8193, "longer than 8192"),
        ("a\x00b", "control characters"),
        ("docker run a \ud800", "control characters"),
        ("docker run", "names no image"),
        ("docker run --rm", "names no image"),
        ("docker run -it -v", "the option -v, which needs a value"),
        ("docker run --name", "the option --name, which needs a value"),
        ("docker pull a", "begin with docker run"),
        ("sudo docker run a", "begin with docker run"),
        ("team/a predict", "begin with docker run"),
        ("docker run 'a", "quotation mark"),
        ("docker run a \\", "quotation mark or backslash"),
        ("Team/Model", "image Team/Model is no image reference: its name must be in lower case"),
        ("docker run Team/Model", "lower case"),
        ("docker run ''", "no image reference"),
        ("docker run -", "no image reference"),
        ("http://example.org/a", "no image reference"),
        ("docker run –rm a", "no image reference"),  # noqa: RUF001  # what word processors make of --
        ("docker run '--x y' a", "an option with an unreadable name"),
    ],
)
def test_what_cannot_be_understood_is_told(text: object, words: str) -> None:
    assert words in refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        f"docker run --password={TOKEN} a",
        f"docker run -p{TOKEN} a",
        f"docker run -e '{TOKEN}' a",
        f"docker run -v {TOKEN}:/x a",
        f"docker run -v /{TOKEN}/..:/x a",
        f"docker run --rm={TOKEN} a",
        f"docker run -e A={TOKEN} 'B AD'",
        f"user:{TOKEN}@r.io/a",
    ],
)
def test_a_refusal_never_quotes_a_value(text: str) -> None:
    assert TOKEN not in refusal(text)
