"""Faults of a store, as small as they come: one operation of the store of the guide does one thing wrong."""

# mypy: disable-error-code="override, no-untyped-def, no-untyped-call, no-any-return"

from typing import Any, Final

import anyio
from msgspec import Struct
from msgspec.structs import replace

from contrib.examples.memory_store import MemoryStore
from gatewayd.model.errors import Conflict, NotFound


class Fault(Struct, frozen=True):
    """``store`` has the operation with the fault, ``test`` is the one of the contract that must find it."""

    name: str
    operation: str
    store: type[MemoryStore]
    test: str


FAULTS: Final[list[Fault]] = []


def fault(operation: str, test: str):
    """The decorated function takes the operation's place; its name says what is wrong. It gets the store and the right way."""

    def plant(wrong):
        async def planted(self: MemoryStore, *values: Any, **named: Any) -> Any:
            async def right(*values: Any, **named: Any) -> Any:
                return await getattr(super(broken, self), operation)(*values, **named)

            return await wrong(self, right, *values, **named)

        broken = type("Broken", (MemoryStore,), {operation: planted})
        FAULTS.append(Fault(wrong.__name__.replace("_", " "), operation, broken, test))
        return wrong

    return plant


def nothing(operation: str, test: str, result: Any = None) -> None:
    """It does nothing, and gives the same each time."""

    async def it_does_nothing(self, right, *values, **named):
        return result

    it_does_nothing.__name__ = f"{operation}_does_nothing"
    fault(operation, test)(it_does_nothing)


def slow(operation: str, test: str, *, seen: str) -> None:
    """Tasks look at what there is, and then wait before they change it: each finds it as it was."""

    async def it_waits(self, right, *values, **named):
        before = dict(getattr(self, seen))
        await anyio.lowlevel.checkpoint()
        now, numbers = getattr(self, seen), self._numbers.copy()
        setattr(self, seen, before)
        self._numbers.clear()
        self._numbers.update(numbers)
        try:
            return await right(*values, **named)
        finally:
            merged = {**now, **getattr(self, seen)}
            setattr(self, seen, merged)

    it_waits.__name__ = f"{operation}_is_not_alone"
    fault(operation, test)(it_waits)


# Races: each finds the rows as they were when it was called.
slow("add_inbound", "test_one_of_many_deliveries_of_a_message_is_new", seen="_inbound")
slow("end_inbound", "test_one_of_many_ends_of_a_message_writes_its_replies", seen="_inbound")
slow("start_turn", "test_every_attempt_is_counted", seen="_inbound")
slow("mark_sending", "test_one_of_many_sends_a_reply", seen="_outbound")
slow("settle_outbound", "test_each_notice_is_asked_for_with_those_before_it", seen="_outbound")
slow("decide_approval", "test_one_of_many_decides", seen="_approvals")
slow("vote_approval", "test_every_vote_sees_those_before_it", seen="_approvals")
slow("consume_approval", "test_one_of_many_uses_what_was_allowed", seen="_approvals")
slow("add_approval", "test_a_request_is_added_once", seen="_approvals")
slow("end_question", "test_one_of_many_answers_a_question", seen="_questions")
slow("take_token", "test_one_of_many_takes_a_code", seen="_tokens")
slow("exchange_token", "test_one_of_many_exchanges_a_code", seen="_tokens")
slow("decide_pairing", "test_one_of_many_decides_about_a_stranger", seen="_pairings")
slow("add_pairing", "test_a_stranger_has_one_code_and_a_code_one_stranger", seen="_pairings")
slow("retry_dead_letters", "test_one_of_many_repairs_a_dead_letter", seen="_inbound")
slow("drop_dead_letters", "test_one_of_many_repairs_a_dead_letter", seen="_outbound")
slow("add_audit", "test_the_audit_log_is_one_chain", seen="_audit")

