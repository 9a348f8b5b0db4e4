"""Files of pages: what is served, and what a browser that has it is told."""

from pathlib import Path

import pytest

from gatewayd.kit.serving.pages import compose, load_files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "page.html").write_text("<title>$title</title>")
    (tmp_path / "page.js").write_text("export {}")
    (tmp_path / "notes.txt").write_text("not for anybody")
    (tmp_path / "page.py").write_text("SECRET = 1")
    (tmp_path / "html").write_text("no ending")
    (tmp_path / "inside").mkdir()
    return tmp_path


def test_only_files_of_pages_are_served(folder: Path) -> None:
    assert sorted(load_files(folder)) == ["page.html", "page.js"]


def test_two_files_of_one_name_are_an_error(folder: Path) -> None:
    with pytest.raises(AssertionError, match="one name"):
        load_files(folder, folder)


def test_a_browser_that_has_it_gets_304(folder: Path) -> None:
    page = load_files(folder)["page.html"]
    first = page.reply("")
    assert (first.status, first.body, first.content_type) == (200, b"<title>$title</title>", "text/html; charset=utf-8")
    headers = dict(first.headers)
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["Cache-Control"] == "no-cache"
    for known in (headers["ETag"], f"W/{headers['ETag']}", f'"other", {headers["ETag"]}', "*"):
        again = page.reply(known)
        assert (again.status, again.body, dict(again.headers)["ETag"]) == (304, b"", headers["ETag"])
    for other in ('"other"', headers["ETag"].strip('"'), "W/"):
        assert page.reply(other).status == 200


def test_a_page_is_composed_of_texts_and_is_another_file(folder: Path) -> None:
    shell = load_files(folder)["page.html"]
    made = compose(shell, title="Hello")
    assert (made.body, made.etag == shell.etag) == (b"<title>Hello</title>", False)
