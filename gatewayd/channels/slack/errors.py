"""What each error of the Web API means for us, and what helps: one table. Pure.

An answer that is no success has ``ok`` false and the name of the error ("Web API", "Evaluating responses"). The names are those
of the pages of the methods that are called, and those of ``COMMON`` are on each of these pages. "Other errors can be returned in
the case where the service is down or other unexpected factors affect processing", each page adds: a name that is not known says
nothing of whether it was done.
"""

from typing import Final, Literal

from gatewayd.model.errors import GatewayError, NeedsOperator, OutcomeUnknown, SendRejected, TryAgain

Purpose = Literal["send", "own", "fetch"]
"""Sending to a conversation; the account's own life (auth.test, apps.connections.open); reading something that may not be there
(a history, a file, a user)."""

ErrorKind = Literal["operator", "rejected", "again", "perhaps"]
"""``operator``: the account cannot go on; it is parked, and tried slowly. ``rejected``: this call is refused for good.
``again``: surely not done, and may be done later. ``perhaps``: it may have been done."""

_COPY: Final = 'copy the token from "OAuth & Permissions" again'
_REINSTALL: Final = 'install the app again under "Install App", and copy the new token'
_ADMIN: Final = "an admin of the workspace has to allow it"
_APP_LEVEL: Final = (
    'app_token has to be an app-level token (xapp-…) with the scope connections:write: generate one under "Basic Information"'
)
_OF_TOKENS: Final = frozenset(
    {"invalid_auth", "missing_args", "missing_scope", "not_allowed_token_type", "not_authed", "token_expired", "token_revoked"}
)
"""What is wrong with a token. That of apps.connections.open is another one than all others."""
_BUG: Final = "the request of gatewayd is not as Slack wants it: please report it"
_LATER: Final = "Slack says that this ends by itself"
_INVITE: Final = "write /invite and the name of the bot in the channel"
_CONNECT: Final = "an admin has forbidden it in channels with other workspaces"
_ANOTHER_TYPE: Final = "an admin forbids this type of file"

COMMON: Final[dict[str, tuple[ErrorKind, str]]] = {
    "access_denied": ("rejected", "the bot may not see this"),
    "accesslimited": ("operator", "Slack takes no calls from this network: check the app's allowed IP addresses"),
    "account_inactive": ("operator", f"the bot's user or the workspace was deleted: {_REINSTALL}"),
    "deprecated_endpoint": ("rejected", _BUG),
    "ekm_access_denied": ("operator", "the admins of the organisation have suspended posting (key management)"),
    "enterprise_is_restricted": ("operator", "this cannot be called for an organisation: install the app in a workspace"),
    "fatal_error": ("perhaps", "Slack failed; a part of it may have been done"),
    "internal_error": ("perhaps", "Slack failed; a part of it may have been done"),
    "invalid_arg_name": ("rejected", _BUG),
    "invalid_arguments": ("rejected", _BUG),
    "invalid_array_arg": ("rejected", _BUG),
    "invalid_auth": ("operator", f"Slack does not accept the token, or not from this IP address: {_COPY}"),
    "invalid_charset": ("rejected", _BUG),
    "invalid_form_data": ("rejected", _BUG),
    "invalid_post_type": ("rejected", _BUG),
    "method_deprecated": ("rejected", _BUG),
    "missing_post_type": ("rejected", _BUG),
    "missing_scope": ("rejected", 'add it under "OAuth & Permissions", install the app again, and copy the new token'),
    "no_permission": ("rejected", f"the bot is not allowed to do this; if it is not in the channel, {_INVITE}"),
    "not_allowed_token_type": ("operator", "this is not the token of a bot: bot_token begins with xoxb-, app_token with xapp-"),
    "not_authed": ("operator", f"no token has arrived at Slack: {_COPY}, and check what is between us and Slack"),
    "org_login_required": ("operator", "the workspace is being moved into an organisation: it works again when that is done"),
    "ratelimited": ("again", _LATER),
    "request_timeout": ("perhaps", "the request did not arrive as a whole"),
    "service_unavailable": ("perhaps", "Slack is not available"),
    "team_access_not_granted": ("operator", "the app is not installed in this workspace of the organisation: add it there"),
    "team_added_to_org": ("operator", "the workspace is being moved into an organisation: it works again when that is done"),
    "token_expired": ("operator", f"the token has expired, so token rotation is on, which gatewayd does not do: {_REINSTALL}"),
    "token_revoked": ("operator", f"the token was revoked, or the app was removed: {_REINSTALL}"),
    "two_factor_setup_required": ("operator", "the account needs two-factor authentication first"),
}

