"""Where mutations begin: captured messages, and small documents and archives that reach far into each reader."""

from __future__ import annotations

import io
import json
import zipfile
import zlib

from tests.support import captured

_COMMANDS = (
    "team/image:1",
    "this is not a docker submission",
    "codalab\\-legacy:py3",
    "docker run -v {}:/mnt/out team/image:1",
    "docker run --rm -it --name x -v {}:/out -v /data:/in:ro -e KEY=VALUE -w /work --entrypoint sh team/i sh -c 'a {}'",
    "docker run &quot;reg.example:5000/a/b@sha256:" + "0" * 64 + "&quot; a\\\nb",
    "docker run --privileged --net host x",
    'docker run --volume={}:/mnt/out --env="A=b c" --workdir / x',
)
_REFERENCES = ("busybox", "a/b:c", "reg.example:5000/a/b:tag", "a@sha256:" + "f" * 64, "localhost/a__b/c-d.e")
_URLS = (
    "https://a.blob.core.windows.net/c/b?sv=2021-12-02&se=2030-01-01T00%3A00%3A00Z&sp=r&sig=x%2B%3D",
    "https://s3.example/b/k?X-Amz-Date=20300101T000000Z&X-Amz-Expires=3600&X-Amz-Signature=00",
    "http://s3.example/b/k?AWSAccessKeyId=A&Expires=1893456000&Signature=x",
)
_METADATA = (
    "command: python3 $program/score.py $input $output\n",
    "command:\n  - first\n  - second {a} 'b c'\ndescription: x\n",
    "program: https://store.example/p.zip?sv=1&sig=a%2Bb%3D\ninput: http://store.example/i.txt\nres:\n",
    "a: &a [x, y]\nb: *a\n<<: {c: d}\n? [k]\n: v\n",
    "a: !!python/object/apply:os.system [id]\nb: 0x10\nc: 2020-01-01\nd: |\n  text\n",
    "%YAML 1.1\n---\na: b\n...\n---\nc: d\n",
)
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)


def deliveries() -> list[bytes]:
    """Everything that was captured of real Celery clients, and one with a compressed body."""
    messages = [captured.load(name) for name in captured.names("run-*")]
    seeds = [json.dumps(message.headers, default=str).encode() + b"\0" + message.body for message in messages]
    compressed = json.dumps({"compression": "application/x-gzip"}).encode()
    return [*seeds, compressed + b"\0" + zlib.compress(messages[0].body)]


def control_requests() -> list[bytes]:
    """Everything that was captured of Celery's and Flower's, and the methods that were not."""
    names = (*captured.names("control-request-*"), *captured.names("flower-request-*"))
    messages = [captured.load(name) for name in names]
    asked = [json.dumps(message.headers, default=str).encode() + b"\0" + message.body for message in messages]
    hello = {"method": "hello", "arguments": {"from_node": "celery@other", "revoked": {"one": 1.5, "two": 2}}}
    matched = {"method": "active", "pattern": "codalab-*@[a-z]*", "matcher": "glob", "destination": None}
    return [*asked, *(b"{}\0" + json.dumps(one).encode() for one in (hello, matched, {"method": "conf"}))]


def message_files() -> list[bytes]:
    """The arguments of the captured messages, as a person would keep them."""
    calls = [captured.load(name).decode().args for name in captured.names("run-v1-*celery5.6.2-proto2")]
    site = [{"id": task_id, "task_args": task_args} for task_id, task_args in calls]
    return [json.dumps(document).encode() for document in (*calls, *site)]


def docker_commands() -> list[bytes]:
    """Each form and option of the grammar."""
    return [text.encode() for text in _COMMANDS]


def image_references() -> list[bytes]:
    """Each part of a reference."""
    return [text.encode() for text in _REFERENCES]


def signed_urls() -> list[bytes]:
    """Azure's, and S3's two kinds."""
    return [text.encode() for text in _URLS]


def metadata() -> list[bytes]:
    """Of programs and of sites, with what YAML has to offer."""
    return [text.encode() for text in _METADATA]


def archives() -> list[bytes]:
    """One of each method, with folders, an archive inside, comments, and in the zip64 form."""
    inner = _archive({"x": b"1" * 100}, zipfile.ZIP_DEFLATED)
    plain = {"metadata": b"command: x\n", "folder/": b"", "folder/file": b"a" * 2000, "inner.zip": inner}
    lifted = {"top/metadata": b"command: x\n", "top/a/b/c": b"", "__MACOSX/x": b"", "top/\u00e9": b"text"}
    return [
        inner,
        _archive({}, zipfile.ZIP_STORED),
        *(_archive(files, m) for files in (plain, lifted) for m in _METHODS),
    ]


def _archive(files: dict[str, bytes], method: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.comment = b"comment" if files else b""
        for name, data in files.items():
            with archive.open(zipfile.ZipInfo(name), "w", force_zip64=name == "metadata") as file:
                file.write(data)
    return buffer.getvalue()
