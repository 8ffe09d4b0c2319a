"""Puts together what outlives a run: the images that this worker pulled, and the bundles that it keeps."""

from __future__ import annotations

from config.settings import Settings
from sandbox.engine import ContainerEngine
from worker.bundles.cache import BundleCache, open_cache
from worker.counters import Counters
from worker.kept.folders import TempDir
from worker.kept.image_stock import ImageStock
from worker.kept.journal import Journals
from worker.storage.store import VersionedStore


def bundle_cache(settings: Settings, store: VersionedStore, counters: Counters) -> BundleCache | None:
    """The cache in SUBMISSION_CACHE_DIR, if there is to be one and can be."""
    most = settings.submission_cache_dir_max_size_in_gb
    return open_cache(settings.submission_cache_dir, most, store, counters.cache_asked)


def is_cache_exposed(settings: Settings) -> bool:
    """Whether reference data would be cached where participants' containers see them."""
    cache, inputs = settings.submission_cache_dir, settings.worker_participant_input_dir
    return bool(cache and inputs and cache.resolve().is_relative_to(inputs.resolve()))


def image_stock(engine: ContainerEngine, temp_dir: TempDir, journals: Journals) -> ImageStock:
    """With those set aside that runs of an earlier process may go on with."""
    stock = ImageStock(engine, temp_dir.images)
    for record in journals.unconfirmed():
        if record.staged:
            stock.reserve(record.message_id, record.staged.programs.images)
    return stock
