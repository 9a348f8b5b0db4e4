"""Every name of an error that Slack documents for the methods that are called, and those that nobody knows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.channels.slack.errors import COMMON, SPECIAL, Purpose, SlackError, gateway_error, kind_of
from gatewayd.model.errors import GatewayError, NeedsOperator, OutcomeUnknown, SendRejected, TryAgain

DOCUMENTED = {
    "auth.test": "",
    "chat.postMessage": (
        "as_user_not_supported attachment_payload_limit_exceeded cannot_reply_to_message channel_not_found draft_already_deleted"
        " draft_already_sent draft_has_conflict draft_not_found duplicate_channel_not_found duplicate_message_not_found"
        " invalid_blocks invalid_blocks_format invalid_metadata_format invalid_metadata_schema is_archived markdown_text_conflict"
        " message_limit_exceeded messages_tab_disabled metadata_must_be_sent_from_app metadata_too_large missing_file_data"
        " msg_blocks_too_long no_text not_in_channel rate_limited restricted_action restricted_action_non_threadable_channel"
        " restricted_action_read_only_channel restricted_action_thread_locked restricted_action_thread_only_channel"
        " slack_connect_canvas_sharing_blocked slack_connect_file_link_sharing_blocked slack_connect_lists_sharing_blocked"
        " team_not_found too_many_attachments too_many_contact_cards"
    ),
    "chat.update": (
        "as_user_not_supported block_mismatch blocked_file_type cant_broadcast_message cant_update_message channel_not_found"
        " edit_window_closed external_channel_migrating file_deleted file_is_deleted file_not_found file_share_limit_reached"
        " invalid_attachments invalid_blocks invalid_blocks_format invalid_metadata_format invalid_metadata_schema is_inactive"
        " markdown_text_conflict max_file_sharing_exceeded message_limit_exceeded message_not_found"
        " metadata_must_be_sent_from_app metadata_too_large msg_too_long no_dual_broadcast_content_update no_text"
        " posting_to_channel_denied slack_connect_blocked_file_type slack_connect_canvas_sharing_blocked"
        " slack_connect_clip_sharing_blocked slack_connect_file_link_sharing_blocked slack_connect_file_upload_sharing_blocked"
        " streaming_state_conflict team_not_found too_many_attachments unable_to_share_files update_failed"
    ),
    "chat.postEphemeral": (
        "cannot_reply_to_message channel_not_found invalid_attachments invalid_blocks invalid_blocks_format is_archived"
        " markdown_text_conflict message_limit_exceeded messages_tab_disabled msg_too_long no_text not_in_channel"
        " restricted_action too_many_attachments user_not_in_channel"
    ),
    "chat.startStream": (
        "channel_not_found channel_type_not_supported duplicate_channel_not_found duplicate_message_not_found invalid_blocks"
        " invalid_blocks_format invalid_chunks invalid_metadata_format invalid_metadata_schema is_archived message_limit_exceeded"
        " messages_tab_disabled messaging_processing_failed metadata_must_be_sent_from_app metadata_too_large"
        " missing_recipient_team_id missing_recipient_user_id msg_blocks_too_long msg_blocks_too_many no_text not_in_channel"
        " rate_limited restricted_action restricted_action_thread_locked team_not_found user_not_found"
    ),
    "chat.appendStream": (
        "message_not_found message_not_in_streaming_state message_not_owned_by_app messaging_processing_failed stopped_by_user"
        " invalid_chunks too_many_contact_cards"
    ),
    "chat.stopStream": (
        "attachment_payload_limit_exceeded cannot_reply_to_message message_not_found message_not_in_streaming_state"
        " message_not_owned_by_app missing_file_data msg_blocks_too_long msg_blocks_too_many"
    ),
    "chat.delete": "cant_delete_message channel_not_found message_not_found",
    "conversations.history": (
        "channel_is_limited_access channel_not_found invalid_cursor invalid_metadata_filter_keys invalid_ts_latest"
        " invalid_ts_oldest not_in_channel"
    ),
    "conversations.replies": (
        "channel_not_found invalid_cursor invalid_metadata_filter_keys invalid_ts_latest invalid_ts_oldest"
        " list_record_comment_fetch_failed method_not_supported_for_channel_type thread_not_found"
    ),
    "conversations.info": "channel_is_limited_access channel_not_found",
    "conversations.open": (
        "channel_not_found invalid_user_combination method_not_supported_for_channel_type not_enough_users too_many_users"
        " user_disabled user_not_found user_not_visible users_list_not_supplied"
    ),
    "users.info": "too_many_users user_not_found user_not_visible",
    "users.conversations": ("invalid_cursor invalid_limit invalid_types method_not_supported_for_channel_type missing_argument"),
    "bots.info": "bot_not_found bots_not_found missing_argument team_not_found",
    "files.delete": "cant_delete_file delete_not_allowed file_deleted file_deleting_disabled file_not_found",
    "files.info": (
        "canvas_disabled_file_team canvas_disabled_user_team canvas_globally_disabled file_deleted file_not_found not_visible"
        " slack_connect_canvas_sharing_blocked template_not_visible"
    ),
    "files.getUploadURLExternal": (
        "alt_txt_too_large file_type_not_allowed file_upload_size_restricted file_uploads_disabled"
        " file_uploads_except_images_disabled missing_argument snippet_too_large storage_limit_reached unknown_snippet_type"
        " unknown_subtype"
    ),
    "files.completeUploadExternal": (
        "channel_not_found channels_limit_exceeded file_not_found file_type_not_allowed file_update_failed"
        " file_uploads_except_images_disabled invalid_blocks invalid_channel not_in_channel posting_to_channel_denied"
    ),
    "apps.connections.open": "forbidden_team insecure_request missing_args",
    "assistant.threads.setStatus": "channel_not_found invalid_thread_ts reserved_username",
}
"""docs.slack.dev/reference/methods, under "Errors"."""

ON_EVERY_PAGE = (
    "access_denied accesslimited account_inactive deprecated_endpoint ekm_access_denied enterprise_is_restricted fatal_error"
    " internal_error invalid_arg_name invalid_arguments invalid_array_arg invalid_auth invalid_charset invalid_form_data"
    " invalid_post_type method_deprecated missing_post_type missing_scope no_permission not_allowed_token_type not_authed"
    " org_login_required ratelimited request_timeout service_unavailable team_access_not_granted team_added_to_org token_expired"
    " token_revoked two_factor_setup_required"
)
PURPOSES: tuple[Purpose, ...] = ("send", "own", "fetch")


@pytest.mark.parametrize("method", DOCUMENTED)
def test_every_documented_name_is_known(method: str) -> None:
    names = {*DOCUMENTED[method].split(), *ON_EVERY_PAGE.split()}
    assert {name for name in names if kind_of(SlackError(method, name)) is None} == set()


def test_the_names_of_every_page_are_in_their_table() -> None:
    assert set(COMMON) == set(ON_EVERY_PAGE.split())
    assert not set(COMMON) & set(SPECIAL)


@pytest.mark.parametrize("name", [*COMMON, *SPECIAL])
def test_each_reason_names_the_error_and_what_helps_in_one_sentence(name: str) -> None:
    for purpose in PURPOSES:
        reason = gateway_error(SlackError("chat.postMessage", name), purpose).reason
        begin, _, cure = reason.partition(f"{name}: ")
        assert begin == "Slack chat.postMessage answered "
        assert len(cure) > 10
        assert not cure.endswith(".")


@pytest.mark.parametrize(
    ("purpose", "name", "kind", "words"),
    [
        ("send", "invalid_auth", NeedsOperator, "does not accept the token"),
        ("own", "token_revoked", NeedsOperator, "install the app again"),
        ("own", "account_inactive", NeedsOperator, "was deleted"),
        ("own", "token_expired", NeedsOperator, "token rotation"),
        ("send", "not_in_channel", SendRejected, "/invite"),
        ("fetch", "not_in_channel", SendRejected, "/invite"),
        ("send", "is_archived", SendRejected, "unarchive"),
        ("send", "msg_too_long", SendRejected, "too long"),
        ("send", "restricted_action_of_next_year", SendRejected, "an admin"),
        ("send", "ratelimited", TryAgain, "ends by itself"),
        ("own", "ratelimited", TryAgain, "ends by itself"),
        ("own", "link_disabled", NeedsOperator, "Socket Mode is off"),
        ("own", "team_access_not_granted", NeedsOperator, "not installed in this workspace"),
        ("send", "fatal_error", OutcomeUnknown, "may have been done"),
        ("fetch", "fatal_error", TryAgain, "Slack failed"),
        ("own", "service_unavailable", TryAgain, "not available"),
        ("send", "a_name_of_next_year", OutcomeUnknown, "does not know"),
        ("fetch", "a_name_of_next_year", TryAgain, "does not know"),
        ("own", "a_name_of_next_year", NeedsOperator, "does not know"),
    ],
)
def test_what_an_error_means(purpose: Purpose, name: str, kind: type[GatewayError], words: str) -> None:
    error = gateway_error(SlackError("some.method", name), purpose)
    assert type(error) is kind
    assert words in error.reason
    assert not isinstance(error, NeedsOperator) or error.retries_slowly


@pytest.mark.parametrize(
    ("purpose", "needed", "kind"),
    [
        ("send", "files:write", SendRejected),
        ("send", "chat:write", NeedsOperator),
        ("fetch", "files:read", SendRejected),
        ("own", "connections:write", NeedsOperator),
    ],
)
def test_a_missing_scope_is_named_with_the_place_to_add_it(purpose: Purpose, needed: str, kind: type[GatewayError]) -> None:
    error = gateway_error(SlackError("some.method", "missing_scope", needed=needed, provided="im:read"), purpose)
    assert type(error) is kind
    assert error.reason == (
        f"Slack some.method answered missing_scope ({needed}): add it under"
        ' "OAuth & Permissions", install the app again, and copy the new token'
    )


@pytest.mark.parametrize("name", ["invalid_auth", "missing_args", "missing_scope", "not_allowed_token_type", "token_revoked"])
def test_what_is_wrong_with_the_app_token_is_said_of_the_app_token(name: str) -> None:
    error = gateway_error(SlackError("apps.connections.open", name), "own")
    assert isinstance(error, NeedsOperator)
    assert error.reason.endswith('with the scope connections:write: generate one under "Basic Information"')


@pytest.mark.parametrize(
    ("status", "purpose", "kind"),
    [
        (302, "own", NeedsOperator),
        (302, "send", NeedsOperator),
        (404, "send", TryAgain),
        (403, "own", TryAgain),
        (408, "send", OutcomeUnknown),
        (413, "send", SendRejected),
        (502, "send", OutcomeUnknown),
        (200, "send", OutcomeUnknown),
        (200, "fetch", TryAgain),
        (503, "own", TryAgain),
    ],
)
def test_what_is_no_answer_of_the_web_api(status: int, purpose: Purpose, kind: type[GatewayError]) -> None:
    assert type(gateway_error(SlackError("some.method", "", status=status), purpose)) is kind


@given(st.text(), st.integers(0, 999), st.sampled_from(PURPOSES))
def test_every_name_and_status_means_something(name: str, status: int, purpose: Purpose) -> None:
    error = gateway_error(SlackError("some.method", name, status=status), purpose)
    assert error.reason.startswith("Slack some.method")
    assert not isinstance(error, TryAgain) or error.scope == "conversation"