# Operations that do nothing.
nothing("find_inbound", "test_a_key_is_of_one_account")
nothing("get_inbound", "test_envelopes_come_back_as_they_were_in_order")
nothing("note_stop", "test_a_stop_is_counted_while_the_turn_runs")
nothing("pending_inbound", "test_pending_rows_are_paged_by_id", [])
nothing("add_outbound", "test_drafts_come_back_as_they_were_in_order", [])
nothing("ready_numbers", "test_drafts_come_back_as_they_were_in_order", [])
nothing("ready_among", "test_drafts_come_back_as_they_were_in_order", [])
nothing("get_outbound", "test_drafts_come_back_as_they_were_in_order")
nothing("outbound_by", "test_replies_are_found_by_what_they_are_about", [])
nothing("inbound_by", "test_messages_and_replies_are_found_by_every_key", [])
nothing("get_question", "test_requests_and_questions_are_found_by_their_turn_and_id")
nothing("audit_about", "test_the_newest_entries_about_a_row_are_found", [])
nothing("transcript", "test_a_transcript_is_in_the_order_of_time", [])
nothing("list_dead_letters", "test_only_what_wants_a_look_is_a_dead_letter", [])
nothing("oldest_dead_letters", "test_pages_go_both_ways", [])
nothing("get_dead_letter", "test_the_dead_letters_of_a_messages_turn_stand_around_it")
nothing("get_approval", "test_by_id_or_by_code_in_any_case_and_the_newest_of_one_code")
nothing("approvals_of", "test_a_request_is_added_once", [])
nothing("find_grant", "test_a_grant_is_found_by_each_of_its_inputs")
nothing("add_question", "test_a_question_that_is_asked_again_is_the_first_row")
nothing("questions_of", "test_a_question_that_is_asked_again_is_the_first_row", [])
nothing("add_events", "test_numbers_grow_by_one_in_order", [])
nothing("events_after", "test_numbers_grow_by_one_in_order", [])
nothing("event_bounds", "test_numbers_grow_by_one_in_order", (0, 0))
nothing("prune_events", "test_pruning_leaves_the_newest", 0)
nothing("audit_after", "test_entries_are_numbered_chained_and_read_in_pieces", [])
nothing("audit_head", "test_entries_are_numbered_chained_and_read_in_pieces")
nothing("save_state", "test_a_state_value_belongs_to_its_account_and_key")
nothing("load_state", "test_a_state_value_belongs_to_its_account_and_key")
nothing("forget_state", "test_a_state_value_is_forgotten_alone_and_more_than_once")
nothing("put_session", "test_a_session_is_kept_and_replaced")
nothing("get_session", "test_a_session_is_kept_and_replaced")
nothing("put_token", "test_a_token_is_kept_replaced_and_deleted")
nothing("get_token", "test_a_token_is_kept_replaced_and_deleted")
nothing("delete_token", "test_a_token_is_kept_replaced_and_deleted")
nothing("list_tokens", "test_tokens_are_listed_by_kind", [])
nothing("delete_expired_tokens", "test_expired_tokens_are_deleted_and_lasting_ones_kept", 0)
nothing("revoke_pairing", "test_a_revoked_sender_is_not_paired", True)
nothing("prune_reports", "test_a_report_without_a_message_waits_for_a_time", 0)
nothing("sweep", "test_old_rows_go_and_young_ones_and_those_that_wait_stay")


@fault("add_inbound", "test_state_is_saved_even_when_nothing_is_new")
async def state_is_lost_when_nothing_is_new(self, right, envelopes, *, state=(), reports=()):
    journaled = await right(envelopes, reports=reports)
    for value in state if journaled.rows else ():
        await self.save_state(*value)
    return journaled


@fault("add_inbound", "test_event_keys_belong_to_an_account")
async def a_key_is_known_in_every_account(self, right, envelopes, **named):
    return await right(list({envelope.event_key: envelope for envelope in envelopes}.values()), **named)


@fault("add_inbound", "test_what_was_delivered_and_read_is_stored_once_in_any_order")
async def reports_are_not_stored(self, right, envelopes, *, reports=(), **named):
    return await right(envelopes, **named)


@fault("add_inbound", "test_what_was_delivered_and_read_is_stored_once_in_any_order")
async def the_newest_report_counts(self, right, envelopes, *, reports=(), **named):
    for *_, report in reports:
        self._outbound = {number: replace(row, **{f"{report.kind}_at": None}) for number, row in self._outbound.items()}
    return await right(envelopes, reports=reports, **named)


@fault("add_inbound", "test_a_report_may_come_before_the_receipt")
async def a_report_before_its_receipt_is_lost(self, right, envelopes, **named):
    journaled = await right(envelopes, **named)
    self._reports.clear()
    return journaled


