"""The promises of docs/delivery.md, each broken in the sources on purpose, and the tests that must notice it (hunt.py)."""

from __future__ import annotations

from typing import Final, NamedTuple

SIMULATIONS: Final = tuple(
    f"tests/sim/test_simulation.py::test_nothing_is_lost_or_sent_twice_whatever_fails[{first}]" for first in range(1, 61, 5)
)
"""The first sixty seeds; one of them must notice."""
_SEND: Final = "tests/flow/delivery/test_send.py"
_BINDS: Final = "tests/flow/delivery/test_send_binds.py"
_LEASE: Final = "tests/flow/delivery/test_lease.py"
_GUARD: Final = "tests/unit/service/test_guard.py"
_SETTLE: Final = "tests/flow/delivery/test_settle.py"
_CONTROL: Final = "tests/flow/delivery/test_control.py"
_LOCAL: Final = "tests/flow/delivery/test_local.py"
_MESSAGES: Final = "tests/store/test_messages.py"
_RECEIPTS: Final = "tests/store/test_receipts.py"
_UNKNOWN: Final = "tests/store/test_unknown.py"


class Edit(NamedTuple):
    """In `path`, `old`, which is there exactly once, becomes `new`."""

    path: str
    old: str
    new: str


class Mutant(NamedTuple):
    """One broken promise. Each of the tests in `noticed_by` must fail, and with `in_simulations` one of `SIMULATIONS` too."""

    name: str
    edits: tuple[Edit, ...]
    noticed_by: tuple[str, ...]
    in_simulations: bool = False

    @property
    def trials(self) -> list[tuple[str, ...]]:
        """Return groups of tests of each of which at least one must fail."""
        return [*((test,) for test in self.noticed_by), *([SIMULATIONS] if self.in_simulations else [])]