SPECIAL: Final[dict[str, tuple[ErrorKind, str]]] = {
    # A conversation
    "cannot_dm_bot": ("rejected", "a bot cannot write to a bot"),
    "channel_is_limited_access": ("rejected", "the bot may not see this channel"),
    "channel_not_found": ("rejected", f"there is no such channel for the bot; in a private channel, {_INVITE}"),
    "channel_type_not_supported": ("rejected", "this cannot be done in a conversation of this type"),
    "external_channel_migrating": ("again", _LATER),
    "invalid_channel": ("rejected", f"there is no such channel for the bot; in a private channel, {_INVITE}"),
    "invalid_user_combination": ("rejected", "the bot shares no channel with this person of another organisation"),
    "is_archived": ("rejected", "the channel is archived: unarchive it, or take it out of the configuration"),
    "is_inactive": ("rejected", "the channel is archived or frozen"),
    "messages_tab_disabled": ("rejected", 'turn on the messages tab of the app under "App Home"'),
    "method_not_supported_for_channel_type": ("rejected", "this cannot be done in a conversation of this type"),
    "not_in_channel": ("rejected", _INVITE),
    "posting_to_channel_denied": ("rejected", f"the bot may not post files there: {_ADMIN}"),
    "posting_to_general_channel_denied": ("rejected", f"the bot may not post to the general channel: {_ADMIN}"),
    "restricted_action": ("rejected", f"a preference of the workspace forbids the bot to post there: {_ADMIN}"),
    "restricted_action_non_threadable_channel": ("rejected", 'the channel has no threads: set replies = "channel"'),
    "restricted_action_read_only_channel": ("rejected", f"the channel is read-only: {_ADMIN}"),
    "restricted_action_thread_locked": ("rejected", "the thread is locked"),
    "restricted_action_thread_only_channel": ("rejected", 'the channel has threads only: set replies = "thread"'),
    "team_not_found": ("rejected", "the workspace of the channel cannot be told"),
    # A person
    "bot_not_found": ("rejected", "there is no such bot"),
    "bots_not_found": ("rejected", "there is no such bot"),
    "not_enough_users": ("rejected", _BUG),
    "user_disabled": ("rejected", "this person's account is deactivated"),
    "user_not_found": ("rejected", "there is no such person in the workspace"),
    "user_not_in_channel": ("rejected", "this person is not in the channel"),
    "user_not_visible": ("rejected", "the bot may not see this person"),
    "users_list_not_supplied": ("rejected", _BUG),
    # A message
    "as_user_not_supported": ("rejected", _BUG),
    "attachment_payload_limit_exceeded": ("rejected", "the message is too long"),
    "block_mismatch": ("rejected", _BUG),
    "cannot_reply_to_message": ("rejected", "a message of this kind takes no replies"),
    "cant_broadcast_message": ("rejected", _BUG),
    "cant_delete_message": ("rejected", "the message is not one of the bot's"),
    "cant_update_message": ("rejected", "the message is not one of the bot's"),
    "duplicate_channel_not_found": ("rejected", _BUG),
    "duplicate_message_not_found": ("rejected", _BUG),
    "edit_window_closed": ("rejected", "the workspace allows edits for a limited time only"),
    "invalid_attachments": ("rejected", _BUG),
    "invalid_blocks": ("rejected", _BUG),
    "invalid_blocks_format": ("rejected", _BUG),
    "invalid_metadata_format": ("rejected", _BUG),
    "invalid_metadata_schema": ("rejected", _BUG),
    "invalid_thread_ts": ("rejected", "there is no such thread"),
    "markdown_text_conflict": ("rejected", _BUG),
    "message_limit_exceeded": ("again", "the workspace is sending too many messages for its plan"),
    "message_not_found": ("rejected", "the message was deleted"),
    "metadata_must_be_sent_from_app": ("rejected", "this is not the token of a bot"),
    "metadata_too_large": ("rejected", _BUG),
    "msg_blocks_too_long": ("rejected", "the message is too long"),
    "msg_blocks_too_many": ("rejected", "the message has too many blocks"),
    "msg_too_long": ("rejected", "the message is too long"),
    "no_dual_broadcast_content_update": ("rejected", _BUG),
    "no_text": ("rejected", "there is nothing in the message that Slack shows"),
    "rate_limited": ("again", _LATER),
    "reserved_username": ("rejected", _BUG),
    "thread_not_found": ("rejected", "there is no such thread, or its first message was deleted"),
    "update_failed": ("perhaps", "Slack failed"),
    # A draft of a person
    "draft_already_deleted": ("rejected", _BUG),
    "draft_already_sent": ("rejected", _BUG),
    "draft_has_conflict": ("rejected", _BUG),
    "draft_not_found": ("rejected", _BUG),
    # A message that is being streamed
    "invalid_chunks": ("rejected", _BUG),
    "message_not_in_streaming_state": ("rejected", "the stream has ended"),
    "message_not_owned_by_app": ("rejected", "the message is not one of the bot's"),
    "messaging_processing_failed": ("perhaps", "Slack failed"),
    "missing_recipient_team_id": ("rejected", "a stream in a channel wants to know for whom it is"),
    "missing_recipient_user_id": ("rejected", "a stream in a channel wants to know for whom it is"),
    "stopped_by_user": ("rejected", "somebody has stopped the stream"),
    "streaming_state_conflict": ("again", "the message is being streamed"),
    # A file
    "alt_txt_too_large": ("rejected", _BUG),
    "blocked_file_type": ("rejected", _ANOTHER_TYPE),
    "cant_delete_file": ("rejected", "the file is not one of the bot's"),
    "canvas_disabled_file_team": ("rejected", "canvases are switched off"),
    "canvas_disabled_user_team": ("rejected", "canvases are switched off"),
    "canvas_globally_disabled": ("rejected", "canvases are switched off"),
    "channels_limit_exceeded": ("rejected", _BUG),
    "delete_not_allowed": ("rejected", "this file cannot be deleted"),
    "file_deleted": ("rejected", "the file was deleted"),
    "file_deleting_disabled": ("rejected", "an admin forbids to delete files"),
    "file_is_deleted": ("rejected", "the file was deleted"),
    "file_not_found": ("rejected", "there is no such file for the bot"),
    "file_share_limit_reached": ("rejected", "the file was shared too often"),
    "file_type_not_allowed": ("rejected", _ANOTHER_TYPE),
    "file_update_failed": ("perhaps", "Slack failed"),
    "file_upload_size_restricted": ("rejected", "an admin forbids files of this size"),
    "file_uploads_disabled": ("rejected", "an admin forbids files"),
    "file_uploads_except_images_disabled": ("rejected", _ANOTHER_TYPE),
    "max_file_sharing_exceeded": ("rejected", "too many files in one message"),
    "missing_file_data": ("rejected", _BUG),
    "not_visible": ("rejected", "the bot may not see this file"),
    "slack_connect_blocked_file_type": ("rejected", _CONNECT),
    "slack_connect_canvas_sharing_blocked": ("rejected", _CONNECT),
    "slack_connect_clip_sharing_blocked": ("rejected", _CONNECT),
    "slack_connect_file_link_sharing_blocked": ("rejected", _CONNECT),
    "slack_connect_file_upload_sharing_blocked": ("rejected", _CONNECT),
    "slack_connect_lists_sharing_blocked": ("rejected", _CONNECT),
    "snippet_too_large": ("rejected", _BUG),
    "storage_limit_reached": ("rejected", "the workspace has no room for files any more"),
    "template_not_visible": ("rejected", "the bot may not see this file"),
    "unable_to_share_files": ("perhaps", "Slack failed"),
    "unknown_snippet_type": ("rejected", _BUG),
    "unknown_subtype": ("rejected", _BUG),
    # What is read
    "invalid_cursor": ("rejected", "what was read has changed meanwhile"),
    "invalid_limit": ("rejected", _BUG),
    "invalid_metadata_filter_keys": ("rejected", _BUG),
    "invalid_ts_latest": ("rejected", _BUG),
    "invalid_ts_oldest": ("rejected", _BUG),
    "invalid_types": ("rejected", _BUG),
    "list_record_comment_fetch_failed": ("again", "Slack failed"),
    "missing_args": ("operator", _APP_LEVEL),
    "missing_argument": ("rejected", _BUG),
    # Socket Mode ("Using Socket Mode"), and the answers to what is no method
    "forbidden_team": ("operator", "Slack does not allow Socket Mode in this workspace"),
    "insecure_request": ("rejected", _BUG),
    "link_disabled": ("operator", 'Socket Mode is off: turn it on under "Socket Mode" in the settings of the app'),
    "too_many_websockets": ("again", "this app has ten connections already: is app_token used elsewhere?"),
    "invalid_json": ("rejected", _BUG),
    "json_not_object": ("rejected", _BUG),
    "unknown_method": ("rejected", "this is not Slack's Web API, or not a new one: check api_base"),
}