@fault("add_inbound", "test_what_could_not_be_delivered_is_a_dead_letter_and_can_be_retried")
async def a_failure_is_ignored(self, right, envelopes, *, reports=(), **named):
    return await right(envelopes, reports=[report for report in reports if report[2].kind != "failed"], **named)


@fault("add_inbound", "test_a_report_is_of_one_account_and_of_no_edit")
async def a_report_is_of_any_account(self, right, envelopes, *, reports=(), **named):
    accounts = {(row.channel, row.account) for row in self._outbound.values()}
    return await right(envelopes, reports=[(*each, report) for *_, report in reports for each in accounts], **named)


@fault("add_inbound", "test_only_so_many_reports_of_an_account_wait_and_the_oldest_go")
async def any_number_of_reports_waits(self, right, envelopes, *, reports=(), **named):
    journaled = await right(envelopes, **named)
    for report in reports:
        before = self._reports
        self._reports = {}
        journaled.reported.extend((await right([], reports=[report])).reported)
        self._reports = {**before, **self._reports}
    return journaled


@fault("settle_outbound", "test_a_failure_that_comes_before_the_receipt_is_a_failure")
async def a_failure_before_the_receipt_is_ignored(self, right, number, state, **named):
    self._reports = {key: found for key, found in self._reports.items() if key[2] != "failed"}
    return await right(number, state, **named)


@fault("settle_outbound", "test_a_report_that_waits_is_kept_when_its_row_is_not_sent_now")
async def a_report_that_waits_is_used_up_by_any_settlement(self, right, number, state, **named):
    settled = await right(number, state, **named)
    self._reports.clear()
    return settled


@fault("settle_outbound", "test_a_failure_before_the_receipt_counts_for_nothing_beside_a_delivery")
async def a_failure_counts_beside_a_delivery(self, right, number, state, **named):
    failed = [report for key, (_, report) in self._reports.items() if key[2] == "failed"]
    settled = await right(number, state, **named)
    for report in failed:
        self._put(self._outbound[number], state="dead", reason=report.reason)
    return settled


@fault("end_inbound", "test_ending_writes_the_replies_once")
async def replies_are_written_again(self, right, ids, *, replies=(), now, **named):
    return await right(ids, replies=replies, now=now, **named) or await self.add_outbound(replies, now=now)


@fault("start_turn", "test_an_ended_row_does_not_run_again")
async def what_has_ended_runs_again(self, right, ids, **named):
    for number in ids:
        self._put(self._inbound[number], state="received")
    await right(ids, **named)


@fault("mark_sending", "test_only_a_ready_row_is_sent_and_once")
async def whatever_there_is_is_sent(self, right, number):
    await right(number)
    return number in self._outbound


@fault("settle_outbound", "test_a_sent_row_stays_sent")
async def what_was_sent_becomes_something_else(self, right, number, state, **named):
    self._put(self._outbound[number], state="sending")
    return await right(number, state, **named)


@fault("settle_outbound", "test_a_receipt_is_kept")
async def a_receipt_is_dropped(self, right, number, state, *, receipt=None, **named):
    return await right(number, state, **named)


@fault("settle_outbound", "test_try_again_puts_a_row_back_with_its_time")
async def the_time_of_the_next_attempt_is_dropped(self, right, number, state, *, next_attempt_at=None, **named):
    return await right(number, state, **named)


@fault("recover_outbound", "test_recovery_changes_rows_of_its_own_accounts_only")
async def rows_of_others_are_recovered_too(self, right, accounts, **named):
    every = {(row.channel, row.account) for row in self._outbound.values()}
    return await right(every, **named)


@fault("recover_outbound", "test_a_send_that_was_cut_is_ready_again_where_the_rule_says_so")
async def everything_is_sent_again(self, right, accounts, *, resend=None, **named):
    return await right(accounts, resend=lambda row: True, **named)


@fault("recover_outbound", "test_a_stale_row_with_a_doubt_is_unknown_after_a_start_and_its_chat_is_told")
async def a_stale_row_with_a_doubt_is_parked(self, right, accounts, **named):
    before = {row.id: row.state for row in self._outbound.values()}
    status = await right(accounts, **named)
    for number, state in before.items():
        if state == "ready" and self._outbound[number].state == "unknown":
            self._put(self._outbound[number], state="parked")
    return status


@fault("settle_outbound", "test_a_doubt_begins_with_the_first_send_that_was_cut_and_outlives_the_later_ones")
async def a_doubt_is_forgotten_by_the_next_send(self, right, number, state, *, in_doubt=None, **named):
    return await right(number, state, in_doubt=bool(in_doubt), **named)


