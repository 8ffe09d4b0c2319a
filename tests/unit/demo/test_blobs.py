from urllib.parse import parse_qs, urlsplit

import pytest

from worker.demo.blobs import BlobStore, Permissions

STORE = BlobStore("http://127.0.0.1:10100/devstoreaccount1")


@pytest.mark.parametrize("permissions", ["r", "cw"])
def test_a_url_names_the_blob_and_what_it_permits(permissions: Permissions) -> None:
    url = urlsplit(STORE.url("bundles/a b/c.zip", permissions))
    query = parse_qs(url.query)
    assert url.path == "/devstoreaccount1/bundles/a%20b/c.zip"
    assert (query["sp"], query["sr"]) == ([permissions], ["b"])
    assert query["se"][0].endswith("Z")


def test_each_permission_and_blob_has_a_signature_of_its_own() -> None:
    urls = [STORE.url("con/a"), STORE.url("con/b"), STORE.url("con/a", "cw")]
    signatures = {parse_qs(urlsplit(url).query)["sig"][0] for url in urls}
    assert len(signatures) == 3
