"""Lowers the limits in an OCI bundle's config.json to what this process may set; its arguments are a runtime's.

Podman asks for a million open files. Root can have them, but not where it lacks CAP_SYS_RESOURCE, as on the
machines of this project's CI; nothing else of what Podman asks for is touched.
"""

import json
import resource
import sys
from pathlib import Path

_KINDS = {"RLIMIT_NOFILE": resource.RLIMIT_NOFILE, "RLIMIT_NPROC": resource.RLIMIT_NPROC}


def clamp(config: Path) -> None:
    document = json.loads(config.read_text())
    for limit in document["process"].get("rlimits", []):
        most = resource.getrlimit(_KINDS[limit["type"]])[1] if limit["type"] in _KINDS else resource.RLIM_INFINITY
        if most != resource.RLIM_INFINITY:
            limit.update(hard=min(limit["hard"], most), soft=min(limit["soft"], most))
    config.write_text(json.dumps(document))


if __name__ == "__main__" and "--bundle" in sys.argv:
    clamp(Path(sys.argv[sys.argv.index("--bundle") + 1], "config.json"))
