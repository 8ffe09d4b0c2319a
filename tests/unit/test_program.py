import pytest

from worker.bundles.metadata import MetadataError
from worker.stages.program import arguments


def test_every_name_is_replaced() -> None:
    command = "$program $input $predictions $output $tmp $shared $hidden $ingestion_program $submission_program"
    assert arguments(command) == (
        "/codalab/run/program",
        "/codalab/run/input",
        "/codalab/run/input/res",
        "/codalab/run/output",
        "/codalab/run/temp",
        "/codalab/shared",
        "/codalab/hidden_ref",
        "/codalab/run/ingestion_program",
        "/codalab/run/program",
    )


def test_names_are_replaced_inside_words() -> None:
    assert arguments("python3 $program/score.py --in=$input,$output") == (
        "python3",
        "/codalab/run/program/score.py",
        "--in=/codalab/run/input,/codalab/run/output",
    )


def test_no_shell_sees_it() -> None:
    assert arguments("echo 'a b' ; rm -rf $HOME `id` $(id)") == (
        "echo", "a b", ";", "rm", "-rf", "$HOME", "`id`", "$(id)",
    )  # fmt: skip


@pytest.mark.parametrize("command", ["", "  ", "echo 'open", 'echo "open', "echo \\"])
def test_what_cannot_be_read_is_told(command: str) -> None:
    with pytest.raises(MetadataError):
        arguments(command)
