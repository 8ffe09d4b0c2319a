from typing import Any

import pytest
import requests
import urllib3
from docker.errors import APIError, DockerException

from sandbox.docker.errors import create_error, engine_error, image_error, login_error, plain, start_error, translated
from sandbox.errors import (
    EngineRefused,
    EngineUnreachable,
    GpuUnavailable,
    ImageInvalid,
    ImageNotFound,
    LoginRefused,
    NoSuchUser,
    RegistryUnreachable,
    StartRefused,
)

RUNC = "failed to create shim task: OCI runtime create failed: runc create failed: "


def answer(words: str, status: int = 500) -> APIError:
    response = requests.Response()
    response.status_code = status
    response.url = "http+docker://localhost/v1.41/x"
    return APIError("x", response=response, explanation=words)


@pytest.mark.parametrize(
    ("words", "status", "kind"),
    [
        ("manifest for r/x:1 not found: manifest unknown: manifest unknown", 404, ImageNotFound),
        ("pull access denied for x, repository does not exist or may require 'docker login'", 404, ImageNotFound),
        ('Head "http://r/v2/x/manifests/1": no basic auth credentials', 500, ImageNotFound),
        ("unauthorized: authentication required", 500, ImageNotFound),
        ("denied: requested access to the resource is denied", 500, ImageNotFound),
        ("error parsing HTTP 403 response body: Forbidden", 500, ImageNotFound),
        ("no matching manifest for linux/amd64 in the manifest list entries", 404, ImageNotFound),
        ("invalid reference format: repository name must be lowercase", 400, ImageInvalid),
        ("something about the request", 400, ImageInvalid),
        (
            "failed to register layer: Error processing tar file(exit status 1): archive/tar: invalid",
            None,
            ImageInvalid,
        ),
        ('Get "http://r/v2/": dial tcp 127.0.0.1:1: connect: connection refused', 500, RegistryUnreachable),
        ('Get "https://r/v2/": dial tcp: lookup r: no such host', 500, RegistryUnreachable),
        ("received unexpected HTTP status: 503 Service Unavailable", 500, RegistryUnreachable),
        ("toomanyrequests: You have reached your pull rate limit", 500, RegistryUnreachable),
        ("net/http: request canceled (Client.Timeout exceeded while awaiting headers)", 500, RegistryUnreachable),
        ("unexpected EOF", None, RegistryUnreachable),
        ("words never seen before", 500, RegistryUnreachable),
        ("failed to register layer: write /x: no space left on device", None, EngineUnreachable),
    ],
)
def test_why_a_pull_failed(words: str, status: int | None, kind: type[Exception]) -> None:
    assert type(image_error("r/x:1", words, status)) is kind


@pytest.mark.parametrize(
    ("words", "kind", "exit_code"),
    [
        (RUNC + 'unable to start container process: exec: "x": executable file not found in $PATH', StartRefused, 127),
        (RUNC + 'unable to start container process: exec: "/x": permission denied: unknown', StartRefused, 126),
        ("Cannot mkdir: /etc/passwd is not a directory", StartRefused, 127),
        (RUNC + 'error mounting "/h" to rootfs at "/mnt/in": not a directory', StartRefused, 127),
        ("unable to find user participant: no matching entries in passwd file", NoSuchUser, 126),
        ("unable to find group x: no matching entries in group file", NoSuchUser, 126),
    ],
)
@pytest.mark.parametrize("wants_gpu", [True, False])
def test_what_an_image_gets_wrong(words: str, kind: type[StartRefused], exit_code: int, wants_gpu: bool) -> None:
    error = start_error(answer(words, 400), wants_gpu=wants_gpu)
    assert isinstance(error, StartRefused)
    assert (type(error), error.exit_code) == (kind, exit_code)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (RUNC + 'unable to start: exec: "x": not found in $PATH: unknown', 'exec: "x": not found in $PATH'),
        (
            RUNC + 'error mounting "/host/1/empty" to rootfs at "/mnt/in": open /host/1/merged/mnt: not a directory',
            "its image is in the way of a mount at /mnt/in",
        ),
        (
            RUNC + "mkdir /host/overlay2/1/merged/mnt/in: not a directory",
            "the engine can make no container of its image",
        ),
        ("Cannot mkdir: /etc/passwd is not a directory", "Cannot mkdir: /etc/passwd is not a directory"),
        ("unable to find user x: no matching entries", "unable to find user x: no matching entries"),
    ],
)
def test_an_images_maker_reads_no_path_of_the_engines_host(words: str, reason: str) -> None:
    error = start_error(answer(words, 500), wants_gpu=False)
    assert isinstance(error, StartRefused)
    assert (error.reason, error.detail) == (reason, words)


