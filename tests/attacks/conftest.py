from __future__ import annotations

from collections.abc import Iterator

import docker
import pytest

from tests.attacks.arena import Arena, arena_of
from tests.support.competition import Competition
from tests.support.fixtures import client, competition, management, owner, parts, settings, site
from tests.support.rabbit import Owner
from tests.support.site import Site

__all__ = ["client", "competition", "management", "owner", "parts", "settings", "site"]  # fixtures taken in


@pytest.fixture(scope="module")
def arena(
    site: Site,
    owner: Owner,
    settings: dict[str, str],
    competition: Competition,
    client: docker.DockerClient,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Arena]:
    """One worker for all attacks of a module, eight at a time, with witnesses around it."""
    with arena_of(site, owner, settings, competition, client, tmp_path_factory.mktemp("arena")) as arena:
        yield arena
