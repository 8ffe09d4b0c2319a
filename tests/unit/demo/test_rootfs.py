import pytest

from worker.demo.debian_rootfs import merged, wanted


@pytest.mark.parametrize(
    ("shipped", "place"),
    [
        ("./lib/x86_64-linux-gnu/libc.so.6", "usr/lib/x86_64-linux-gnu/libc.so.6"),
        ("./lib64/ld-linux-x86-64.so.2", "usr/lib64/ld-linux-x86-64.so.2"),
        ("./bin/busybox", "usr/bin/busybox"),
        ("./usr/bin/python3.11", "usr/bin/python3.11"),
        ("./etc/mime.types", "etc/mime.types"),
        ("./library/x", "library/x"),
        ("./", ""),
    ],
)
def test_files_find_their_place_under_the_merged_usr(shipped: str, place: str) -> None:
    assert merged(shipped) == place


@pytest.mark.parametrize("name", ["", "usr/share/doc/libc6/copyright", "usr/lib/python3.11/EXTERNALLY-MANAGED"])
def test_documentation_and_markers_are_left_out(name: str) -> None:
    assert not wanted(name)


def test_the_rest_is_wanted() -> None:
    assert wanted("usr/lib/python3.11/json/__init__.py")