class SlackError(Exception):
    """One answer that is no success; :func:`gateway_error` says what it means. Never leaves the driver.

    ``name`` is Slack's; "" when something else than the Web API answered. ``needed`` and ``provided`` are the scopes that a
    ``missing_scope`` names, ``messages`` what ``response_metadata`` says of the arguments.
    """

    def __init__(
        self,
        method: str,
        name: str,
        *,
        status: int = 200,
        retry_after_seconds: float | None = None,
        needed: str = "",
        provided: str = "",
        messages: tuple[str, ...] = (),
    ) -> None:
        super().__init__(f"{method}: {name or status}")
        self.method = method
        self.name = name
        self.status = status
        self.retry_after_seconds = retry_after_seconds
        self.needed = needed
        self.provided = provided
        self.messages = messages


def kind_of(error: SlackError) -> ErrorKind | None:
    """What is known of whether it was done; None: the name is new."""
    if error.name:
        return _row(error.name)[0]
    if 300 <= error.status < 400:
        return "operator"
    if error.status in (413, 414, 431):
        return "rejected"
    # Something in between has refused it, and Slack was not reached; or Slack, or what is before it, has failed. What answers
    # 408 may have passed the request on.
    return "again" if 400 <= error.status < 500 and error.status != 408 else "perhaps"


