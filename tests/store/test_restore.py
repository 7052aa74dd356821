"""A database put back from a backup does not send; taking it over names exactly what may have been sent in the gap."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from broadcaster.errors import RefusedError, StoreError
from broadcaster.model import CampaignState, State
from broadcaster.store import restore
from broadcaster.store.audit import Auditor, entries, first_break
from broadcaster.store.campaigns import Lane, change_campaign, change_lane, find_campaign, insert_campaign, lanes, next_epoch
from broadcaster.store.engine import Store
from broadcaster.store.messages import Outcome, close_leases, defer, fold_all, open_list, open_range, record_outcomes
from broadcaster.store.refused import count_requeue
from broadcaster.store.restore import Doubt, adopt, doubt_about, survey
from broadcaster.store.sidecar import Mark, mark_of, read_mark, write_mark

pytestmark = pytest.mark.sqlite_only(reason="a copy put back is known by the file's inode and the note beside it")
NOW_MS = 1_800_000_000_000
Check = Callable[..., None]


@pytest.fixture
def database(installed_store: Store) -> Path:
    assert installed_store.path is not None
    return installed_store.path


@pytest.fixture
def run_lane(installed_store: Store, lane_in: Callable[..., Lane]) -> Callable[..., Lane]:
    """Write a lane of a campaign that runs."""

    def write(messages: int, parts: int = 1, *, name: str = "mot", state: CampaignState = CampaignState.RUNNING) -> Lane:
        lane = lane_in(installed_store, messages, parts, name=name)
        with installed_store.write() as connection:
            change_campaign(connection, lane.campaign_id, state, enlisted=True)
        return lane

    return write


def lease_next(store: Store, lane: Lane, count: int, *, epoch: int = 1, state: State | None = None) -> int:
    """Lease the next positions, and close the lease with this outcome for every part."""
    with store.write() as connection:
        fresh = next(one for one in lanes(connection, lane.campaign_id) if one.id == lane.id)
        first, last = fresh.next_position, fresh.next_position + count - 1
        change_lane(connection, lane.id, next_position=last + 1)
        lease_id, leased = open_range(connection, lane.id, epoch, first, last, lane.parts, NOW_MS)
        if state is not None:
            made = [
                Outcome(one.id, part, attempt, lease_id, "viettel", int(state), 0, None, 1, NOW_MS, None)
                for one in leased
                for part, attempt in one.parts
            ]
            record_outcomes(connection, made)
            close_leases(connection, [lease_id], NOW_MS)
    return lease_id


def note(store: Store, ahead: int = 0) -> Mark:
    assert store.path is not None
    with store.read() as connection:
        mark = mark_of(connection, store.path, NOW_MS, {"viettel": ahead})
    write_mark(store.path, mark)
    return mark


def back_up(store: Store) -> Path:
    assert store.path is not None
    copy = store.path.with_suffix(".backup")
    with store.engine.connect() as connection:
        connection.exec_driver_sql("COMMIT")
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copyfile(store.path, copy)
    return copy


def put_back(store: Store, copy: Path) -> Store:
    """Copy the backup over the database, whose file stays the same one."""
    assert store.path is not None
    store.close()
    for suffix in ("-wal", "-shm"):
        store.path.with_name(store.path.name + suffix).unlink(missing_ok=True)
    shutil.copyfile(copy, store.path)
    return Store(str(store.url))


def states(store: Store) -> list[int]:
    with store.read() as connection:
        return list(connection.execute(text("SELECT state FROM message ORDER BY id")).scalars())


def doubt(store: Store, database: Path) -> Doubt | None:
    with store.read() as connection:
        return survey(connection, database, nothing_sent=False).doubt


def take_over(store: Store, auditor: Auditor, *, nothing_sent: bool = False) -> restore.Survey:
    assert store.path is not None
    return adopt(store, auditor, store.path, reason="đĩa hỏng", nothing_sent=nothing_sent, now_ms=NOW_MS)


def test_a_note_comes_back_as_it_was_and_is_private(installed_store: Store, run_lane: Callable[..., Lane], database: Path) -> None:
    lane = run_lane(9)
    lease_next(installed_store, lane, 3)
    mark = note(installed_store, ahead=2)
    assert read_mark(database) == mark
    assert (mark.epoch, mark.lease, mark.lanes, mark.campaigns) == (1, 1, {lane.id: 6}, frozenset())
    beside = database.with_name(database.name + ".high-water")
    assert beside.stat().st_mode & 0o777 == 0o600


def test_a_damaged_note_is_an_error_that_names_it(database: Path) -> None:
    beside = database.with_name(database.name + ".high-water")
    for broken in ("", "{}", "[]", '{"epoch": 1'):
        beside.write_text(broken)
        with pytest.raises(StoreError) as caught:
            read_mark(database)
        assert beside.name in caught.value.message.en


def test_what_is_as_the_note_says_or_further_on_is_beyond_doubt(
    installed_store: Store, run_lane: Callable[..., Lane], database: Path
) -> None:
    lane = run_lane(9)
    note(installed_store)
    assert doubt(installed_store, database) is None
    lease_next(installed_store, lane, 3)
    with installed_store.write() as connection:
        next_epoch(connection)
    assert doubt(installed_store, database) is None


@pytest.mark.parametrize(
    ("noted", "found"),
    [
        (None, Doubt.UNMARKED),
        ({"epoch": 5}, Doubt.OLDER),
        ({"lease": 8}, Doubt.OLDER),
        ({"inode": 2}, Doubt.REPLACED),
        ({"epoch": 3, "lease": 6}, None),
    ],
)
def test_doubts(noted: dict[str, int] | None, found: Doubt | None) -> None:
    here = Mark(4, 7, 0, 1, {}, frozenset())
    assert doubt_about(here, None if noted is None else here._replace(**noted)) is found


def test_a_database_no_service_ever_ran_on_needs_no_note() -> None:
    assert doubt_about(Mark(0, 0, 0, 1, {}, frozenset()), None) is None


def test_an_older_database_goes_on_behind_what_may_have_been_sent(
    installed_store: Store, run_lane: Callable[..., Lane], auditor: Auditor, audit_key: bytes, tally_agrees: Check
) -> None:
    lane = run_lane(12, 2)
    lease_next(installed_store, lane, 3, state=State.ACCEPTED)
    copy = back_up(installed_store)
    lease_next(installed_store, lane, 4, state=State.DELIVERED)
    note(installed_store, ahead=2)
    store = put_back(installed_store, copy)
    assert store.path is not None
    assert doubt(store, store.path) is Doubt.OLDER
    found = take_over(store, auditor)
    # Four were sent in the gap, two more may have been before the next note; three positions were never reached.
    assert states(store) == [State.ACCEPTED] * 3 + [State.UNCERTAIN] * 6 + [State.READY] * 3
    assert (found.uncertain, found.paused, found.closed) == (6, ["mot"], [])
    with store.read() as connection:
        assert find_campaign(connection, "mot").state is CampaignState.PAUSED
        assert lanes(connection, lane.campaign_id)[0].next_position == 10
        reasons = connection.execute(text("SELECT DISTINCT reason FROM submission WHERE state = 20")).scalars()
        assert list(reasons) == ["restored"]
        assert connection.execute(text("SELECT count(*) FROM lease WHERE closed_ms IS NULL")).scalar() == 0
        tally_agrees(connection)
        actions = [(entry.action, entry.subject) for entry in entries(connection)]
        assert actions == [("pause", "mot"), ("db-adopt", store.path.name)]
        assert first_break(connection, audit_key) is None
        assert survey(connection, store.path, nothing_sent=False) == restore.Survey(None, found.epoch + 1, [], 0, [], [])
    store.close()


def test_second_tries_may_have_been_made_in_the_gap(installed_store: Store, run_lane: Callable[..., Lane], auditor: Auditor) -> None:
    lane = run_lane(4)
    lease_next(installed_store, lane, 2, state=State.RETRY)
    with installed_store.write() as connection:
        defer(connection, [(NOW_MS + 1, lane.first_id), (NOW_MS + 2, lane.first_id + 1)])
    copy = back_up(installed_store)
    lease_next(installed_store, lane, 1)
    note(installed_store)
    store = put_back(installed_store, copy)
    assert take_over(store, auditor).uncertain == 3
    assert states(store) == [State.UNCERTAIN] * 3 + [State.READY]
    store.close()


@pytest.mark.parametrize("before", [CampaignState.RUNNING, CampaignState.FINISHED])
@pytest.mark.parametrize("known", ["requeued", "not requeued", "no note"])
def test_what_was_refused_may_have_been_requeued_in_the_gap(
    installed_store: Store,
    run_lane: Callable[..., Lane],
    auditor: Auditor,
    tally_agrees: Check,
    known: str,
    before: CampaignState,
) -> None:
    """This copy holds them to be certainly not reached: sent again now, they might get it twice, and nothing would say so."""
    lanes_ = {name: run_lane(4, 2, name=name) for name in ("mot", "hai")}
    for lane in lanes_.values():
        lease_next(installed_store, lane, 3, state=State.REFUSED)
        lease_next(installed_store, lane, 1, state=State.ACCEPTED)
        with installed_store.write() as connection:
            fold_all(connection)
            change_campaign(connection, lane.campaign_id, before, deadline_ms=NOW_MS + 60_000)
    with installed_store.write() as connection:
        # One that was over before this copy was made can have been requeued by nobody.
        change_campaign(connection, lanes_["hai"].campaign_id, before, deadline_ms=NOW_MS)
    copy = back_up(installed_store)
    with installed_store.write() as connection:
        next_epoch(connection)
        if known == "requeued":
            count_requeue(connection, lanes_["mot"].campaign_id)
    note(installed_store)
    store = put_back(installed_store, copy)
    assert store.path is not None
    if known == "no note":
        with store.write() as connection:
            next_epoch(connection)
        store.path.with_name(store.path.name + ".high-water").unlink()
    found = take_over(store, auditor)
    doubtful = known != "not requeued"
    assert found.uncertain == 3 * doubtful
    assert states(store) == [State.UNCERTAIN if doubtful else State.REFUSED] * 3 + [State.ACCEPTED] + [State.REFUSED] * 3 + [
        State.ACCEPTED
    ]
    with store.read() as connection:
        tally_agrees(connection)
        reasons = connection.execute(text("SELECT DISTINCT reason FROM submission WHERE state = 20")).scalars()
        assert list(reasons) == ["restored"] * doubtful
        assert find_campaign(connection, "mot").state is (CampaignState.PAUSED if before is CampaignState.RUNNING else before)
    assert take_over(store, auditor).uncertain == 0
    store.close()


def test_a_lane_that_ended_in_the_gap_may_have_been_sent_whole(
    installed_store: Store, run_lane: Callable[..., Lane], auditor: Auditor
) -> None:
    lane = run_lane(4)
    copy = back_up(installed_store)
    lease_next(installed_store, lane, 4, state=State.ACCEPTED)
    with installed_store.write() as connection:
        change_campaign(connection, lane.campaign_id, CampaignState.FINISHED)
    note(installed_store)
    store = put_back(installed_store, copy)
    take_over(store, auditor)
    assert states(store) == [State.UNCERTAIN] * 4
    store.close()


def insert_waiting(store: Store, name: str, state: CampaignState) -> None:
    with store.write() as connection:
        number = insert_campaign(
            connection, name=name, content_json="{}", digest="", recipients=1, submitted_by="", submitted_ms=0, roster_ids=[]
        )
        change_campaign(connection, number, state)


def test_a_campaign_that_may_have_run_in_the_gap_is_closed_and_one_that_waited_is_not(
    installed_store: Store, run_lane: Callable[..., Lane], auditor: Auditor
) -> None:
    lane = run_lane(2)
    for name, state in (
        ("cho", CampaignState.APPROVED),
        ("da-gui", CampaignState.SCHEDULED),
        ("da-huy", CampaignState.SUBMITTED),
    ):
        insert_waiting(installed_store, name, state)
    copy = back_up(installed_store)
    lease_next(installed_store, lane, 1)
    with installed_store.write() as connection:
        change_campaign(connection, find_campaign(connection, "da-gui").id, CampaignState.FINISHED)
        change_campaign(connection, find_campaign(connection, "da-huy").id, CampaignState.CANCELLED)
    note(installed_store)
    store = put_back(installed_store, copy)
    assert take_over(store, auditor).closed == ["da-gui", "da-huy"]
    with store.read() as connection:
        found = {name: find_campaign(connection, name).state for name in ("cho", "da-gui", "da-huy")}
    assert found == {"cho": CampaignState.APPROVED, "da-gui": CampaignState.HALTED, "da-huy": CampaignState.CANCELLED}
    store.close()


@pytest.mark.parametrize("with_note", [True, False])
def test_without_a_note_of_its_own_all_that_is_left_may_have_been_sent_unless_a_person_says_not(
    installed_store: Store, run_lane: Callable[..., Lane], auditor: Auditor, database: Path, with_note: bool
) -> None:
    run_lane(3)
    if with_note:
        write_mark(database, note(installed_store)._replace(inode=1))
    assert doubt(installed_store, database) is (Doubt.REPLACED if with_note else Doubt.UNMARKED)
    found = take_over(installed_store, auditor, nothing_sent=True)
    assert (found.uncertain, found.paused, states(installed_store)) == (0, ["mot"], [State.READY] * 3)
    assert doubt(installed_store, database) is None
    write_mark(database, note(installed_store)._replace(inode=1))
    assert take_over(installed_store, auditor).uncertain == 3
    assert states(installed_store) == [State.UNCERTAIN] * 3


def test_a_gap_larger_than_a_slice_is_settled_whole_and_again_after_an_interruption(
    installed_store: Store, run_lane: Callable[..., Lane], auditor: Auditor, monkeypatch: pytest.MonkeyPatch, tally_agrees: Check
) -> None:
    monkeypatch.setattr(restore, "SLICE", 2)
    run_lane(7)

    def stop(*_values: object) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(restore.messages, "recover", stop)
        with pytest.raises(KeyboardInterrupt):
            take_over(installed_store, auditor)
    assert states(installed_store) == [State.READY] * 7
    assert installed_store.path is not None
    assert doubt(installed_store, installed_store.path) is None
    assert take_over(installed_store, auditor).unanswered == 7
    assert states(installed_store) == [State.UNCERTAIN] * 7
    with installed_store.read() as connection:
        tally_agrees(connection)


@pytest.mark.parametrize("further", [{"lease": 2}, {"epoch": 2}])
def test_nobody_can_state_that_nothing_was_sent_where_the_note_shows_that_the_service_went_on(
    installed_store: Store, run_lane: Callable[..., Lane], auditor: Auditor, database: Path, further: dict[str, int]
) -> None:
    lane = run_lane(3)
    lease_next(installed_store, lane, 1, state=State.ACCEPTED)
    before = note(installed_store)._replace(**further)
    write_mark(database, before)
    with pytest.raises(RefusedError) as caught:
        take_over(installed_store, auditor, nothing_sent=True)
    assert "--nothing-sent" in str(caught.value.hint)
    assert read_mark(database) == before
    with installed_store.read() as connection:
        assert find_campaign(connection, "mot").state is CampaignState.RUNNING
        assert list(entries(connection)) == []
        with pytest.raises(RefusedError):
            survey(connection, database, nothing_sent=True)


@pytest.mark.parametrize("nothing_sent", [False, True])
def test_what_was_under_way_in_the_copy_itself_is_counted_apart(
    installed_store: Store, run_lane: Callable[..., Lane], auditor: Auditor, database: Path, nothing_sent: bool
) -> None:
    lane = run_lane(12, 2)
    lease_next(installed_store, lane, 2, state=State.ACCEPTED)
    open_id = lease_next(installed_store, lane, 6)
    three, four, five, six, seven = (lane.first_id + offset for offset in range(2, 7))
    made = [
        (three, 1, State.ACCEPTED),  # Its second part has no outcome.
        *((four, part, State.RETRY) for part in (1, 2)),  # Set aside below: a second try, made after the copy if at all.
        *((five, part, State.RETRY) for part in (1, 2)),  # Under a second lease as well.
        *((six, part, State.REFUSED) for part in (1, 2)),
        (seven, 1, State.CANCELLED),
        (seven, 2, State.CANCELLED),
    ]
    with installed_store.write() as connection:
        outcomes = [Outcome(one, part, 1, open_id, "viettel", int(state), 0, None, 1, NOW_MS, None) for one, part, state in made]
        record_outcomes(connection, outcomes)
        defer(connection, [(NOW_MS + 1, four)])
        open_list(connection, lane.id, 1, [five], lane.parts, NOW_MS)
    write_mark(database, note(installed_store)._replace(inode=1))
    with installed_store.read() as connection:
        planned = survey(connection, database, nothing_sent=nothing_sent)
    found = take_over(installed_store, auditor, nothing_sent=nothing_sent)
    assert (found.unanswered, found.uncertain) == (3, 0 if nothing_sent else 5)
    assert planned == found
    assert states(installed_store).count(State.UNCERTAIN) == found.unanswered + found.uncertain
    with installed_store.read() as connection:
        ((detail,),) = connection.execute(text("SELECT detail_json FROM audit WHERE action = 'db-adopt'"))
        assert survey(connection, database, nothing_sent=False).unanswered == 0
    assert (json.loads(detail)["unanswered"], json.loads(detail)["uncertain"]) == (3, found.uncertain)


@pytest.mark.parametrize("committed", [True, False])
def test_a_takeover_done_again_after_an_interruption_names_nobody_else(
    installed_store: Store,
    run_lane: Callable[..., Lane],
    auditor: Auditor,
    database: Path,
    monkeypatch: pytest.MonkeyPatch,
    committed: bool,
) -> None:
    lane = run_lane(9)
    write_mark(database, note(installed_store)._replace(lease=1, inode=1, lanes={lane.id: 5}))

    def stop(*_values: object) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        if committed:
            broken.setattr(restore.messages, "recover", stop)
        else:

            def write_and_stop(path: Path, mark: Mark) -> None:
                write_mark(path, mark)
                stop()

            broken.setattr(restore, "write_mark", write_and_stop)
        with pytest.raises(KeyboardInterrupt):
            take_over(installed_store, auditor)
    found = take_over(installed_store, auditor)
    assert found.uncertain + found.unanswered == 4
    assert states(installed_store) == [State.UNCERTAIN] * 4 + [State.READY] * 5
    with installed_store.read() as connection:
        assert find_campaign(connection, "mot").state is CampaignState.PAUSED
    assert doubt(installed_store, database) is None
