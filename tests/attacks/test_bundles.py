"""Archives and documents that mean harm: in what a participant uploads, and in what the site's own documents name."""

from __future__ import annotations

import http.server
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import docker
import pytest

from sandbox.logs import size
from tests.attacks.arena import ARCHIVE_LIMIT, Arena
from tests.support import hostile_archives as hostile
from tests.support.competition import Competition, Submission
from worker.demo.competition import zipped

pytestmark = pytest.mark.acceptance

OUT = "holds a path that leads out of it"
BAD_NAME = "holds a path with a backslash or control character"
GOOD = {"answer.txt": b"42"}
REFUSED = "Your submission cannot be unpacked: it {}. Make a new zip archive of it, and submit again.".format
LIMIT = f"unpacks to more than {size(ARCHIVE_LIMIT)}"
DAMAGED = "is damaged or cut short"
INNER = "holds an archive that {} (inner.zip)".format
INNER_OF = "holds an archive that {} (inner.zip: {})".format

# What a participant uploads as results of their own, and what is wrong with it.
RESULTS: dict[str, tuple[bytes, str]] = {
    "a path that leads out": (hostile.slipping(GOOD), f"{OUT} (../../../../slipped)"),
    "an absolute path": (hostile.absolute(GOOD), "holds an absolute path (/slipped)"),
    "a path with backslashes": (zipped({"..\\..\\x": b""}), rf"{BAD_NAME} (..\..\x)"),
    "a line break in a name": (zipped({"a\nb": b""}), rf"{BAD_NAME} (a\nb)"),
    "a name of 300 letters": (zipped({"n" * 300: b""}), f"holds a name that is too long ({'n' * 100}…{'n' * 100})"),
    "a symbolic link": (hostile.linked(GOOD), "holds a symbolic link (link)"),
    "a link, and a file behind it": (hostile.behind_a_link(GOOD), "holds a symbolic link (link)"),
    "a device": (hostile.special("disk", 0o060666), "holds a special file (disk)"),
    "a FIFO": (hostile.special("pipe", 0o010666), "holds a special file (pipe)"),
    "a bomb that says what it is": (hostile.huge(GOOD), LIMIT),
    "a bomb that lies about it": (hostile.lying(GOOD), f"{DAMAGED} (bomb)"),
    "a bomb of bzip2": (hostile.huge(GOOD, method=12), LIMIT),
    "a bomb of LZMA": (hostile.huge(GOOD, method=14), LIMIT),
    "a bomb in a bomb": (zipped({"inner.zip": hostile.huge({})}), INNER(LIMIT)),
    "one stretch that many entries share": (hostile.overlapping(), "holds entries that overlap"),
    "a slip in an archive within": (zipped({"inner.zip": hostile.slipping({})}), INNER_OF(OUT, "../../../../slipped")),
    "a name twice": (hostile.twice("answer.txt"), "holds a name twice (answer.txt)"),
    "a name that is file and folder": (
        zipped({"a": b"", "a/b": b""}),
        "holds a name both as a file and as a folder (a)",
    ),
    "encryption": (hostile.encrypted(GOOD), "is encrypted"),
    "an unknown method": (
        hostile.of_method(GOOD, 99),
        "uses compression method 99, which is not supported; deflate, the usual one, is",
    ),
    "a part of several": (hostile.one_of_several(GOOD), "is one part of several"),
    "its end cut off": (hostile.cut(GOOD), DAMAGED),
    "no zip at all": (b"\x89PNG\r\n\x1a\n", "is no zip archive"),
    "a document of links": (b"evil: http://169.254.169.254/latest/meta-data\n", "is no zip archive"),
    "nothing": (b"", "is empty"),
}
ALIASES = "a: &a [x, x]\n" + "".join(f"{n}: &n{n} [*{'n' + str(n - 1) if n else 'a'}, *a]\n" for n in range(30))
# The metadata file of code that a participant submits: YAML that the worker itself reads. What names no command is
# no code but results; what a tag would have called is a command like any other, in a container.
METADATA: dict[str, str] = {
    "a tag that calls a function": "command: !!python/object/apply:os.system ['touch /tmp/called-by-yaml']\n",
    "a tag that makes an object": "!!python/object/new:subprocess.Popen [[touch, /tmp/called-by-yaml]]\n",
    "a billion aliases": ALIASES + "command: sh\n",
    "a merge that multiplies": "a: &a {x: 1}\nb: {<<: [*a, *a]}\ncommand: sh\n",
    "a depth of ten thousand": "[" * 10_000,
    "two megabytes": "command: sh\n" + "# filling\n" * 200_000,
    "a number of a million digits": f"{'9' * 1_000_000}\n",
}
CALLED = Path("/tmp/called-by-yaml")
URLS = ("command: sh -c 'echo 42'\nprogram: {0}/program\ninput: {0}/input\nevil: file:///etc/passwd\n"
        "metadata: http://169.254.169.254/latest\nhidden_ref: {0}/hidden\n")  # fmt: skip