@fault("settle_outbound", "test_a_doubt_begins_with_the_first_send_that_was_cut_and_outlives_the_later_ones")
async def a_doubt_begins_anew_with_each_send(self, right, number, state, *, in_doubt=None, **named):
    if in_doubt:
        self._put(self._outbound[number], doubt_since=None)
    return await right(number, state, in_doubt=in_doubt, **named)


@fault("settle_outbound", "test_a_doubt_ends_when_the_row_was_sent_or_surely_had_no_effect")
async def a_doubt_never_ends(self, right, number, state, **named):
    since = self._outbound[number].doubt_since
    found = await right(number, state, **named)
    if since is not None:
        self._put(self._outbound[number], doubt_since=since)
    return found


@fault("settle_outbound", "test_a_row_with_a_doubt_is_never_said_to_be_unseen")
async def what_may_have_been_seen_ends_as_never_seen(self, right, number, state, **named):
    if state in ("parked", "dead"):
        self._put(self._outbound[number], doubt_since=None)
    return await right(number, state, **named)


@fault("settle_outbound", "test_a_row_that_was_never_tried_is_not_unknown")
async def what_was_never_tried_is_unknown(self, right, number, state, **named):
    self._put(self._outbound[number], state="sending")
    return await right(number, state, **named)


@fault("settle_outbound", "test_an_unknown_row_has_a_doubt")
async def a_row_is_unknown_since_never(self, right, number, state, **named):
    found = await right(number, state, **named)
    self._put(self._outbound[number], doubt_since=None)
    return found


@fault("retry_dead_letters", "test_what_could_not_be_delivered_has_failed_again_if_its_retry_has_the_same_receipt")
async def a_retry_forgets_what_was_reported(self, right, refs, rule, *, now):
    repairs = await right(refs, rule, now=now)
    self._reports.clear()
    return repairs


@fault("retry_dead_letters", "test_what_was_delivered_after_all_is_so_if_its_retry_has_the_same_receipt")
async def a_retry_keeps_the_failure_only(self, right, refs, rule, *, now):
    repairs = await right(refs, rule, now=now)
    self._reports = {key: found for key, found in self._reports.items() if key[2] == "failed"}
    return repairs


@fault("retry_dead_letters", "test_a_retry_by_a_person_keeps_the_doubt")
async def a_retry_forgets_the_doubt(self, right, refs, rule, *, now):
    repairs = await right(refs, rule, now=now)
    for repaired in repairs.done:
        self._put(repaired.row, doubt_since=None)
    return replace(repairs, done=[replace(each, row=replace(each.row, doubt_since=None)) for each in repairs.done])


@fault("recover_outbound", "test_recovery_leaves_no_row_sending_and_no_stale_row_ready")
async def nothing_is_stale(self, right, accounts, *, stale_before, **named):
    return await right(accounts, stale_before=0.0, **named)


@fault("settle_outbound", "test_a_bug_in_the_rule_settles_nothing")
async def a_settlement_that_fails_is_half_done(self, right, outbound_id, state, *, notice=None, **named):
    settled = await right(outbound_id, state, **named)
    return replace(settled, notice=self._add_notice(notice, self._outbound[outbound_id], named["now"]))


@fault("recover_outbound", "test_a_bug_in_the_rule_recovers_nothing")
async def a_recovery_that_fails_is_half_done(self, right, accounts, *, notice=None, **named):
    own = [row for row in self._outbound.values() if row.state == "sending"]
    status = await right(accounts, **named)
    for row in own:
        self._add_notice(notice, self._outbound[row.id], named["now"])
    return status


@fault("pending_inbound", "test_what_is_pending_is_of_the_given_accounts")
async def what_is_pending_is_everybodys(self, right, accounts, **named):
    return await right({(row.envelope.channel, row.envelope.account) for row in self._inbound.values()}, **named)


@fault("list_approvals", "test_what_a_turn_has_asked_is_of_the_accounts_of_its_messages")
async def requests_are_everybodys(self, right, state, *, limit, accounts=None):
    return await right(state, limit=limit)


@fault("list_approvals", "test_pending_rows_are_a_queue_and_the_others_a_history")
async def requests_are_in_the_wrong_order(self, right, state, **named):
    return (await right(state, **named))[::-1]


