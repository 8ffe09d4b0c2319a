from __future__ import annotations

import html
import posixpath
import re
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.docker_command import DockerSubmission, parse
from protocol.faults import ParticipantFault
from protocol.image_reference import is_valid

SHA = "sha256:" + "0a" * 32
TOKEN = "t0k3n-value"


def run(options_and_more: str) -> DockerSubmission:
    found = parse(f"docker run {options_and_more}")
    assert found is not None
    return found


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "  \n",
        "None",
        " None ",
        "null",
        "''",
        "this is not a docker submission",
        "This is not a Docker submission.",
        "  this  is not\na docker submission ",
        '"this is not a docker submission"',
        "&quot;this is not a docker submission&quot;",
        "this&nbsp;is not a docker submission",
        r"this\ is\ not\ a\ docker\ submission",
    ],
)
def test_no_submission_in_all_its_forms(text: str | None) -> None:
    assert parse(text) is None


@pytest.mark.parametrize(
    ("text", "image"),
    [
        ("python", "python"),
        ("  team/my_model:1.0\n", "team/my_model:1.0"),
        ("registry.example.org:5000/team/a-b:1", "registry.example.org:5000/team/a-b:1"),
        (f"r.io/a@{SHA}", f"r.io/a@{SHA}"),
        (r"codalab/codalab\-legacy\:py37", "codalab/codalab-legacy:py37"),
        ("'team/a'", "team/a"),
        ("&quot;team/a&quot;", "team/a"),
        ("docker", "docker"),
    ],
)
def test_an_image_alone(text: str, image: str) -> None:
    assert parse(text) == DockerSubmission(image)


def test_the_form_of_the_captured_messages() -> None:
    assert run("--rm -v {}:/output participant/image:1.0 predict") == DockerSubmission(
        "participant/image:1.0", ("predict",), output_target="/output"
    )


def test_everything_that_is_honoured_at_once() -> None:
    text = (
        "--rm -it --name me --tty=true --interactive -v {}:/output --volume=/data/in:/input:ro -e A=1 "
        "--env B='two words' -eC= -w /work --entrypoint=/bin/main team/a:1 --out {} 'x y' --flag={}/z -v"
    )
    found = run(text)
    assert found == DockerSubmission(
        image="team/a:1",
        arguments=("--out", "/output", "x y", "--flag=/output/z", "-v"),
        entrypoint=("/bin/main",),
        environment={"A": "1", "B": "two words", "C": ""},
        working_dir="/work",
        output_target="/output",
        input_folder_asked=("/data/in", "/input"),
    )


@pytest.mark.parametrize(
    "text",
    [
        "-v {}:/o a",
        "-v={}:/o a",
        "-v{}:/o a",
        "-itv {}:/o a",
        "-itv{}:/o a",
        "--volume {}:/o a",
        "--volume={}:/o/ -- a",
    ],
)
def test_an_option_in_all_its_spellings(text: str) -> None:
    assert run(text) == DockerSubmission("a", output_target="/o")


@pytest.mark.parametrize("text", ["-eK=V", "-e=K=V", "-e K=V", "-ite K=V", "--env=K=V", "--env K=V"])
def test_an_environment_variable_in_all_its_spellings(text: str) -> None:
    assert run(f"{text} a").environment == {"K": "V"}


@pytest.mark.parametrize("text", ["--rm=false", "-i=1", "-it=true", "--name=x", "--name x", "-t", "--"])
def test_what_changes_nothing(text: str) -> None:
    assert run(f"{text} a") == DockerSubmission("a")


def test_arguments_without_an_output_mount_name_the_default_one() -> None:
    assert run("a --out={}").arguments == ("--out=/mnt/out",)


def test_no_arguments_means_the_images_own() -> None:
    assert run("a").arguments is None


def test_an_empty_entrypoint_is_none_at_all() -> None:
    assert run("--entrypoint '' a").entrypoint == ()


def test_the_last_of_two_counts_as_with_docker_itself() -> None:
    found = run("-w /a -w /b --entrypoint x --entrypoint y -e K=1 -e K=2 a")
    assert (found.working_dir, found.entrypoint, found.environment) == ("/b", ("y",), {"K": "2"})


def test_html_and_line_continuations() -> None:
    text = "docker run \\\n  -e A=&quot;1 &amp; 2&quot; \\\r\n  team/a &#39;x y&#39;"
    assert parse(text) == DockerSubmission("team/a", ("x y",), environment={"A": "1 & 2"})