class Canary(http.server.HTTPServer):
    """Listens where nobody should ask; remembers who did."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Asked)
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Asked(http.server.BaseHTTPRequestHandler):
    server: Canary

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.send_error(404)


@pytest.fixture(scope="module")
def canary() -> Iterator[Canary]:
    with Canary() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def results(arena: Arena) -> Mapping[str, Submission]:
    make = arena.competition.submission
    return {name: arena.publish(make(bundles={"res.zip": data})) for name, (data, _) in RESULTS.items()}


def code(competition: Competition, metadata: str, **more: bytes) -> Submission:
    """A prediction run of code that a participant wrote, its metadata too."""
    return competition.submission(
        bundles={"code.zip": zipped({"metadata": metadata.encode(), **more}), "data.zip": zipped({"x": b""})},
        documents={"run.txt": {"program": "code.zip", "input": "data.zip"}, "input.txt": {}},
        predict=True,
    )


@pytest.fixture(scope="module")
def documents(arena: Arena) -> Mapping[str, Submission]:
    return {name: arena.publish(code(arena.competition, text)) for name, text in METADATA.items()}


@pytest.mark.parametrize("name", RESULTS)
def test_an_archive_is_refused_with_the_reason(arena: Arena, results: Mapping[str, Submission], name: str) -> None:
    assert arena.here.failed(results[name]) == REFUSED(RESULTS[name][1])
    assert arena.uploads(results[name]).keys() == {f"{results[name].task_id}/{log}.txt" for log in ("stdout", "stderr")}


@pytest.mark.parametrize("name", METADATA)
def test_a_document_makes_the_worker_do_nothing(arena: Arena, documents: Mapping[str, Submission], name: str) -> None:
    arena.here.finished(documents[name])
    assert not CALLED.exists()


def test_no_url_in_a_participants_archive_is_followed(arena: Arena, canary: Canary) -> None:
    urls = URLS.format(canary.url)
    in_code = arena.publish(code(arena.competition, urls, **{"input": urls.encode(), "run.txt": urls.encode()}))
    in_results = zipped({**GOOD, "metadata": urls.encode(), "input/metadata": urls.encode()})
    submission = arena.publish(arena.competition.submission(bundles={"res.zip": in_results}))
    arena.here.finished(in_code)
    arena.here.finished(submission)
    assert canary.asked == []


def test_a_url_in_the_sites_own_document_is(arena: Arena, canary: Canary) -> None:
    """So the canary sings."""
    made = arena.competition.submission(documents={"run.txt": {"program": f"{canary.url}/program"}})
    arena.publish(made)
    assert arena.here.failed(made).startswith("The platform's store refused to hand out the scoring program (HTTP 404)")
    assert "/program" in canary.asked
    canary.asked.clear()


def test_nothing_slipped_out(arena: Arena, results: Mapping[str, Submission]) -> None:
    for submission in results.values():
        arena.here.told(submission)
    walked = os.walk(arena.host.parent)  # which does not mind that folders of ended runs are being removed
    assert not [where for where, folders, files in walked if "slipped" in (*folders, *files)]


def test_the_worker_is_none_the_worse(arena: Arena, client: docker.DockerClient) -> None:
    arena.is_none_the_worse(client)