@pytest.mark.parametrize(
    "words",
    [
        'could not select device driver "nvidia" with capabilities: [[gpu]]',
        RUNC + "error running hook #0: exit status 1, stderr: nvidia-container-cli: initialization error",
        "CDI device injection failed: unresolvable CDI devices nvidia.com/gpu=9",
    ],
)
def test_a_gpu_that_cannot_be_given(words: str) -> None:
    assert isinstance(start_error(answer(words), wants_gpu=True), GpuUnavailable)


def test_an_image_cannot_blame_the_gpu_by_the_name_of_its_command() -> None:
    words = RUNC + 'unable to start: exec: "nvidia-container-cli: initialization error": executable file not found'
    assert isinstance(start_error(answer(words), wants_gpu=True), StartRefused)
    assert isinstance(start_error(answer(words), wants_gpu=False), StartRefused)


def test_without_a_gpu_asked_for_a_hook_that_fails_is_the_engines_fault() -> None:
    error = start_error(answer(RUNC + "error running hook #0: exit status 1"), wants_gpu=False)
    assert isinstance(error, EngineRefused)


@pytest.mark.parametrize(
    ("words", "status", "kind"),
    [
        ("no such image: x", 404, ImageNotFound),
        ("No command specified", 400, StartRefused),
        ("the working directory 'x' is invalid, it needs to be an absolute path", 400, StartRefused),
        ("Conflict. The container name is already in use", 409, EngineRefused),
        ("write /var/lib/docker/x: no space left on device", 500, EngineUnreachable),
    ],
)
def test_why_a_container_was_not_made(words: str, status: int, kind: type[Exception]) -> None:
    assert type(create_error("x", answer(words, status))) is kind


@pytest.mark.parametrize(
    ("words", "status", "kind"),
    [
        ("anything", 503, EngineUnreachable),
        ("context deadline exceeded", 500, EngineUnreachable),
        ("unknown or invalid runtime name: x", 400, EngineRefused),
    ],
)
def test_what_will_pass_and_what_will_not(words: str, status: int, kind: type[Exception]) -> None:
    assert type(engine_error("testing", answer(words, status))) is kind


@pytest.mark.parametrize(
    "raised",
    [
        requests.exceptions.ReadTimeout("slow"),
        requests.exceptions.ConnectionError("gone"),
        urllib3.exceptions.ProtocolError("broken off"),
        ConnectionResetError("reset"),
        DockerException("Error while fetching server API version"),
    ],
)
def test_whatever_a_vanished_engine_raises_is_one_exception(raised: Exception) -> None:
    with pytest.raises(EngineUnreachable, match="did not answer while testing"), translated("testing"):
        raise raised


def test_what_the_system_says_of_a_socket_is_told_without_what_is_wrapped_around_it() -> None:
    inner = urllib3.exceptions.ProtocolError("Connection aborted.", PermissionError(13, "Permission denied"))
    wrapped = DockerException("Error while fetching server API version: …")
    wrapped.__cause__ = requests.ConnectionError(inner)
    with pytest.raises(EngineUnreachable, match=r"while testing: Permission denied$"), translated("testing"):
        raise wrapped


@pytest.mark.parametrize(
    ("words", "status", "kind"),
    [
        ("login attempt to http://r/v2/ failed with status: 401 Unauthorized", 500, LoginRefused),
        ('Get "http://r/v2/": no basic auth credentials', 500, LoginRefused),
        ('Get "https://r/v2/": unauthorized: incorrect username or password', 500, LoginRefused),
        ("anything", 401, LoginRefused),
        ('Get "http://r/v2/": dial tcp 127.0.0.1:9: connect: connection refused', 500, RegistryUnreachable),
    ],
)
def test_why_a_login_failed(words: str, status: int, kind: type[Exception]) -> None:
    assert type(login_error("r", answer(words, status))) is kind


def test_our_own_faults_are_not_put_on_the_engine() -> None:
    with pytest.raises(KeyError), translated("testing"):
        raise KeyError


def test_the_words_are_the_engines_own_without_signatures() -> None:
    words = 'Get "https://blobs.example/l?X-Amz-Signature=abc&sig=def": EOF'
    for error in (answer(words), OSError(words)):
        assert plain(error) == 'Get "https://blobs.example/l?…": EOF'
    wrapped: Any = image_error("r/x", words)
    assert "abc" not in str(wrapped)
    assert "def" not in repr(wrapped)
