"""The documentation page: offline, and under a strict policy."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from micro.web.docs import DOCS, docs_asset, docs_page, document_response
from micro.web.problems import Problem


def test_the_page_names_only_files_that_are_served():
    """Nothing comes from the network."""
    page = docs_page("shop").body.decode()
    links = re.findall(r'(?:src|href)="((?!data:)[^"]+)"', page)
    assert links
    assert set(links) <= DOCS
    assert "http" not in page.replace("<!doctype html>", "")


def test_the_page_has_no_inline_code():
    """The policy would not run it."""
    page = docs_page("shop").body.decode()
    assert all(not inner.strip() for inner in re.findall(r"<script[^>]*>(.*?)</script>", page, re.DOTALL))
    assert "<style" not in page
    assert not re.search(r"\son\w+=", page)


@pytest.mark.parametrize("path", sorted(DOCS - {"/docs"}))
def test_every_asset_is_there(path):
    """Script or style, under the same policy."""
    response = docs_asset(path)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith(("text/javascript", "text/css"))
    assert response.headers["x-content-type-options"] == "nosniff"


def test_the_policy_allows_this_server_only():
    """No inline script, no other origin, no frame."""
    policy = docs_page("shop").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy


def test_title_and_address_are_escaped():
    """They come from configuration."""
    page = docs_page("<b>\"x'", 'a"><script>').body.decode()
    assert "<b>" not in page
    assert '"><script>' not in page


def test_other_paths_are_404():
    """Whatever stands behind /docs/."""
    with pytest.raises(Problem) as caught:
        docs_asset("/docs/../secret")
    assert caught.value.status == 404


def test_without_the_package_the_assets_are_404(monkeypatch):
    """And nothing breaks."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(Problem):
        docs_asset("/docs/swagger.js")


def test_the_package_is_never_imported():
    """It reads nine megabytes when it is."""
    code = (
        "import sys; from micro.web.docs import docs_asset; docs_asset('/docs/swagger.js');"
        "sys.exit('offapi' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_document_is_answered_as_json():
    """`/openapi.json` beside the page."""
    assert (
        document_response("/openapi.json", "shop", lambda: {"openapi": "3.1.0"}).body
        == b'{"openapi":"3.1.0"}'
    )
    assert document_response("/docs", "shop", dict).media_type == "text/html"
    assert document_response("/docs/start.js", "shop", dict).media_type == "text/javascript"


def test_the_page_is_dark_where_the_system_is():
    """Swagger UI has the colours; the page only has to ask for them."""
    script = bytes(docs_asset("/docs/start.js").body).decode()
    assert 'matchMedia("(prefers-color-scheme: dark)")' in script
    assert 'classList.toggle("dark-mode"' in script
