"""The files of the page of the web chat."""

from pathlib import Path

from gatewayd.channels.webchat.http import load_pages
from gatewayd.web.http import assets
from tests.channels.webchat.site import site


async def test_the_page_is_served_to_anybody_and_trusts_nobody(tmp_path: Path) -> None:
    async with site(tmp_path) as here, here.client() as client:
        page = await client.get("/")
        assert page.status_code == 200
        assert page.headers["Content-Type"] == "text/html; charset=utf-8"
        policy = page.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert page.headers["Referrer-Policy"] == "no-referrer"
        assert "frame-ancestors 'none'" in policy
        again = await client.get("/", headers={"If-None-Match": page.headers["ETag"]})
        assert (again.status_code, again.content) == (304, b"")


def test_the_page_names_only_its_own_files_and_runs_nothing_inline() -> None:
    pages = load_pages()
    html = pages["index.html"].body.decode()
    for path in ("/v1/webchat/files/webchat.css", "/v1/webchat/files/webchat.js", "/static/page.css", "/static/icon.svg"):
        assert f'"{path}"' in html
    assert "<script>" not in html
    assert "style=" not in html
    for name, asset in pages.items():
        text = asset.body.decode().replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text, name
        assert "https://" not in text, name


async def test_every_file_of_the_page_is_served_and_nothing_beside(tmp_path: Path) -> None:
    async with site(tmp_path) as here, here.client() as client:
        for folder, files in (("/v1/webchat/files", load_pages()), ("/static", assets.load_pages())):
            for name, asset in files.items():
                answer = await client.get(f"{folder}/{name}")
                assert answer.content == asset.body
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
            for wrong in ("webchat.py", "%2e%2e/webchat.py", "", "../auth.py", "../http.py", "%2e%2e%2fhttp.py"):
                assert (await client.get(f"{folder}/{wrong}")).status_code == 404
        assert not load_pages().keys() & assets.load_pages().keys()
