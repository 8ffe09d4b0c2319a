import gc
import importlib
import subprocess
import sys

import pytest

from worker.lean import no_collecting

PROGRAM = """
import sys
from worker.cli import _start
_start(None, quiet=True)
import worker.daemon
print('rich' in sys.modules)
import rich.progress
"""


def test_a_daemon_has_no_rich_in_memory_and_a_command_can_have_it() -> None:
    environ = {"LOG_FORMAT": "json", "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=environ, check=False)
    assert (done.stdout, done.stderr) == ("False\n", "")


def test_garbage_is_collected_again_when_all_is_imported_or_nothing_could_be() -> None:
    def imports(name: str) -> None:
        with no_collecting():
            assert not gc.isenabled()
            importlib.import_module(name)

    with pytest.raises(ImportError):
        imports("no_such_module")
    assert gc.isenabled()
    gc.unfreeze()
