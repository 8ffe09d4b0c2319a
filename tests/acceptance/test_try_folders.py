"""`codalab-worker try` with folders, images and options of this machine, and what it shows a person."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import docker
import pytest

from sandbox.labels import WORKER
from tests.support.command import COMMAND
from tests.support.competition import ANSWER, Competition
from tests.support.engine_events import let_go
from tests.support.try_folder import TryFolder, names, script
from tests.support.worker_process import environment
from worker.demo import images
from worker.demo.competition import zipped
from worker.demo.parts import Parts

pytestmark = pytest.mark.acceptance


@pytest.fixture
def trying(parts: Parts, tmp_path: Path) -> TryFolder:
    return TryFolder.make(parts, tmp_path)


def test_a_person_reads_statuses_scores_and_where_the_rest_is(trying: TryFolder, competition: Competition) -> None:
    ended = trying(script(ANSWER).format(competition.image))
    results = "try-output: stdout.txt, stderr.txt, output.zip, private_output.zip, detailed_results.html"
    assert ended.stdout.splitlines() == ["running", "finished", "", "scores.txt", "correct: 1", "", results]
    assert (ended.exit_code, ended.stderr) == (0, "")
    assert trying.left_behind() == []


def test_without_a_scoring_program_the_output_is_the_images(trying: TryFolder, competition: Competition) -> None:
    ended = trying(script("cp /mnt/in/numbers.txt {}/answer.txt").replace("{}", competition.image, 1), scored=False)
    assert ended.exit_code == 0, ended
    archive = trying.archive()
    assert archive.pop("metadata")
    assert archive == {"answer.txt": b"1 2 3"}


def test_the_image_sees_its_two_folders_and_nothing_else(trying: TryFolder, competition: Competition) -> None:
    trying.put("ref", {"truth.txt": b"the-hidden-truth"})
    look = """
    grep -o ' /mnt[^ ]*\\| /codalab[^ ]*' /proc/mounts; touch /mnt/in/x 2>/dev/null || echo input is read-only
    grep -rlsq the-hidden-truth /mnt /codalab /tmp /home /root && echo found; ls /codalab; env | grep -i docker_host
    id -u; ls /sys/class/net; printf 42 > /mnt/out/answer.txt
    """
    ended = trying(f"docker run {competition.image} sh -c '{look.replace(chr(39), chr(34))}'")
    assert ended.exit_code == 0, ended
    theirs = trying.text("stdout.txt").split("\n=====")[0].splitlines()[1:]
    assert sorted(theirs[:2]) == [" /mnt/in", " /mnt/out"]
    assert theirs[2:] == ["input is read-only", "1000", "lo"]


def test_what_the_image_left_is_sanitised_before_it_is_scored(trying: TryFolder, competition: Competition) -> None:
    """A link in its output must not fetch the reference."""
    ended = trying(script("ln -s /codalab/run/input/ref/truth.txt /mnt/out/answer.txt").format(competition.image))
    assert ended.exit_code == 1
    assert "The organiser's scoring program ended with exit code 1" in ended.stdout
    assert "[codalab-worker] left out of your output: answer.txt: a symbolic link" in trying.text("stderr.txt")


def test_bundles_are_unpacked_as_a_site_does(trying: TryFolder, competition: Competition) -> None:
    """A program in a lone folder is lifted, an archive in a bundle becomes a folder; the input stays as it is."""
    (trying.folder / "program").rename(trying.folder / "inner")
    (trying.folder / "program").mkdir()
    (trying.folder / "inner").rename(trying.folder / "program" / "inner")
    (trying.folder / "ref" / "truth.txt").unlink()
    trying.put("ref", {"more.zip": zipped({"truth.txt": b"42"})})
    trying.put("in", {"more.zip": zipped({"x": b""})})
    score = b"command: sh -c 'cat $input/ref/more/truth.txt'\n"
    trying.put("program/inner", {"metadata": score})
    ended = trying(script("ls /mnt/in").format(competition.image))
    assert ended.exit_code == 0, ended
    assert trying.text("stdout.txt").split("\n")[1:] == [
        *("more.zip", "numbers.txt", "===== scoring program: stdout =====", "42"),
    ]


def test_a_docker_command_may_name_the_input_folder(trying: TryFolder, competition: Competition) -> None:
    image = f"docker run -v {trying.folder}/in:/data:ro -v {{}}:/result {competition.image} cp /data/numbers.txt {{}}"
    assert trying(image, scored=False).exit_code == 0
    assert trying.archive()["numbers.txt"] == b"1 2 3"


@pytest.fixture
def only_here(client: docker.DockerClient) -> Iterator[str]:
    """An image that no registry has."""
    name = f"127.0.0.1:9/only-here-{uuid4().hex[:8]}:1"
    client.images.get(images.ensure_base(client)).tag(name)
    yield name
    client.images.remove(name)


def test_an_image_that_is_only_here_is_used_unless_a_policy_is_set(trying: TryFolder, only_here: str) -> None:
    assert trying(script("true").format(only_here), scored=False).exit_code == 0
    ended = trying(f"{only_here}-not", scored=False, WORKER_PULL_POLICY="never")
    assert "is not on this platform, which fetches none" in ended.stdout


def test_the_scoring_programs_image_may_be_another(trying: TryFolder, competition: Competition) -> None:
    missing = f"{competition.image}-scoring"
    ended = trying(script(ANSWER).format(competition.image), "--program-image", missing)
    assert f"The organiser's image {missing} cannot be pulled" in ended.stdout


def test_only_images_that_the_operator_allows_are_tried(trying: TryFolder, competition: Competition) -> None:
    ended = trying(competition.image, WORKER_ALLOWED_IMAGES="team/*")
    assert ended.stdout.startswith(f"failed\nYour submission's image {competition.image} is not among those")


@pytest.mark.parametrize("option", ["in", "program", "ref"])
def test_a_link_is_not_followed_but_named(trying: TryFolder, option: str) -> None:
    (trying.folder / option / "more").mkdir()
    (trying.folder / option / "more" / "link").symlink_to("/etc/passwd")
    os.mkfifo(trying.folder / option / "pipe")
    ended = trying("image")
    held = "holds what a bundle cannot: more/link (a symbolic link), pipe (a FIFO). Put files and folders there only."
    name = {"in": "input"}.get(option, option)
    assert (ended.exit_code, ended.stdout, ended.stderr) == (2, "", f"--{name} {option} {held}\n")
    assert trying.left_behind() == []


def test_a_folder_with_something_else_in_it_is_left_alone(trying: TryFolder) -> None:
    trying.put("try-output", {"thesis.txt": b"mine"})
    ended = trying("image")
    assert ended.exit_code == 2
    assert ended.stderr == "--out try-output is not empty and not made by codalab-worker try: name another folder.\n"
    assert names(trying.folder / "try-output") == ["thesis.txt"]


def test_results_of_the_last_time_do_not_stay(trying: TryFolder, competition: Competition) -> None:
    assert trying(script(ANSWER).format(competition.image)).exit_code == 0
    trying.put("try-output", {"notes.txt": b"mine"})
    assert trying(f"docker run --privileged {competition.image}").exit_code == 1
    assert names(trying.folder / "try-output") == [".codalab-worker-try", "notes.txt"]


def test_an_engine_that_is_away(trying: TryFolder) -> None:
    ended = trying("image", DOCKER_HOST="unix:///nowhere.sock")
    assert (ended.exit_code, ended.stdout) == (3, "")
    assert ended.stderr.startswith("No Docker engine answers at unix:///nowhere.sock")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_no_container_outlives_it(
    trying: TryFolder, client: docker.DockerClient, competition: Competition, number: signal.Signals
) -> None:
    mark = f"MARK={uuid4().hex}"
    arguments = trying.arguments(f"docker run -e {mark} {competition.image} sleep 60")
    starts = client.api.events(decode=True, filters={"type": "container", "event": "start", "label": WORKER})
    with subprocess.Popen(
        [*COMMAND, *arguments], env=environment(trying.settings), cwd=trying.folder, stderr=subprocess.DEVNULL
    ) as process:
        container = next(event["id"] for event in starts if mark in variables(client, event["id"]))
        let_go(starts)
        process.send_signal(number)
        assert process.wait(60) == 1
    assert container not in {one.id for one in client.containers.list(all=True, ignore_removed=True)}
    assert trying.left_behind() == []


def variables(client: docker.DockerClient, container: str) -> list[str]:
    """Its environment; nothing of another test's that has gone meanwhile."""
    try:
        return list(client.api.inspect_container(container)["Config"]["Env"])
    except docker.errors.NotFound:
        return []
