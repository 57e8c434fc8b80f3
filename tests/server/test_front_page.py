"""What a browser sees that is pointed at the server."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest

from headrace.app.front_page import page
from tests.server.kit import Api
from tests.servers import ServerProcess

pytestmark = pytest.mark.server


class Links(HTMLParser):
    """The addresses that a page links to, and whether anything in it runs or is loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value for name, value in attrs if name == "href" and value]


def test_a_browser_gets_a_page_whose_links_need_no_token(server: ServerProcess) -> None:
    api = Api(server.env)
    answer = api.http.get(f"{server.env['HEADRACE_PORTAL_URL']}/")
    assert answer.status_code == 200 and answer.headers["content-type"] == "text/html; charset=utf-8"
    found = Links()
    found.feed(answer.text)
    assert len(found.links) >= 3
    for link in found.links:
        assert api.http.get(f"{api.base}{link}").status_code == 200, link
    assert f"{api.base}/v1" in answer.text
    api.close()


def test_the_page_may_load_and_run_nothing(server: ServerProcess) -> None:
    api = Api(server.env)
    answer = api.http.get(f"{api.base}/")
    api.close()
    (style,) = re.findall(r"<style>(.*?)</style>", answer.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = answer.headers["content-security-policy"]
    assert f"style-src 'sha256-{digest}'" in policy and policy.startswith("default-src 'none';")
    found = Links()
    found.feed(answer.text)
    assert not found.tags & {"script", "img", "link", "iframe", "form"}


def test_addresses_are_text() -> None:
    assert "<script>" not in page("https://<script>alert(1)</script>")