def test_a_backslashed_image_in_the_run_form() -> None:
    assert run(r"'team/my\-model' x").image == "team/my-model"
    assert run(r"team/my\-model x").image == "team/my-model"


def test_no_shell_sees_what_follows_the_image() -> None:
    assert run("a x; rm -rf / | tee '$(id)' > /dev/null").arguments == (
        *("x;", "rm", "-rf", "/", "|", "tee", "$(id)", ">", "/dev/null"),
    )


def test_a_volume_given_twice_alike_is_one() -> None:
    assert run("-v {}:/o -v {}:/o/ a").output_target == "/o"


def test_the_input_folder_is_recorded_with_or_without_ro() -> None:
    for mode in ("", ":ro"):
        assert run(f"-v /data//in/:/mnt/in{mode} a").input_folder_asked == ("/data/in", "/mnt/in")


def test_printing_a_submission_shows_no_environment() -> None:
    assert TOKEN not in repr(run(f"-e A={TOKEN} a"))


WORDS = (
    *("docker", "run", "--rm", "-it", "-i", "-v", "{}:/out", "/in:/in:ro", "-e", "A=1", "-eB=2", "-w", "/w", "-v="),
    *("--entrypoint", "x", "--", "-", "--name", "--name=n", "team/a:1", "a", "--privileged", "--net=host"),
    *("'", '"', "\\", "{}", "&quot;", "\n", ""),
)
words = st.sampled_from(WORDS) | st.text(max_size=6)


@given(st.lists(words, max_size=8).map(" ".join).flatmap(lambda rest: st.sampled_from([rest, f"docker run {rest}"])))
def test_any_text_is_a_submission_none_or_the_participants_fault(text: str) -> None:
    try:
        found = parse(text)
    except ParticipantFault as refused:
        fault: ParticipantFault | None = refused
    else:
        fault = None
        assert found is None or is_valid(found.image)
    assert fault is None or (fault.sentence.startswith("Your submission's ") and fault.sentence.isprintable())


paths = st.lists(st.sampled_from(["mnt", "in", "out", "proc", "sys", "dev", "..", ".", "", "a"]), max_size=4).map(
    "/".join
)
options = st.one_of(
    st.builds("-v {}:{}".format, st.just("{}") | paths, paths.map("/".__add__) | paths),
    st.builds("-v {}:/{}:{}".format, st.just("{}") | paths.map("/".__add__), paths, st.sampled_from(["ro", "rw", "z"])),
    st.builds("-w /{}".format, paths),
    st.builds("-e {}={}".format, st.text("Ab1 =", max_size=3), st.text("x{}", max_size=3)),
    st.sampled_from(
        ["--rm", "-it", "--privileged", "--net host", "-u 0", "--entrypoint sh", "--pid=host", "--gpus all"]
    ),
)


@given(st.lists(options, max_size=3).map(" ".join))
def test_what_is_accepted_cannot_reach_beyond_its_folders(given_options: str) -> None:
    try:
        found = run(f"{given_options} team/a")
    except ParticipantFault:
        return
    targets = [found.output_target, "/mnt/in", *(found.input_folder_asked or ())[1:]]
    for path in (*targets, found.working_dir or "/", *(found.input_folder_asked or ())[:1]):
        assert path == posixpath.normpath(path)
        assert path.startswith("/")
        assert path.split("/")[1] not in {"proc", "sys", "dev", ".."}
    assert not any(one != other and f"{other}/".startswith(f"{one}/") for one in targets for other in targets)
    assert found.output_target not in targets[1:]
    assert not re.search(r"--(priv|net|pid|gpus)|-u", given_options)


safe = st.text(alphabet="abcXYZ019 '\"<>&;|$-_=/.", max_size=12)


@given(
    st.lists(safe, min_size=1, max_size=4),
    st.dictionaries(st.from_regex(r"[A-Z_]{1,4}", fullmatch=True), safe),
)
def test_quoted_and_escaped_words_arrive_as_they_were(arguments: list[str], environment: dict[str, str]) -> None:
    given_words = ["docker", "run", *(f"-e{k}={v}" for k, v in environment.items()), "team/a", *arguments]
    found = parse(html.escape(shlex.join(given_words)))
    assert found == DockerSubmission("team/a", tuple(arguments), environment=environment)
