"""Every table, once, for both engines (docs: ARCHITECTURE.md, "The tables").

Times are integers: ``_ms`` is milliseconds and ``_ns`` nanoseconds since 1970 UTC, ``_s`` seconds. A phone number is only ever a
16-byte token (store/vault.py). A message's id carries its lane: ``lane << 32 | position``; positions from `EXCLUDED_FROM` upward are
people who get no message, each with the reason. A roster's id is never used again (`sqlite_autoincrement`), lest an import go on
writing into the roster that took the place of its own.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

HEAD = "0001"
"""The migration this code needs; a test holds it against alembic's own head."""

LANE_SHIFT = 32
EXCLUDED_FROM = 1 << 31
GENESIS = "0" * 64
"""What the first audit entry follows."""

SCRATCH = (
    "CREATE TEMPORARY TABLE scratch (id {id} PRIMARY KEY)",
    "CREATE TEMPORARY TABLE folded (id {id} PRIMARY KEY, area_code VARCHAR(5), old_state SMALLINT, new_state SMALLINT)",
    (
        "CREATE TEMPORARY TABLE hit (receipt_id BIGINT, message_id BIGINT, part SMALLINT, attempt SMALLINT, state SMALLINT, "
        "error VARCHAR(16), received_ms BIGINT)"
    ),
    "CREATE TEMPORARY TABLE target (code VARCHAR(5) PRIMARY KEY)",
    "CREATE TEMPORARY TABLE target_cell (id {id} PRIMARY KEY)",
    "CREATE TEMPORARY TABLE slice (token {bytes}, carrier VARCHAR(32), area_code VARCHAR(5), exclusion SMALLINT)",
)
"""Temporary tables that every connection has, for statements that work on a set of rows; the braces hold the engine's own types."""

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    }
)

_Id = BigInteger().with_variant(Integer, "sqlite")
"""SQLite gives rowids only to a column declared INTEGER."""