@fault("pending_questions", "test_what_a_turn_has_asked_is_of_the_accounts_of_its_messages")
async def questions_are_everybodys(self, right, *, limit, accounts=None):
    return await right(limit=limit)


@fault("claim_accounts", "test_a_gateway_has_the_accounts_it_ever_had_unless_another_one_claimed_them")
async def a_gateway_has_what_it_claims_now(self, right, gateway, accounts):
    await right(gateway, accounts)
    return sorted(accounts)


@fault("claim_accounts", "test_a_gateway_has_the_accounts_it_ever_had_unless_another_one_claimed_them")
async def the_first_one_keeps_an_account(self, right, gateway, accounts):
    return await right(gateway, [account for account in accounts if account not in self._accounts])


@fault("decide_approval", "test_a_decision_is_made_once")
async def a_decision_is_made_again(self, right, approval_id, state, **named):
    self._approvals = {seq: replace(row, state="pending") for seq, row in self._approvals.items()}
    return await right(approval_id, state, **named)


@fault("consume_approval", "test_nothing_but_allowed_is_consumed")
async def whatever_was_decided_is_used(self, right, approval_id, **named):
    usable = {s: replace(row, state="allowed") if row.state != "pending" else row for s, row in self._approvals.items()}
    self._approvals = usable
    return await right(approval_id, **named)


@fault("add_approval", "test_a_row_that_is_there_already_writes_no_second_entry")
async def an_entry_is_written_each_time(self, right, approval, *, audit=None):
    row = await right(approval)
    self._add_audit(audit)
    return row


@fault("vote_approval", "test_a_rule_that_says_none_changes_nothing")
async def an_entry_is_written_without_a_vote(self, right, approval_id, rule, *, audit):
    row = await right(approval_id, rule, audit=audit)
    if row is None:
        self._add_audit(audit)
    return row


@fault("vote_approval", "test_of_what_is_not_pending_the_rule_is_not_asked")
async def the_rule_is_asked_in_any_case(self, right, approval_id, rule, *, audit):
    for row in self._approvals.values():
        rule(row)
    return await right(approval_id, rule, audit=audit)


@fault("vote_approval", "test_a_grant_is_found_by_each_of_its_inputs")
async def nothing_is_granted(self, right, approval_id, rule, *, audit):
    row = await right(approval_id, rule, audit=audit)
    self._grants.clear()
    return row


@fault("end_question", "test_a_message_that_has_ended_already_keeps_its_reason")
async def every_message_is_taken_as_the_answer(self, right, question_id, state, *, inbound_ids=(), **named):
    for number in inbound_ids:
        self._put(self._inbound[number], state="received")
    return await right(question_id, state, inbound_ids=inbound_ids, **named)


@fault("end_question", "test_the_message_that_answered_ends_with_the_question")
async def the_answer_does_not_end(self, right, question_id, state, *, inbound_ids=(), **named):
    return await right(question_id, state, **named)


@fault("end_question", "test_a_question_ends_once")
async def a_question_ends_again(self, right, question_id, state, **named):
    self._questions = {seq: replace(row, state="pending") for seq, row in self._questions.items()}
    return await right(question_id, state, **named)


@fault("retry_dead_letters", "test_what_is_no_dead_letter_stays_as_it_is_whatever_the_rule_says")
async def whatever_the_rule_says_is_put_back(self, right, refs, rule, *, now):
    for row in [*self._inbound.values(), *self._outbound.values()]:
        self._put(row, state="dead", closed_at=None)
    return await right(refs, rule, now=now)


@fault("retry_dead_letters", "test_a_bug_in_the_rule_undoes_all")
async def a_retry_that_fails_is_half_done(self, right, refs, rule, *, now):
    for ref in refs:
        repairs = await right([ref], rule, now=now)
    return repairs


@fault("drop_dead_letters", "test_what_is_dropped_stays_what_it_was")
async def what_is_dropped_is_done(self, right, refs, rule, *, now):
    repairs = await right(refs, rule, now=now)
    for each in repairs.done:
        self._put(each.row, state="done" if each.row.state == "dead" else "sent")
    return repairs


@fault("count_dead_letters", "test_they_are_counted_with_the_oldest")
async def the_newest_counts_as_the_oldest(self, right):
    counts = await right()
    ends = [row.ended_at or 0.0 for row in self._inbound.values()] + [row.settled_at or 0.0 for row in self._outbound.values()]
    return replace(counts, oldest_dead_at=max(ends, default=None))