def gateway_error(error: SlackError, purpose: Purpose) -> GatewayError:
    """The error to raise for ``error``. Its reason names the method, the error, and what helps."""
    reason = _reason_of(error)
    match kind_of(error):
        case "rejected" if purpose == "own" or (error.name == "missing_scope" and "chat:write" in error.needed.split(",")):
            return NeedsOperator(reason, retries_slowly=True)
        case "rejected":
            return SendRejected(reason)
        case "operator":
            return NeedsOperator(reason, retries_slowly=True)
        case "again":
            return TryAgain(reason, after_seconds=error.retry_after_seconds, scope="conversation")
        case _ if purpose == "send":
            return OutcomeUnknown(reason)
        case "perhaps":
            return TryAgain(reason, scope="conversation")
        case None:
            return NeedsOperator(reason, retries_slowly=True) if purpose == "own" else TryAgain(reason, scope="conversation")


def _row(name: str) -> tuple[ErrorKind | None, str]:
    """The row of this name."""
    if name in COMMON:
        return COMMON[name]
    if name in SPECIAL:
        return SPECIAL[name]
    if name.startswith("too_many_"):
        return "rejected", "it has too many parts for Slack"
    # Slack adds reasons for which a workspace forbids something, and keeps the beginning of the name.
    if name.startswith(("restricted_action_", "slack_connect_")):
        return "rejected", _ADMIN
    return None, "gatewayd does not know this error"


def _reason_of(error: SlackError) -> str:
    if not error.name:
        if 300 <= error.status < 400:
            return f"Slack {error.method}: api_base redirects elsewhere; set it to the final address"
        if kind_of(error) == "rejected":
            return f"Slack {error.method}: too large, says the status {error.status}"
        return f"Slack {error.method}: answered by something else than the Web API, with the status {error.status}"
    what = f"Slack {error.method} answered {error.name}"
    if error.needed:
        what += f" ({error.needed})"
    of_app_token = error.method == "apps.connections.open" and error.name in _OF_TOKENS
    return "; ".join([f"{what}: {_APP_LEVEL if of_app_token else _row(error.name)[1]}", *error.messages])
