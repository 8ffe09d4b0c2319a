import subprocess
import sys

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
