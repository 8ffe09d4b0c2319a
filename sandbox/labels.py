"""Labels that every container of a worker carries, so that it can be found again by whoever owns it."""

from __future__ import annotations

WORKER = "org.codalab.worker"
"""Identity of the worker that made the container."""

RUN = "org.codalab.run"
"""The run that it belongs to."""

ROLE = "org.codalab.role"
"""Whose program it runs, a value of `protocol.run.Role`."""

FOLDER = "org.codalab.folder"
"""Name of the run's folder: another attempt at the run has another."""

INDEX = "org.codalab.index"
"""Which of the commands of that role it runs, from 0."""