@fault("list_dead_letters", "test_every_filter_holds")
async def filters_are_passed_over(self, right, wanted, **named):
    return await right(type(wanted)(), **named)


@fault("sweep", "test_what_an_unsettled_reply_belongs_to_stays")
async def nothing_is_needed(self, right, kind, keeps, **named):
    return await right(kind, lambda row: keeps(replace(row, referrers=frozenset())), **named)


@fault("sweep", "test_a_bug_in_the_rule_deletes_nothing")
async def a_sweep_that_fails_is_half_done(self, right, kind, keeps, *, limit, after, **named):
    for _ in range(limit):
        swept = await right(kind, keeps, limit=1, after=after, **named)
        after = swept.after
    return swept


@fault("sweep", "test_rows_that_stay_do_not_slow_the_next_call")
async def there_is_never_more(self, right, kind, keeps, **named):
    return replace(await right(kind, keeps, **named), after=None)


@fault("outbound_by", "test_messages_and_replies_are_found_by_every_key")
async def rows_of_other_accounts_are_found(self, right, key, value, *, account=None, limit=None):
    return await right(key, value, limit=limit)


@fault("inbound_by", "test_messages_and_replies_are_found_by_every_key")
async def the_oldest_rows_are_found(self, right, key, value, *, account=None, limit=None):
    return (await right(key, value, account=account))[:limit]


@fault("find_session", "test_a_session_is_found_with_its_newest_turn")
async def a_session_is_nobodys(self, right, agent_id, session_id):
    return None


@fault("take_token", "test_a_one_time_code_is_taken_once_by_whoever_is_first")
async def a_code_works_again(self, right, digest):
    return await self.get_token(digest)


@fault("exchange_token", "test_what_is_gone_is_exchanged_for_nothing")
async def nothing_is_exchanged_for_a_session(self, right, digest, row):
    await self.put_token(row)
    return await right(digest, row)


@fault("add_pairing", "test_who_asks_again_gets_the_same_code")
async def who_asks_again_has_two_codes(self, right, row):
    return await right(replace(row, sender_id=row.sender_id + row.code))


@fault("decide_pairing", "test_codes_compare_without_case")
async def a_code_is_compared_with_case(self, right, code, state, **named):
    known = any(row.code == code for row in self._pairings.values())
    return await right(code, state, **named) if known else None


@fault("decide_pairing", "test_an_expired_code_is_void_and_replaced")
async def an_expired_code_counts(self, right, code, state, *, by, now):
    return await right(code, state, by=by, now=0.0)


@fault("list_pairings", "test_pairings_are_listed_oldest_first")
async def the_newest_pairings_come_first(self, right, state, **named):
    return (await right(state, **named))[::-1]


@fault("add_audit", "test_entries_are_numbered_chained_and_read_in_pieces")
async def an_entry_follows_no_other(self, right, draft):
    row = await right(draft)
    self._audit[row.seq] = replace(row, previous="0" * 64)
    return self._audit[row.seq]


@fault("prune_events", "test_pruning_leaves_the_newest")
async def numbers_begin_anew(self, right, *, keep):
    deleted = await right(keep=keep)
    self._numbers["event"] = len(self._events)
    return deleted


@fault("bytes_used", "test_it_is_told_how_much_is_stored")
async def nothing_takes_room(self, right):
    return 0


@fault("recover_outbound", "test_an_empty_outbox_counts_nothing")
async def something_always_waits(self, right, accounts, **named):
    status = await right(accounts, **named)
    return replace(status, ready=status.ready + 1)


@fault("add_approval", "test_asking_again_gives_the_first_row")
async def the_newest_request_is_the_answer(self, right, approval, *, audit=None):
    await right(approval, audit=audit)
    return approval


@fault("add_pairing", "test_two_senders_never_hold_one_code")
async def a_code_is_several_peoples(self, right, row):
    try:
        return await right(row)
    except Conflict:
        self._pairings[self._next("pairing")] = row
        return row


@fault("get_inbound", "test_what_is_not_there_is_none")
async def what_is_not_there_is_an_error(self, right, number):
    row = await right(number)
    if row is None:
        raise NotFound(f"there is no in-{number}")
    return row
