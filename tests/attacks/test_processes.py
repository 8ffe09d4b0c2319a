"""Programs that flood, hog, multiply, hide or will not end: eight at a time, each in a small container."""

from __future__ import annotations

from collections.abc import Mapping

import docker
import pytest

from tests.attacks.arena import LOG_LIMIT, MARK, MEMORY_LIMIT, MIB, PIDS_LIMIT, SHM_SIZE, Arena, Attack
from tests.support.competition import Submission

pytestmark = pytest.mark.acceptance

PYTHON = 'exec python3 -c "{}"'.format
TIME_LIMIT = "Your submission was stopped: time limit of {} s exceeded.".format
MEMORY = f"Your submission was killed: it needed more memory than the limit of {MEMORY_LIMIT // MIB} MiB."
CROWDED = f" It came up to the limit of {PIDS_LIMIT} processes and threads: no more could be started."
EXIT = "Your submission ended with exit code {}; its stderr says more.".format

HOG = "held = []\nwhile True:\n held.append(b'x' * (1 << 20)); print(len(held), flush=True)"
FORK_BOMB = "import os\nwhile True:\n try: os.fork()\n except OSError: pass"
THREADS = "import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(60,), daemon=True).start()"
MANY = f"for i in $(seq {PIDS_LIMIT}); do sleep 60 & done"
ZOMBIES = "import os\nfor _ in range(40):\n if os.fork() == 0: os._exit(0)\nprint('made')"
LATE = f"ln -s HOST/secret link; while :; do echo late > late; done # {MARK}"
MARKED_SLEEP = f"tail -f /dev/null /{MARK}"
ESCAPES = r"printf '\033[2J\033]0;title\007\033[31mred\0nul\r\b\302\233x' >&2; exit 3"

MUCH = "head -c 4m"
LINES = f"yes that nobody wants to read | {MUCH}"
FLOODS = [
    Attack("as lines, on stdout", f"{LINES}; exit 0"),
    Attack("on stderr", f"{LINES} >&2; exit 0"),
    Attack("on both at once", f"{LINES} & {LINES} >&2; wait; exit 0"),
    Attack("without a line break", f"tr '\\000' x < /dev/zero | {MUCH}; exit 0"),
    Attack("of bytes that are no text", f"{MUCH} /dev/urandom & {MUCH} /dev/urandom >&2; wait; exit 0"),
]
MANNERS = [
    Attack("escapes into the log and the site's page", ESCAPES, blamed=EXIT(3)),
    Attack("an error of a million characters", "yes error | head -c 1000000 >&2; exit 3", blamed=EXIT(3)),
    Attack("a lie about whose fault it was", "echo 'The platform is at fault' >&2; exit 1", blamed=EXIT(1)),
    Attack("ends at once", "exit 0"),
    Attack("never ends", f"echo begun; {MARKED_SLEEP}", blamed=TIME_LIMIT(4), seconds=4, prints="begun\n"),
    Attack("ignores SIGTERM", "trap '' TERM; while :; do sleep 60; done", blamed=TIME_LIMIT(1), seconds=1),
    Attack("suspends itself", "kill -STOP $$", blamed=TIME_LIMIT(1), seconds=1),
    Attack("closes its streams and goes on", "exec <&- >&- 2>&-; sleep 1; echo 42 > /mnt/out/answer", prints=""),
    Attack("ends with 137 by itself", "exit 137", blamed=EXIT(137)),
    Attack("kills itself", "kill -9 $$", blamed=EXIT(137)),
    Attack("kills all that it can", "sleep 60 & kill -9 -1; echo 42 > /mnt/out/answer"),
    Attack("kills the first process", "kill -9 1; kill -TERM 1; sleep 60", blamed=EXIT(143)),
    Attack("dies of a fault of its own", PYTHON("import ctypes; ctypes.string_at(0)"), blamed=EXIT(139)),
]
CROWDS = [
    Attack("a fork bomb", PYTHON(FORK_BOMB), blamed=TIME_LIMIT(5) + CROWDED, seconds=5),
    Attack(
        "a fork bomb of the shell's",
        "bomb() { bomb | bomb & }; bomb; exec sleep 60",
        blamed=TIME_LIMIT(8) + CROWDED,
        seconds=8,  # it takes hundreds of forks by a fraction of a busy CPU to come up to the limit
    ),
    Attack("threads without end", PYTHON(THREADS), blamed=EXIT(1) + CROWDED),
    Attack("one process too many, and an end at once", f"({MANY}) 2> /dev/null; exit 1", blamed=EXIT(1) + CROWDED),
    Attack("one process too many, and no harm done", f"({MANY}) 2> /dev/null; exit 0"),
    Attack("zombies", PYTHON(ZOMBIES), prints="made\n"),
    Attack("a daemon that stays behind", f"setsid {MARKED_SLEEP} & echo 42 > /mnt/out/answer"),
    Attack(
        "a daemon that goes on writing",
        f"cd /mnt/out; setsid sh -c '{LATE}' & until [ -e /mnt/out/late ]; do sleep 0.02; done; exit 0",
        left_out={"link": "a symbolic link"},
    ),
    Attack("a daemon that ignores signals", f"(trap '' TERM HUP; setsid {MARKED_SLEEP} &) ; exit 0"),
]
HOGS = [
    Attack("memory at once", PYTHON("bytearray(1 << 30)"), blamed=MEMORY),
    Attack("memory by the megabyte, swap included", PYTHON(HOG), blamed=MEMORY),
    Attack("memory of a child", PYTHON("bytearray(1 << 30)").removeprefix("exec ") + "; exit 0"),
    Attack("/dev/shm", "dd if=/dev/zero of=/dev/shm/x bs=1M count=64; stat -c %s /dev/shm/x", prints=f"{SHM_SIZE}\n"),
    Attack("/tmp", f"dd if=/dev/zero of=/tmp/{MARK} bs=1M count=64; stat -c %s /tmp/{MARK}", prints=f"{64 * MIB}\n"),
    Attack("open files", PYTHON("held = [open('/dev/null') for _ in range(10 ** 7)]"), blamed=EXIT(1)),
]
ATTACKS = [*FLOODS, *MANNERS, *CROWDS, *HOGS]


