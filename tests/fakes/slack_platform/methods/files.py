"""Files in both directions: the upload in three steps, and downloads by url_private (…/messaging/working-with-files)."""

import secrets
from collections.abc import Callable

from msgspec import Struct

from tests.fakes.bot_api.http_server import Request, Response
from tests.fakes.slack_platform.blocks import check_blocks
from tests.fakes.slack_platform.errors import Json, SlackError
from tests.fakes.slack_platform.methods.arguments import Method, needed, number, text
from tests.fakes.slack_platform.methods.chat import Chat, own
from tests.fakes.slack_platform.mrkdwn import rich_text
from tests.fakes.slack_platform.workspace import BOT_USER, TEAM, Workspace

LOGIN_PAGE = b"<!DOCTYPE html><html><head><title>Sign in | Slack</title></head><body>Sign in to your workspace</body></html>"
"""What a files URL answers, with status 200, to a token that may not read files."""


class Upload(Struct):
    """An upload that files.getUploadURLExternal began."""

    file: str
    name: str
    length: int
    content: bytes | None = None


class Files:
    """``url`` is the scheme and host of the files host."""

    def __init__(self, workspace: Workspace, chat: Chat, url: Callable[[], str]) -> None:
        self._workspace = workspace
        self._chat = chat
        self._url = url
        self._uploads: dict[str, Upload] = {}

    def methods(self) -> dict[str, Method]:
        return {
            "files.getUploadURLExternal": self.get_upload_url,
            "files.completeUploadExternal": self.complete,
            "files.info": self.info,
            "files.delete": self.delete,
        }

    def get_upload_url(self, values: Json) -> Json:
        name = needed(values, "filename")
        length = number(values, "length", 0)
        if length <= 0:
            raise SlackError("missing_argument")
        ticket = secrets.token_urlsafe(16)
        self._uploads[ticket] = Upload(self._workspace.new_id("F"), name, length)
        return {"upload_url": f"{self._url()}/upload/v1/{ticket}", "file_id": self._uploads[ticket].file}

    def upload(self, request: Request) -> Response:
        """The POST of the bytes, raw or as one part of a form; ``OK - <size>`` is the answer."""
        upload = self._uploads.get(request.path.removeprefix("/upload/v1/"))
        if upload is None or request.method != "POST":
            return Response(404, b"not found", "text/plain")
        upload.content = _content(request)
        if len(upload.content) != upload.length:
            return Response(400, b"length mismatch", "text/plain")
        return Response(200, b"OK - %d" % len(upload.content), "text/plain")

    def complete(self, values: Json) -> Json:
        asked = values.get("files")
        if not isinstance(asked, list) or not asked:
            raise SlackError("invalid_arguments")
        done: list[Json] = []
        by_file = {upload.file: (ticket, upload) for ticket, upload in self._uploads.items()}
        for one in asked:
            ticket, upload = by_file.get(one.get("id"), ("", None))
            if upload is None or upload.content is None:
                raise SlackError("file_not_found")
            file = self.make(upload.name, upload.content, BOT_USER, id=upload.file, title=one.get("title"))
            del self._uploads[ticket]
            done.append(file)
        channels = [name for name in (text(values, "channel_id") or text(values, "channels")).split(",") if name]
        for channel_id in channels:
            self._share(channel_id, values, done)
        return {"files": done}

    def _share(self, channel_id: str, values: Json, files: list[Json]) -> None:
        channel = self._chat.writable(channel_id, posting=False)
        words = text(values, "initial_comment")
        fields = own() | {"text": words, "files": files, "upload": True, "subtype": "file_share"}
        if values.get("blocks"):
            fields["blocks"] = check_blocks(values["blocks"])
        elif words:
            fields["blocks"] = [rich_text(words)]
        root = self._chat.root_of(channel, text(values, "thread_ts")) if text(values, "thread_ts") else None
        if root is not None:
            fields["thread_ts"] = root
        message = self._workspace.post(channel, fields)
        kind = "public" if channel.kind == "channel" else "private"
        for file in files:
            shares = file.setdefault("shares", {}).setdefault(kind, {}).setdefault(channel.id, [])
            shares.append({"ts": message["ts"], "thread_ts": message.get("thread_ts"), "team_id": TEAM})

    def info(self, values: Json) -> Json:
        file = self._workspace.file(needed(values, "file", error="file_not_found"))
        return {"file": file, "comments": [], "response_metadata": {"next_cursor": ""}}

    def delete(self, values: Json) -> Json:
        """Of the bot's own files (docs.slack.dev/reference/methods/files.delete). Messages keep a tombstone of it."""
        file_id = needed(values, "file", error="file_not_found")
        unfinished = next((ticket for ticket, upload in self._uploads.items() if upload.file == file_id), None)
        if unfinished is not None:
            del self._uploads[unfinished]
            return {}
        file = self._workspace.file(file_id)
        if file["user"] != BOT_USER:
            raise SlackError("cant_delete_file")
        if file["mode"] == "tombstone":
            raise SlackError("file_deleted")
        file["mode"] = "tombstone"
        del self._workspace.contents[file_id]
        return {}

    def make(
        self,
        name: str,
        content: bytes,
        user: str,
        *,
        id: str | None = None,
        title: str | None = None,
        mimetype: str | None = None,
        external_url: str | None = None,
    ) -> Json:
        """A file as Slack shows it (docs.slack.dev/reference/objects/file-object). An external one lies elsewhere."""
        file_id = id or self._workspace.new_id("F")
        kind = name.rpartition(".")[2].lower() if "." in name else "binary"
        path = f"{TEAM}-{file_id}/{name}"
        url = external_url or f"{self._url()}/files-pri/{path}"
        file: Json = {
            "id": file_id,
            "created": int(self._workspace.now()),
            "timestamp": int(self._workspace.now()),
            "name": name,
            "title": title or name,
            "mimetype": mimetype or _MIME.get(kind, "application/octet-stream"),
            "filetype": kind,
            "pretty_type": kind.upper(),
            "user": user,
            "user_team": self._workspace.users[user].team,
            "editable": False,
            "size": 0 if external_url else len(content),
            "mode": "external" if external_url else "hosted",
            "is_external": external_url is not None,
            "external_type": "gdrive" if external_url else "",
            "is_public": True,
            "url_private": url,
            "permalink": f"https://home.slack.com/files/{user}/{file_id}/{name}",
            "has_rich_preview": False,
            "file_access": "visible",
        }
        if external_url is None:
            file["url_private_download"] = f"{self._url()}/files-pri/{TEAM}-{file_id}/download/{name}"
        return self._workspace.put_file(file, content)

    def download(self, request: Request, *, allowed: bool) -> Response:
        """``/files-pri/<team>-<file>/…``: the bytes; a login page with 200 without a token that has files:read."""
        file = request.path.removeprefix("/files-pri/").partition("/")[0].partition("-")[2]
        if not allowed:
            return Response(200, LOGIN_PAGE, "text/html; charset=utf-8")
        if file not in self._workspace.contents:
            return Response(404, b"", "text/plain")
        return Response(200, self._workspace.contents[file], str(self._workspace.files[file]["mimetype"]))


_MIME = {
    "txt": "text/plain",
    "md": "text/markdown",
    "png": "image/png",
    "jpg": "image/jpeg",
    "gif": "image/gif",
    "pdf": "application/pdf",
    "json": "application/json",
    "mp3": "audio/mpeg",
    "mp4": "video/mp4",
}


def _content(request: Request) -> bytes:
    """The bytes of the file: the body, or the first part with a file name of a multipart body (RFC 7578)."""
    kind = request.headers.get("content-type", "")
    if not kind.startswith("multipart/form-data"):
        return request.body
    boundary = b"--" + kind.partition("boundary=")[2].strip('"').encode()
    for part in request.body.split(boundary):
        head, separator, content = part.partition(b"\r\n\r\n")
        if separator and b"filename" in head:
            return content.removesuffix(b"\r\n")
    return b""
