"""The files of the page of the web chat."""

from pathlib import Path

from gatewayd.web.http.assets import load_pages
from tests.web.webchat.site import site


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
    for name in ("webchat.css", "webchat.js", "icon.svg"):
        assert f"/static/{name}" in html
    assert "<script>" not in html
    assert "style=" not in html
    for name, asset in pages.items():
        text = asset.body.decode().replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text, name
        assert "https://" not in text, name


async def test_every_file_of_the_page_is_served_and_nothing_beside(tmp_path: Path) -> None:
    async with site(tmp_path) as here, here.client() as client:
        for name, asset in load_pages().items():
            answer = await client.get(f"/static/{name}")
            assert answer.content == asset.body
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
        for wrong in ("/static/webchat.py", "/static/%2e%2e/webchat.py", "/static/", "/static/../auth.py"):
            assert (await client.get(wrong)).status_code == 404
