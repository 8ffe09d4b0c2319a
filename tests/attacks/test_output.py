"""What a submission leaves in its output folder: links, special files, names and shapes that mean harm.

Of each the trusting scoring program reads all that it is given, beside the reference data.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import docker
import pytest

from tests.attacks.arena import MIB, Arena, Attack
from tests.support.competition import Submission
from worker.archives.unpack import ArchiveLimits, unpack

pytestmark = pytest.mark.acceptance

LINK, FIFO, SOCKET = "a symbolic link", "a FIFO", "a socket"
BAD_NAME = "a name with control characters or bytes that are not UTF-8"
ANSWER = "; printf 42 > /mnt/out/answer.txt"
LONGEST = "n" * 255
PYTHON = 'python3 -c "{}"'.format


def leaves(name: str, script: str, *kept: str, **left_out: str) -> Attack:
    """`kept` and `left_out` are the files that the scoring program then does and does not see."""
    return Attack(name, f"cd /mnt/out; {script}{ANSWER}", left_out=left_out, kept=frozenset({"answer.txt", *kept}))


def link(name: str, target: str) -> Attack:
    return leaves(name, f"ln -s {target} /mnt/out/trap", trap=LINK)


LINKS = [
    link("a link to a file of the host", "HOST/secret"),
    link("a link to a folder of the host", "HOST"),
    link("a link to a file of every container", "/etc/passwd"),
    link("a link to the root", "/"),
    link("a link to nothing", "/no/such/file"),
    link("a link to itself", "trap"),
    link("a relative link to the reference data", "../ref/canary.txt"),
    link("a relative link to the reference folder", "../ref"),
    link("an absolute link to the reference data, as scoring sees them", "/codalab/run/input/ref/canary.txt"),
    link("a link to hidden reference data", "/codalab/hidden_ref"),
    link("a link to the scoring program", "/codalab/run/program"),
    link("a link to the environment of whoever reads it", "/proc/self/environ"),
    link("a link to the root of the first process", "/proc/1/root"),
    link("a link to the terminal of whoever reads it", "/dev/stdin"),
    Attack(
        "the answer is a link to the truth",
        "ln -s ../ref/truth.txt /mnt/out/answer.txt",
        left_out={"answer.txt": LINK},
        kept=frozenset(),
    ),
    leaves("a link behind a folder", "mkdir -p a/b; ln -s /codalab/run/input/ref a/b/c", **{"a/b/c": LINK}),
]
SPECIAL = [
    leaves("a FIFO, which would keep its reader waiting", "mkfifo pipe", pipe=FIFO),
    leaves("a FIFO with a page's name", "mkfifo detailed_results.html", **{"detailed_results.html": FIFO}),
    leaves("a socket", PYTHON("import socket; socket.socket(socket.AF_UNIX).bind('s')"), s=SOCKET),
    leaves("a hard link within the output", "echo x > one; ln one two", "one", "two"),
    leaves("a hard link to the image", "ln /etc/passwd trap || cp /etc/hostname refused", "refused"),
    leaves("a hard link to the operator's input", "ln /mnt/in/numbers.txt trap || echo > refused", "refused"),
    leaves("devices", "mknod b b 7 0 || mknod c c 1 1 || echo > refused", "refused"),
    leaves("a setuid program", "cp /bin/busybox root; chmod 6777 root", "root"),
]
NAMES = [
    leaves("a line break in a name", "touch \"$(printf 'a\\nb')\"", **{r"a\nb": BAD_NAME}),
    leaves("a terminal's escapes in a name", "touch \"$(printf 'a\\033[2Jb')\"", **{r"a\x1b[2Jb": BAD_NAME}),
    leaves("a name that is not UTF-8", "touch \"$(printf 'a\\377b')\"", **{r"a\udcffb": BAD_NAME}),
    leaves("names like options", "touch -- -rf --help", "-rf", "--help"),
    leaves("the longest name", f"touch {LONGEST}", LONGEST),
    leaves("names that differ in case", "touch A a", "A", "a"),
    leaves(
        "names that look like a way out", "touch ... '.. ' ..evil %2e%2e; mkdir .git", "...", ".. ", "..evil", "%2e%2e"
    ),
    leaves("a name written backwards", "touch \"$(printf 'a\\342\\200\\256txt.exe')\"", "a\u202etxt.exe"),
    leaves("a name with a command in it", "touch '$(reboot)' '`reboot`' ';reboot'", "$(reboot)", "`reboot`", ";reboot"),
]
DEEP = "import os; os.chdir('/mnt/out'); [(os.mkdir('d'), os.chdir('d')) for _ in range(3000)]; open('end', 'w')"
MANY = "[open(f'/mnt/out/{n:05}', 'w').close() for n in range(20000)]"
SHAPES = [
    leaves("3,000 levels", PYTHON(DEEP)),
    leaves(
        "folders that nobody may look into",
        "mkdir locked; echo x > locked/file; chmod 0 locked/file locked .",
        "locked/file",
    ),
    leaves("a file of 8 GiB that takes no room", "truncate -s 8G sparse", "sparse"),
]
SCORED = [*LINKS, *SPECIAL, *NAMES, *SHAPES]
NESTED = " && ".join([f"mkdir {'d' * 200}", f"cd {'d' * 200}"] * 6)
PUBLISHED = {
    Attack("20,000 files", PYTHON(MANY)): 20_000,
    Attack("3,000 levels, published", PYTHON(DEEP), left_out={"…": "a path that is too long"}): 1,
    Attack(
        "names that are no paths elsewhere",
        rf"cd /mnt/out; touch '..\..\evil' 'C:\evil' good; {NESTED}; touch end",
        left_out=dict.fromkeys([r"..\..\evil", r"C:\evil"], "a name with a backslash")
        | {"…": "a path that is too long"},
    ): 2,
}
"""Each with the number of files and empty folders that are good enough to be published."""
MARKER = "likewise left out, not named here"


@pytest.fixture(scope="module")
def scored(arena: Arena) -> Mapping[str, Submission]:
    return {attack.name: arena.scored(attack) for attack in SCORED}


@pytest.fixture(scope="module")
def published(arena: Arena) -> Mapping[str, Submission]:
    return {attack.name: arena.predicting(attack) for attack in PUBLISHED}


@pytest.fixture(scope="module")
def all_links(arena: Arena) -> Submission:
    """Three hundred of them, and what each attack above made."""
    made = "; ".join(attack.script.removesuffix(ANSWER).replace("trap", f"trap{n}") for n, attack in enumerate(LINKS))
    return arena.predicting(Attack("links", f"{made}; for n in $(seq 300); do ln -s HOST/secret $n; done"))


@pytest.mark.parametrize("attack", SCORED, ids=str)
def test_the_scoring_program_is_led_nowhere(arena: Arena, scored: Mapping[str, Submission], attack: Attack) -> None:
    submission = scored[attack.name]
    arena.judge(attack, submission)
    published = submission.archive()
    seen = json.loads(published["seen.json"])
    assert seen.keys() == attack.kept
    assert published["scores.txt"] == (b"correct: 1\n" if "answer.txt" in attack.kept else b"correct: 0\n")
    assert published.keys() == {"metadata", "seen.json", "scores.txt"}


@pytest.mark.parametrize(("attack", "good"), PUBLISHED.items(), ids=[attack.name for attack in PUBLISHED])
def test_what_is_published_is_harmless(
    arena: Arena, published: Mapping[str, Submission], attack: Attack, good: int, tmp_path: Path
) -> None:
    submission = published[attack.name]
    arena.judge(attack, submission)
    (tmp_path / "output.zip").write_bytes(submission.read("output.zip"))
    unpack(tmp_path / "output.zip", tmp_path / "output", limits=ArchiveLimits(MIB, 50_000))  # as the scoring run will
    assert len(submission.archive().keys() - {"metadata"}) == good


def test_no_link_is_published_and_the_list_of_them_is_short(arena: Arena, all_links: Submission) -> None:
    arena.here.finished(all_links)
    assert all_links.archive().keys() == {"metadata", "a/b/"}
    notes = arena.notes(all_links)
    assert len(notes) == 51
    assert notes[-1].endswith(f"266 more: {MARKER}")


def test_the_worker_is_none_the_worse(arena: Arena, client: docker.DockerClient) -> None:
    arena.is_none_the_worse(client)
