"""Azurite: Azure's blob store with real signed URLs, as an npm module that keeps everything in memory."""

from pathlib import Path

import requests

from worker.demo import packages
from worker.demo.blobs import ACCOUNT
from worker.demo.places import LOOPBACK, fresh_folder, pick_port
from worker.demo.processes import start as start_process
from worker.demo.processes import stop as stop_process
from worker.demo.processes import wait_until
from worker.demo.service import Service

VERSION = "3.35.0"  # the last one that Node 10 to 20 runs; later ones want Node 22
PORT = 10100


def system_packages() -> list[str]:
    """Name what is missing to run and to install Azurite."""
    wanted = {"node": "nodejs", "npm": "npm"}
    return [package for name, package in wanted.items() if packages.program(name) is None]


def start(folder: Path) -> Service:
    """Bring up the blob store."""
    return start_at(LOOPBACK, pick_port(PORT), folder)


def start_at(host: str, port: int, folder: Path) -> Service:
    """Bring one up at that address of this machine."""
    binary = packages.npm("azurite", VERSION) / "azurite-blob"
    argv = [str(binary), "--silent", "--inMemoryPersistence", "--disableTelemetry"]
    argv += ["--blobHost", host, "--blobPort", str(port)]
    child = start_process("azurite", argv, fresh_folder(folder))
    service = Service("azurite", {"blob_endpoint": f"http://{host}:{port}/{ACCOUNT}"}, (child,))
    wait_until(lambda: answers(service), child, 30)
    return service


def answers(service: Service) -> bool:
    """Ask for something without a signature: to be refused by Azurite is an answer."""
    try:
        reply = requests.get(service.address["blob_endpoint"], params={"comp": "list"}, timeout=5)
    except requests.RequestException:
        return False
    return "Azurite" in reply.headers.get("Server", "")


def stop(service: Service) -> None:
    """End it at once: it holds nothing that is to be kept."""
    for child in service.children:
        stop_process(child, grace=0)