MUTANTS: Final = (
    Mutant(
        "sent before the lease is committed",
        (
            Edit(
                "broadcaster/store/writer.py",
                "                done.append((first[1], first[0](connection)))\n",
                "                done.append((first[1], first[0](connection)))\n"
                "                self._loop.call_soon_threadsafe(_resolve, done[:1])\n",
            ),
        ),
        ("tests/store/test_writer.py::test_nothing_is_resolved_while_its_commit_is_under_way",),
    ),
    Mutant(
        "what a crash left open is sent again",
        (
            Edit(
                "broadcaster/store/messages.py",
                'fate, reason = State.UNCERTAIN, "crash"',
                'fate, reason = State.RETRY, "released"',
            ),
            Edit(
                "broadcaster/store/messages.py",
                "    record_outcomes(connection, lost)\n",
                "    record_outcomes(connection, lost)\n    defer(connection, [(now_ms, message_id) for message_id in settled])\n",
            ),
        ),
        (f"{_MESSAGES}::test_what_a_crash_left_is_uncertain",),
        in_simulations=True,
    ),
    Mutant(
        "no end to open leases",
        (Edit("broadcaster/flow/send.py", "if self._open - self._outcomes.ended > size:", "if self._open > 20 * size:"),),
        (f"{_SEND}::test_everything_is_sent_once_within_window_and_lease_limits",),
        in_simulations=True,
    ),
    Mutant(
        "a receipt acknowledged before it is committed",
        (
            Edit(
                "broadcaster/flow/settle.py",
                "        self._storing = True\n        self._writer.submit(settle)",
                "        self._storing = True\n        self._acknowledge(batch, 0)\n        self._writer.submit(settle)",
            ),
            Edit("broadcaster/flow/settle.py", "            self._acknowledge(batch, STORE_FAILED if error else 0)\n", ""),
        ),
        (f"{_SETTLE}::test_nothing_is_acknowledged_before_it_is_durable",),
        in_simulations=True,
    ),
    Mutant(
        "commits that outlive a crash but no power failure",
        (Edit("broadcaster/store/engine.py", '"synchronous=FULL",', '"synchronous=NORMAL",'),),
        (
            "tests/store/test_engine.py::test_promises_of_a_connection",
            "tests/integration/test_power_loss.py::test_the_power_fails_again_and_again",
        ),
    ),
    Mutant(
        "leased without looking who refuses",
        (
            Edit(
                "broadcaster/store/messages.py",
                "count(*), count(o.token), {tokens}",
                "count(*), 0, {tokens}",
            ),
        ),
        (f"{_SEND}::test_a_refusal_in_the_database_is_obeyed_at_the_lease",),
        in_simulations=True,
    ),
    Mutant(
        "a refusal after the lease is overlooked",
        (
            Edit(
                "broadcaster/flow/send.py",
                "            if message.token in refused and message.may_be_refused() and not self.account.still_wants(message):\n",
                "            if False:\n",
            ),
        ),
        (f"{_SEND}::test_a_refusal_between_lease_and_first_part_is_obeyed",),
    ),
    Mutant(
        "no hold after a start",
        (Edit("broadcaster/flow/account.py", "START_HOLD_NS: Final = 1_001_000_000", "START_HOLD_NS: Final = 0"),),
        (f"{_SEND}::test_nothing_is_written_in_the_second_after_a_start",),
        in_simulations=True,
    ),
    Mutant(
        "receipts matched whatever carrier they come from",
        (Edit("broadcaster/store/receipts.py", "AND s.carrier = r.carrier ", ""),),
        (f"{_RECEIPTS}::test_number_carrier_and_id_must_all_fit",),
    ),
    Mutant(
        "receipts matched whatever number they name",
        (Edit("broadcaster/store/receipts.py", "AND m.id = s.message_id AND m.token = r.token AND", "AND m.id = s.message_id AND"),),
        (
            f"{_RECEIPTS}::test_number_carrier_and_id_must_all_fit",
            f"{_SETTLE}::test_a_receipt_for_somebody_else_is_kept_and_counts_for_nobody",
        ),
    ),
    Mutant(
        "approval judged at the start only",
        (
            Edit(
                "broadcaster/flow/lease.py",
                "not self._approved(connection, found, order, content, item, every):",
                "(item.next_position == 1 and not self._approved(connection, found, order, content, item, every)):",
            ),
        ),
        (
            f"{_LEASE}::test_tampering_in_the_middle_stops_after_what_was_leased",
            f"{_LEASE}::test_a_signer_who_leaves_in_the_middle_stops_it",
        ),
    ),
    Mutant(
        "at most once, yet the unknown is sent again",
        (
            Edit(
                "broadcaster/service/local.py",
                "order.unknown_policy is not UnknownPolicy.AT_LEAST_ONCE",
                "order.unknown_policy is UnknownPolicy.OPERATOR",
            ),
        ),
        (f"{_LOCAL}::test_other_policies_send_nothing_unknown_again",),
        in_simulations=True,
    ),
    Mutant(
        "an unanswered part counts as given back",
        (
            Edit(
                "broadcaster/flow/send.py",
                'message, flight.part, flight.attempt, State.UNCERTAIN, now_ms=now_ms, sent_ns=flight.sent_ns, reason="no answer"\n'
                "            )\n",
                'message, flight.part, flight.attempt, State.RETRY, now_ms=now_ms, sent_ns=flight.sent_ns, reason="no answer"\n'
                "            )\n"
                "            message.later.append((flight.part, flight.attempt + 1))\n",
            ),
        ),
        (f"{_SEND}::test_a_lost_link_leaves_only_what_was_written_uncertain",),
        in_simulations=True,
    ),
    Mutant(
        "one part a second too many",
        (Edit("broadcaster/rules/throttle.py", "self._tps - self._in_window))", "self._tps + 1 - self._in_window))"),),
        (
            "tests/unit/rules/test_throttle.py::test_no_interleaving_exceeds_the_contract_in_any_second",
            "tests/unit/rules/test_throttle.py::test_a_full_window_waits_for_its_oldest_permit_and_the_guard",
        ),
    ),
    Mutant(
        "a stop and a paused carrier do not end leasing",
        (Edit("broadcaster/flow/lease.py", "if sending_stopped(connection, item.carrier):", "if False:"),),
        (
            f"{_CONTROL}::test_nothing_is_leased_while_stopped_even_if_a_campaign_were_running",
            f"{_CONTROL}::test_a_paused_carrier_gets_no_lease_of_any_campaign_and_the_others_do",
        ),
    ),
    Mutant(
        "possible duplicates on nobody's list",
        (Edit("broadcaster/store/messages.py", "SET dup_risk = true", "SET dup_risk = false"),),
        (f"{_UNKNOWN}::test_what_is_released_is_due_at_once_and_marked",),
        in_simulations=True,
    ),
    Mutant(
        "receipts never reach their messages",
        (Edit("broadcaster/store/messages.py", "        receipts.settle(connection, after, until)\n", ""),),
        (f"{_RECEIPTS}::test_a_receipt_settles_its_message",),
        in_simulations=True,
    ),
    Mutant(
        "leased in closed hours",
        (Edit("broadcaster/flow/lease.py", '            case "closed":\n                return Denied.CLOSED\n', ""),),
        (f"{_LEASE}::test_outside_its_window_and_after_its_deadline_there_is_no_lease",),
    ),
    Mutant(
        "a phone may ring after the window",
        (
            Edit(
                "broadcaster/flow/lease.py",
                "    return minutes if closes is None else min(minutes, (closes - until) // dt.timedelta(minutes=1))",
                "    return minutes",
            ),
        ),
        (f"{_SEND}::test_no_lease_is_given_when_a_phone_would_ring_after_the_window",),
    ),
    Mutant(
        "half a message",
        (Edit("broadcaster/flow/underway.py", "return self.taken or self.open_parts > 0", "return False"),),
        (f"{_SEND}::test_a_refusal_after_the_first_part_does_not_cut_the_message",),
    ),
    Mutant(
        "outcomes dropped when the store fails",
        (Edit("broadcaster/flow/outcomes.py", "            self._noted = outcomes + self._noted\n", ""),),
        (f"{_SEND}::test_outcomes_survive_a_failing_store_and_sending_stops_meanwhile",),
    ),
    Mutant(
        "acknowledged though the store failed",
        (Edit("broadcaster/flow/settle.py", "STORE_FAILED if error else 0", "0"),),
        (f"{_SETTLE}::test_what_cannot_be_stored_is_refused_for_now_and_taken_when_it_comes_again",),
        in_simulations=True,
    ),
    Mutant(
        "a restored database sends again",
        (Edit("broadcaster/store/restore.py", "    if here.epoch < note.epoch or here.lease < note.lease:\n", "    if False:\n"),),
        ("tests/store/test_restore.py::test_doubts", "tests/unit/service/test_guard.py::test_an_older_database_is_not_sent_from"),
    ),
    Mutant(
        "ordinary warnings go on by a clock that was set",
        (
            Edit(
                "broadcaster/service/guard.py",
                "return not self._replaced and (job.urgent or self.clock.trust is Trust.SOUND)",
                "return not self._replaced",
            ),
        ),
        (f"{_GUARD}::test_only_urgent_warnings_go_on_while_the_clock_is_not_to_be_trusted",),
        in_simulations=True,
    ),
    Mutant(
        "the word of an early clock kept for the next process",
        (Edit("broadcaster/service/guard.py", 'boot="" if self.clock.trust is Trust.EARLY else self._boot', "boot=self._boot"),),
        (f"{_GUARD}::test_what_an_early_clock_told_is_not_held_against_the_right_one",),
    ),
    Mutant(
        "seconds written in twice by a clock set back",
        (Edit("broadcaster/service/guard.py", " and judged_ns >= self._resume_ns", ""),),
        (f"{_GUARD}::test_a_clock_set_back_by_a_little_holds_until_a_second_after_the_latest_moment_it_told",),
        in_simulations=True,
    ),
    Mutant(
        "a quota forgotten at a restart",
        (Edit("broadcaster/store/usage.py", "for day, parts in by_day.items()]", "for day, parts in by_day.items() if not parts]"),),
        (f"{_BINDS}::test_a_quota_stops_the_account_with_whole_messages_and_survives_a_restart",),
        in_simulations=True,
    ),
    Mutant(
        "the rate of the hour overlooked",
        (
            Edit(
                "broadcaster/flow/account.py",
                "ceilings = (tps_now(self.card, self.clock.now()), *(job.tps for job in under_way))",
                "ceilings = (self.card.tps, *(job.tps for job in under_way))",
            ),
        ),
        (f"{_BINDS}::test_the_rate_of_the_hour_holds",),
        in_simulations=True,
    ),
    Mutant(
        "a carrier's closed hours overlooked",
        (Edit("broadcaster/flow/account.py", "            self._closed = until is not None\n", ""),),
        (f"{_BINDS}::test_nothing_is_written_in_closed_hours_and_what_was_begun_is_finished_after",),
        in_simulations=True,
    ),
    Mutant(
        "two campaigns to one phone under one reference",
        (Edit("broadcaster/rules/wire.py", '(int.from_bytes(token[:2], "big") + campaign)', 'int.from_bytes(token[:2], "big")'),),
        ("tests/protocol/test_catalogue_texts.py::test_f60_two_campaigns_to_one_phone_have_two_references",),
    ),
)