@pytest.fixture(scope="module")
def runs(arena: Arena) -> Mapping[str, Submission]:
    return {attack.name: arena.predicting(attack) for attack in ATTACKS}


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_attack(arena: Arena, runs: Mapping[str, Submission], attack: Attack) -> None:
    arena.judge(attack, runs[attack.name])


@pytest.mark.parametrize("attack", FLOODS, ids=str)
def test_a_flood_is_kept_up_to_the_limit_and_says_so(
    arena: Arena, runs: Mapping[str, Submission], attack: Attack
) -> None:
    arena.here.finished(runs[attack.name])
    logs = [runs[attack.name].read(name) for name in ("stdout.txt", "stderr.txt")]
    full = [log for log in logs if len(log) > LOG_LIMIT]
    assert full
    for log in full:
        assert log[LOG_LIMIT:].startswith(b"\n[... ")
        assert log.endswith(b" more were dropped: a log may hold 1 MiB]\n")
        assert len(log) < LOG_LIMIT + 100


def test_who_had_too_many_processes_and_did_well_all_the_same_finds_a_note(
    arena: Arena, runs: Mapping[str, Submission]
) -> None:
    note = f"your program{CROWDED.removeprefix(' It').removesuffix('.')}"
    noted = {name for name, run in runs.items() if arena.here.told(run) and note.encode() in run.read("stderr.txt")}
    assert noted == {"one process too many, and no harm done"}


def test_escapes_reach_neither_the_page_nor_the_operators_terminal(
    arena: Arena, runs: Mapping[str, Submission]
) -> None:
    traceback = arena.here.told(runs["escapes into the log and the site's page"])[-1].traceback
    assert traceback.endswith("\ufffd[2J\ufffd]0;title\ufffd\ufffd[31mred\ufffdnul\r\ufffd\ufffdx")
    assert set(arena.here.worker.log.read_bytes()).isdisjoint({0x1B, 0x07, 0x08, 0x00})


def test_a_long_error_is_cut(arena: Arena, runs: Mapping[str, Submission]) -> None:
    assert len(arena.here.told(runs["an error of a million characters"])[-1].traceback) < 17_000


def test_memory_and_swap_together_are_limited(arena: Arena, runs: Mapping[str, Submission]) -> None:
    hog = runs["memory by the megabyte, swap included"]
    arena.here.told(hog)
    assert int(hog.text("stdout.txt").split()[-1]) < MEMORY_LIMIT // MIB


def test_nothing_was_written_after_the_end(arena: Arena, runs: Mapping[str, Submission]) -> None:
    daemon = runs["a daemon that goes on writing"]
    arena.here.finished(daemon)
    assert daemon.archive().keys() == {"metadata", "late"}


def test_the_worker_is_none_the_worse(arena: Arena, client: docker.DockerClient) -> None:
    arena.is_none_the_worse(client)