installation = Table(
    "installation",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("environment", String(16), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("vault_fingerprint", String(64), nullable=False),
    Column("audit_fingerprint", String(64), nullable=False),
    Column("audit_head", String(64), nullable=False, default=GENESIS),
    Column("epoch", Integer, nullable=False),
    Column("stopped_ms", BigInteger),
    Column("stopped_reason", Text),
    Column("receipts_folded", BigInteger, nullable=False, server_default=text("0")),
)

area = Table(
    "area",
    metadata,
    Column("code", String(5), primary_key=True),
    Column("valid_from", String(10), primary_key=True),
    Column("valid_to", String(10)),
    Column("name", String(80), nullable=False),
    Column("kind", String(20), nullable=False),
    Column("area_km2", Float, nullable=False),
    Column("lat", Float, nullable=False),
    Column("lon", Float, nullable=False),
    Column("former_province", String(5), nullable=False),
    Column("former_districts", String(80), nullable=False),
)

cell = Table(
    "cell",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("carrier", String(32), nullable=False),
    Column("key", String(64), nullable=False),
    Column("site", String(64)),
    Column("area_code", String(5)),
    Column("lat", Float),
    Column("lon", Float),
    Column("placed", String(16), nullable=False),
    Column("radio", String(8)),
    Column("valid_from_s", BigInteger),
    Column("valid_to_s", BigInteger),
    UniqueConstraint("carrier", "key"),
)

boundary = Table(
    "boundary",
    metadata,
    Column("area_code", String(5), primary_key=True),
    Column("rings_json", Text, nullable=False),
    Column("imported_ms", BigInteger, nullable=False),
)

roster = Table(
    "roster",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("carrier", String(32), nullable=False),
    Column("file_name", String(255), nullable=False),
    Column("file_sha256", String(64), nullable=False),
    Column("legal_basis", String(255), nullable=False),
    Column("requested_on", String(10), nullable=False),
    Column("observed_ms", BigInteger, nullable=False),
    Column("imported_ms", BigInteger, nullable=False),
    Column("file_rows", BigInteger, nullable=False),
    Column("kept", BigInteger, nullable=False),
    Column("complete", Boolean, nullable=False),
    Column("salt", LargeBinary(16), nullable=False),
    Column("commitment", String(64)),
    sqlite_autoincrement=True,
)

roster_drop = Table(
    "roster_drop",
    metadata,
    Column("roster_id", ForeignKey("roster.id"), primary_key=True),
    Column("reason", String(32), primary_key=True),
    Column("file_rows", BigInteger, nullable=False),
)

subscriber = Table(
    "subscriber",
    metadata,
    Column("roster_id", ForeignKey("roster.id"), primary_key=True),
    Column("token", LargeBinary(16), primary_key=True),
    Column("cell_id", BigInteger, nullable=False),
    Column("seen_s", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

port = Table(
    "port",
    metadata,
    Column("token", LargeBinary(16), primary_key=True),
    Column("carrier", String(32), nullable=False),
    Column("effective_s", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

refusal = Table(
    "refusal",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("token", LargeBinary(16), nullable=False),
    Column("refuses", Boolean, nullable=False),
    Column("source", String(32), nullable=False),
    Column("evidence", Text, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("scope", SmallInteger, nullable=False, server_default=text("2")),
)

opt_out = Table(
    "opt_out",
    metadata,
    Column("token", LargeBinary(16), primary_key=True),
    Column("since_ms", BigInteger, nullable=False),
    Column("scope", SmallInteger, nullable=False, server_default=text("2")),
    sqlite_with_rowid=False,
)

reply = Table(
    "reply",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("carrier", String(32), nullable=False),
    Column("token", LargeBinary(16)),
    Column("kind", String(16), nullable=False),
    Column("content", Text, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
)

reply_part = Table(
    "reply_part",
    metadata,
    Column("carrier", String(32), primary_key=True),
    Column("token", LargeBinary(16), primary_key=True),
    Column("reference", Integer, primary_key=True, autoincrement=False),
    Column("parts", SmallInteger, primary_key=True, autoincrement=False),
    Column("part", SmallInteger, primary_key=True, autoincrement=False),
    Column("content", Text, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

hold = Table(
    "hold",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("scope", String(16), nullable=False),
    Column("subject_id", BigInteger),
    Column("token", LargeBinary(16)),
    Column("document", String(80), nullable=False),
    Column("documented_on", String(10), nullable=False),
    Column("reason", Text, nullable=False),
    Column("added_by", String(80), nullable=False),
    Column("added_ms", BigInteger, nullable=False),
    Column("released_by", String(80)),
    Column("released_ms", BigInteger),
    Column("release_reason", Text),
    sqlite_autoincrement=True,
)

campaign = Table(
    "campaign",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("name", String(80), nullable=False, unique=True),
    Column("state", String(16), nullable=False),
    Column("content_json", Text, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("recipients", BigInteger, nullable=False),
    Column("submitted_by", String(80), nullable=False),
    Column("submitted_ms", BigInteger, nullable=False),
    Column("planned_ms", BigInteger),
    Column("start_by_ms", BigInteger),
    Column("started_ms", BigInteger),
    Column("deadline_ms", BigInteger),
    Column("finished_ms", BigInteger),
    Column("reason", Text),
    Column("enlisted", Boolean, nullable=False),
    Column("requeues", Integer, nullable=False, server_default=text("0")),
)

campaign_roster = Table(
    "campaign_roster",
    metadata,
    Column("campaign_id", ForeignKey("campaign.id"), primary_key=True),
    Column("roster_id", ForeignKey("roster.id"), primary_key=True),
)

campaign_cell = Table(
    "campaign_cell",
    metadata,
    Column("campaign_id", ForeignKey("campaign.id"), primary_key=True),
    Column("cell_id", ForeignKey("cell.id"), primary_key=True),
)

approval = Table(
    "approval",
    metadata,
    Column("campaign_id", ForeignKey("campaign.id"), primary_key=True),
    Column("person", String(80), primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("signature", LargeBinary(64), nullable=False),
    Column("signed_ms", BigInteger, nullable=False),
)

lane = Table(
    "lane",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("campaign_id", ForeignKey("campaign.id"), nullable=False),
    Column("carrier", String(32), nullable=False),
    Column("body", Text, nullable=False),
    Column("parts", Integer, nullable=False),
    Column("messages", BigInteger, nullable=False),
    Column("excluded", BigInteger, nullable=False),
    Column("next_position", BigInteger, nullable=False),
    Column("halted", Text),
    Column("receipt_part", SmallInteger, nullable=False, server_default=text("0")),
    UniqueConstraint("campaign_id", "carrier"),
)

message = Table(
    "message",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=False),
    Column("token", LargeBinary(16), nullable=False),
    Column("area_code", String(5), nullable=False),
    Column("state", SmallInteger, nullable=False),
    Column("exclusion", SmallInteger, nullable=False),
    Column("not_before_ms", BigInteger),
    Index(
        "ix_message_due",
        "not_before_ms",
        sqlite_where=text("not_before_ms IS NOT NULL"),
        postgresql_where=text("not_before_ms IS NOT NULL"),
    ),
)

lease = Table(
    "lease",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("lane_id", ForeignKey("lane.id"), nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("first_id", BigInteger, nullable=False),
    Column("last_id", BigInteger, nullable=False),
    Column("message_ids", Text),
    Column("opened_ms", BigInteger, nullable=False),
    Column("closed_ms", BigInteger),
    Column("crashed", Boolean, nullable=False, server_default=text("false")),
    Column("folded", Boolean, nullable=False, server_default=text("false")),
    Index("ix_lease_open", "id", sqlite_where=text("closed_ms IS NULL"), postgresql_where=text("closed_ms IS NULL")),
    Index("ix_lease_unfolded", "id", sqlite_where=text("NOT folded"), postgresql_where=text("NOT folded")),
)

submission = Table(
    "submission",
    metadata,
    Column("message_id", BigInteger, primary_key=True),
    Column("part", SmallInteger, primary_key=True),
    Column("attempt", SmallInteger, primary_key=True),
    Column("lease_id", BigInteger, nullable=False),
    Column("carrier", String(32), nullable=False),
    Column("state", SmallInteger, nullable=False),
    Column("status", BigInteger),
    Column("smsc_id", String(80)),
    Column("raw_id", String(80)),
    Column("sent_ns", BigInteger),
    Column("answered_ms", BigInteger, nullable=False),
    Column("receipt_ms", BigInteger),
    Column("receipt_error", String(16)),
    Column("reason", String(40)),
    Column("resolved", String(16)),
    Column("dup_risk", Boolean, nullable=False, server_default=text("false")),
    Index("ix_submission_uncertain", "message_id", sqlite_where=text("state = 20"), postgresql_where=text("state = 20")),
    Index("ix_submission_awaiting", "smsc_id", sqlite_where=text("state = 30"), postgresql_where=text("state = 30")),
    sqlite_with_rowid=False,
)

receipt = Table(
    "receipt",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("carrier", String(32), nullable=False),
    Column("smsc_id", String(80), nullable=False),
    Column("raw_id", String(80)),
    Column("token", LargeBinary(16)),
    Column("stat", String(16), nullable=False),
    Column("state", SmallInteger),
    Column("error", String(16)),
    Column("reference", Integer),
    Column("submit_date", String(20)),
    Column("received_ms", BigInteger, nullable=False),
    Column("matched", Boolean, nullable=False, server_default=text("true")),
    Index("ix_receipt_unmatched", "smsc_id", sqlite_where=text("NOT matched"), postgresql_where=text("NOT matched")),
)

receipt_fault = Table(
    "receipt_fault",
    metadata,
    Column("carrier", String(32), primary_key=True),
    Column("fault", String(24), primary_key=True),
    Column("receipts", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

tally = Table(
    "tally",
    metadata,
    Column("lane_id", ForeignKey("lane.id"), primary_key=True),
    Column("area_code", String(5), primary_key=True),
    Column("state", SmallInteger, primary_key=True),
    Column("exclusion", SmallInteger, primary_key=True),
    Column("messages", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

link_state = Table(
    "link_state",
    metadata,
    Column("carrier", String(32), primary_key=True),
    Column("bind", SmallInteger, primary_key=True, autoincrement=False),
    Column("endpoint", String(260), nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", Text, nullable=False),
    Column("since_ms", BigInteger, nullable=False),
    Column("seen_ms", BigInteger, nullable=False),
    Column("rate_tps", Float, nullable=False),
    Column("outstanding", Integer, nullable=False),
)

account = Table(
    "account",
    metadata,
    Column("carrier", String(32), primary_key=True),
    Column("paused", Boolean, nullable=False),
    Column("tps", Integer),
    Column("reason", Text, nullable=False),
    Column("changed_by", String(80), nullable=False),
    Column("changed_ms", BigInteger, nullable=False),
)

suspicion = Table(
    "suspicion",
    metadata,
    Column("carrier", String(32), primary_key=True),
    Column("status", BigInteger, nullable=False),
)

usage = Table(
    "usage",
    metadata,
    Column("carrier", String(32), primary_key=True),
    Column("day", String(10), primary_key=True),
    Column("parts", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

audit = Table(
    "audit",
    metadata,
    Column("seq", _Id, primary_key=True, autoincrement=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("actor", String(80), nullable=False),
    Column("action", String(40), nullable=False),
    Column("subject", String(120), nullable=False),
    Column("detail_json", Text, nullable=False),
    Column("previous", String(64), nullable=False, unique=True),
    Column("mac", String(64), nullable=False),
)
