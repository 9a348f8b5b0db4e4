"""What Discord refuses of a message's fields, with the path of the field ("Message Resource", "Component Reference")."""

from typing import Any

from tests.fakes.discord_platform.errors import ApiError, Json, bad_choice, bad_length, invalid_form, required, too_long
from tests.fakes.discord_platform.model import mentions, shapes
from tests.fakes.discord_platform.rest.bodies import Body

CONTENT_LIMIT = 2000
FILE_LIMIT_BYTES = 10 * 1024 * 1024
EMBED_LIMITS = {"title": 256, "description": 4096}
ROW, BUTTON, STRING_SELECT, TEXT_INPUT = 1, 2, 3, 4
LINK, PREMIUM = 5, 6


def length_of(text: str) -> int:
    """As the strictest reading has it: UTF-16 units, never fewer than the characters. (What Discord counts is not documented.)"""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def check_message(body: Body, *, is_edit: bool = False) -> None:
    """:raises ApiError: 50035 with a path, 50006, 40005."""
    fields = body.fields
    content = fields.get("content")
    if content is not None and not isinstance(content, str):
        raise invalid_form("content", "BASE_TYPE_STRING", "Must be a string.")
    if length_of(content or "") > CONTENT_LIMIT:
        raise too_long("content", CONTENT_LIMIT)
    nonce = fields.get("nonce")
    if nonce is not None and (not isinstance(nonce, str | int) or len(str(nonce)) > 25):
        raise too_long("nonce", 25)
    if fields.get("allowed_mentions") is not None:
        mentions.allowed(mentions.Mentions([], [], False), fields["allowed_mentions"])
    _check_embeds(fields.get("embeds") or [])
    _check_rows(fields.get("components") or [])
    for upload in body.uploads:
        if len(upload.content) > FILE_LIMIT_BYTES:
            raise ApiError(413, 40005, "Request entity too large")
    if len(body.uploads) > 10:
        raise bad_length("attachments", 0, 10)
    kept = is_edit and not {"content", "embeds", "components"} & fields.keys()
    filled = (
        (content or "").strip()
        or fields.get("embeds")
        or fields.get("components")
        or fields.get("sticker_ids")
        or fields.get("poll")
    )
    if not filled and not body.uploads and not kept and not is_edit:
        raise ApiError(400, 50006, "Cannot send an empty message")


def _check_embeds(embeds: list[Json]) -> None:
    if len(embeds) > 10:
        raise bad_length("embeds", 0, 10)
    total = 0
    for index, embed in enumerate(embeds):
        for name, most in EMBED_LIMITS.items():
            text = str(embed.get(name) or "")
            total += length_of(text)
            if length_of(text) > most:
                raise too_long(f"embeds.{index}.{name}", most)
        if len(embed.get("fields") or []) > 25:
            raise too_long(f"embeds.{index}.fields", 25)
        for place, field in enumerate(embed.get("fields") or []):
            for name, most in (("name", 256), ("value", 1024)):
                if not field.get(name):
                    raise required(f"embeds.{index}.fields.{place}.{name}")
                total += length_of(field[name])
                if length_of(field[name]) > most:
                    raise too_long(f"embeds.{index}.fields.{place}.{name}", most)
    if total > 6000:
        raise invalid_form("embeds", "MAX_EMBED_SIZE_EXCEEDED", "Embed size exceeds maximum size of 6000")


def _check_rows(rows: list[Json]) -> None:
    if len(rows) > 5:
        raise bad_length("components", 1, 5)
    seen: set[str] = set()
    for index, row in enumerate(rows):
        path = f"components.{index}"
        if row.get("type") != ROW:
            raise bad_choice(f"{path}.type", "1")
        inner = row.get("components") or []
        if not 1 <= len(inner) <= 5:
            raise bad_length(f"{path}.components", 1, 5)
        for place, component in enumerate(inner):
            _check_component(f"{path}.components.{place}", component, seen, alone=len(inner) == 1)


def _check_component(path: str, component: Json, seen: set[str], *, alone: bool) -> None:
    kind = component.get("type")
    if kind == BUTTON:
        _check_button(path, component)
    elif kind in shapes.SELECTS:
        if not alone:
            raise invalid_form(path, "COMPONENT_LAYOUT_WIDTH_EXCEEDED", "The specified component exceeds the maximum width")
        if kind == STRING_SELECT:
            _check_options(path, component.get("options") or [])
    else:
        raise bad_choice(f"{path}.type", "2, 3, 5, 6, 7, 8")
    custom_id = component.get("custom_id")
    if custom_id is None:
        if kind == BUTTON and component["style"] in {LINK, PREMIUM}:
            return
        raise required(f"{path}.custom_id")
    _check_text(f"{path}.custom_id", custom_id, 100)
    if custom_id in seen:
        raise invalid_form(f"{path}.custom_id", "COMPONENT_CUSTOM_ID_DUPLICATED", "Component custom id cannot be duplicated")
    seen.add(custom_id)


def _check_button(path: str, button: Json) -> None:
    style = button.get("style")
    if style not in range(1, 7):
        raise bad_choice(f"{path}.style", "1, 2, 3, 4, 5, 6")
    if style == LINK:
        if not button.get("url"):
            raise invalid_form(f"{path}.url", "BUTTON_COMPONENT_URL_REQUIRED", "A url is required")
        if button.get("custom_id") is not None:
            raise invalid_form(path, "BUTTON_COMPONENT_CUSTOM_ID_AND_URL", "A custom id and url cannot both be specified")
    if style != PREMIUM and not button.get("label") and not button.get("emoji"):
        raise invalid_form(f"{path}.label", "BUTTON_COMPONENT_LABEL_REQUIRED", "A label or emoji is required")
    if button.get("label"):
        _check_text(f"{path}.label", button["label"], 80)


def _check_options(path: str, options: list[Json]) -> None:
    if not 1 <= len(options) <= 25:
        raise bad_length(f"{path}.options", 1, 25)
    values: set[str] = set()
    for index, option in enumerate(options):
        _check_text(f"{path}.options.{index}.label", option.get("label"), 100)
        _check_text(f"{path}.options.{index}.value", option.get("value"), 100)
        if option["value"] in values:
            raise invalid_form(
                f"{path}.options.{index}.value",
                "SELECT_COMPONENT_OPTION_VALUE_DUPLICATED",
                "The specified option value is already used",
            )
        values.add(option["value"])


def _check_text(path: str, value: Any, most: int) -> None:
    if value is None or value == "":
        raise required(path)
    if not isinstance(value, str):
        raise invalid_form(path, "BASE_TYPE_STRING", "Must be a string.")
    if length_of(value) > most:
        raise bad_length(path, 1, most)
