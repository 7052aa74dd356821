"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "account",
        sa.Column("carrier", sa.String(length=32), nullable=False),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.Column("tps", sa.Integer(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("changed_by", sa.String(length=80), nullable=False),
        sa.Column("changed_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("carrier", name=op.f("pk_account")),
    )
    op.create_table(
        "area",
        sa.Column("code", sa.String(length=5), nullable=False),
        sa.Column("valid_from", sa.String(length=10), nullable=False),
        sa.Column("valid_to", sa.String(length=10), nullable=True),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("area_km2", sa.Float(), nullable=False),
        sa.Column("lat", sa.Float(), nullable=False),
        sa.Column("lon", sa.Float(), nullable=False),
        sa.Column("former_province", sa.String(length=5), nullable=False),
        sa.Column("former_districts", sa.String(length=80), nullable=False),
        sa.PrimaryKeyConstraint("code", "valid_from", name=op.f("pk_area")),
    )
    op.create_table(
        "audit",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(length=80), nullable=False),
        sa.Column("action", sa.String(length=40), nullable=False),
        sa.Column("subject", sa.String(length=120), nullable=False),
        sa.Column("detail_json", sa.Text(), nullable=False),
        sa.Column("previous", sa.String(length=64), nullable=False),
        sa.Column("mac", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_audit")),
        sa.UniqueConstraint("previous", name=op.f("uq_audit_previous")),
    )
    op.create_table(
        "boundary",
        sa.Column("area_code", sa.String(length=5), nullable=False),
        sa.Column("rings_json", sa.Text(), nullable=False),
        sa.Column("imported_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("area_code", name=op.f("pk_boundary")),
    )
    op.create_table(
        "campaign",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("content_json", sa.Text(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("recipients", sa.BigInteger(), nullable=False),
        sa.Column("submitted_by", sa.String(length=80), nullable=False),
        sa.Column("submitted_ms", sa.BigInteger(), nullable=False),
        sa.Column("planned_ms", sa.BigInteger(), nullable=True),
        sa.Column("start_by_ms", sa.BigInteger(), nullable=True),
        sa.Column("started_ms", sa.BigInteger(), nullable=True),
        sa.Column("deadline_ms", sa.BigInteger(), nullable=True),
        sa.Column("finished_ms", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("enlisted", sa.Boolean(), nullable=False),
        sa.Column("requeues", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_campaign")),
        sa.UniqueConstraint("name", name=op.f("uq_campaign_name")),
    )
    op.create_table(
        "cell",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("carrier", sa.String(length=32), nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("site", sa.String(length=64), nullable=True),
        sa.Column("area_code", sa.String(length=5), nullable=True),
        sa.Column("lat", sa.Float(), nullable=True),
        sa.Column("lon", sa.Float(), nullable=True),
        sa.Column("placed", sa.String(length=16), nullable=False),
        sa.Column("radio", sa.String(length=8), nullable=True),
        sa.Column("valid_from_s", sa.BigInteger(), nullable=True),
        sa.Column("valid_to_s", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cell")),
        sa.UniqueConstraint("carrier", "key", name=op.f("uq_cell_carrier_key")),
    )
    op.create_table(
        "hold",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("scope", sa.String(length=16), nullable=False),
        sa.Column("subject_id", sa.BigInteger(), nullable=True),
        sa.Column("token", sa.LargeBinary(length=16), nullable=True),
        sa.Column("document", sa.String(length=80), nullable=False),
        sa.Column("documented_on", sa.String(length=10), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("added_by", sa.String(length=80), nullable=False),
        sa.Column("added_ms", sa.BigInteger(), nullable=False),
        sa.Column("released_by", sa.String(length=80), nullable=True),
        sa.Column("released_ms", sa.BigInteger(), nullable=True),
        sa.Column("release_reason", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hold")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "installation",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("environment", sa.String(length=16), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("vault_fingerprint", sa.String(length=64), nullable=False),
        sa.Column("audit_fingerprint", sa.String(length=64), nullable=False),
        sa.Column("audit_head", sa.String(length=64), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("stopped_ms", sa.BigInteger(), nullable=True),
        sa.Column("stopped_reason", sa.Text(), nullable=True),
        sa.Column("receipts_folded", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_installation")),
    )
    op.create_table(
        "link_state",
        sa.Column("carrier", sa.String(length=32), nullable=False),
        sa.Column("bind", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("endpoint", sa.String(length=260), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("since_ms", sa.BigInteger(), nullable=False),
        sa.Column("seen_ms", sa.BigInteger(), nullable=False),
        sa.Column("rate_tps", sa.Float(), nullable=False),
        sa.Column("outstanding", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("carrier", "bind", name=op.f("pk_link_state")),
    )
    op.create_table(
        "message",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("token", sa.LargeBinary(length=16), nullable=False),
        sa.Column("area_code", sa.String(length=5), nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("exclusion", sa.SmallInteger(), nullable=False),
        sa.Column("not_before_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_message")),
    )
    op.create_index(
        "ix_message_due",
        "message",
        ["not_before_ms"],
        unique=False,
        sqlite_where=sa.text("not_before_ms IS NOT NULL"),
        postgresql_where=sa.text("not_before_ms IS NOT NULL"),
    )
    op.create_table(
        "opt_out",
        sa.Column("token", sa.LargeBinary(length=16), nullable=False),
        sa.Column("since_ms", sa.BigInteger(), nullable=False),
        sa.Column("scope", sa.SmallInteger(), server_default=sa.text("2"), nullable=False),
        sa.PrimaryKeyConstraint("token", name=op.f("pk_opt_out")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "port",
        sa.Column("token", sa.LargeBinary(length=16), nullable=False),
        sa.Column("carrier", sa.String(length=32), nullable=False),
        sa.Column("effective_s", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("token", name=op.f("pk_port")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "receipt",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("carrier", sa.String(length=32), nullable=False),
        sa.Column("smsc_id", sa.String(length=80), nullable=False),
        sa.Column("raw_id", sa.String(length=80), nullable=True),
        sa.Column("token", sa.LargeBinary(length=16), nullable=True),
        sa.Column("stat", sa.String(length=16), nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=True),
        sa.Column("error", sa.String(length=16), nullable=True),
        sa.Column("reference", sa.Integer(), nullable=True),
        sa.Column("submit_date", sa.String(length=20), nullable=True),
        sa.Column("received_ms", sa.BigInteger(), nullable=False),
        sa.Column("matched", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_receipt")),
    )
    op.create_index(
        "ix_receipt_unmatched",
        "receipt",
        ["smsc_id"],
        unique=False,
        sqlite_where=sa.text("NOT matched"),
        postgresql_where=sa.text("NOT matched"),
    )
    op.create_table(
        "receipt_fault",
        sa.Column("carrier", sa.String(length=32), nullable=False),
        sa.Column("fault", sa.String(length=24), nullable=False),
        sa.Column("receipts", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("carrier", "fault", name=op.f("pk_receipt_fault")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "refusal",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("token", sa.LargeBinary(length=16), nullable=False),
        sa.Column("refuses", sa.Boolean(), nullable=False),
        sa.Column("source", sa.String(length=32), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("scope", sa.SmallInteger(), server_default=sa.text("2"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_refusal")),
    )
    op.create_table(
        "reply",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("carrier", sa.String(length=32), nullable=False),
        sa.Column("token", sa.LargeBinary(length=16), nullable=True),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reply")),
    )
    op.create_table(
        "reply_part",
        sa.Column("carrier", sa.String(length=32), nullable=False),
        sa.Column("token", sa.LargeBinary(length=16), nullable=False),
        sa.Column("reference", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("parts", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("part", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("carrier", "token", "reference", "parts", "part", name=op.f("pk_reply_part")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "roster",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("carrier", sa.String(length=32), nullable=False),
        sa.Column("file_name", sa.String(length=255), nullable=False),
        sa.Column("file_sha256", sa.String(length=64), nullable=False),
        sa.Column("legal_basis", sa.String(length=255), nullable=False),
        sa.Column("requested_on", sa.String(length=10), nullable=False),
        sa.Column("observed_ms", sa.BigInteger(), nullable=False),
        sa.Column("imported_ms", sa.BigInteger(), nullable=False),
        sa.Column("file_rows", sa.BigInteger(), nullable=False),
        sa.Column("kept", sa.BigInteger(), nullable=False),
        sa.Column("complete", sa.Boolean(), nullable=False),
        sa.Column("salt", sa.LargeBinary(length=16), nullable=False),
        sa.Column("commitment", sa.String(length=64), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_roster")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "submission",
        sa.Column("message_id", sa.BigInteger(), nullable=False),
        sa.Column("part", sa.SmallInteger(), nullable=False),
        sa.Column("attempt", sa.SmallInteger(), nullable=False),
        sa.Column("lease_id", sa.BigInteger(), nullable=False),
        sa.Column("carrier", sa.String(length=32), nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("status", sa.BigInteger(), nullable=True),
        sa.Column("smsc_id", sa.String(length=80), nullable=True),
        sa.Column("raw_id", sa.String(length=80), nullable=True),
        sa.Column("sent_ns", sa.BigInteger(), nullable=True),
        sa.Column("answered_ms", sa.BigInteger(), nullable=False),
        sa.Column("receipt_ms", sa.BigInteger(), nullable=True),
        sa.Column("receipt_error", sa.String(length=16), nullable=True),
        sa.Column("reason", sa.String(length=40), nullable=True),
        sa.Column("resolved", sa.String(length=16), nullable=True),
        sa.Column("dup_risk", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.PrimaryKeyConstraint("message_id", "part", "attempt", name=op.f("pk_submission")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_submission_awaiting",
        "submission",
        ["smsc_id"],
        unique=False,
        sqlite_where=sa.text("state = 30"),
        postgresql_where=sa.text("state = 30"),
    )
    op.create_index(
        "ix_submission_uncertain",
        "submission",
        ["message_id"],
        unique=False,
        sqlite_where=sa.text("state = 20"),
        postgresql_where=sa.text("state = 20"),
    )
    op.create_table(
        "suspicion",
        sa.Column("carrier", sa.String(length=32), nullable=False),
        sa.Column("status", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("carrier", name=op.f("pk_suspicion")),
    )
    op.create_table(
        "usage",
        sa.Column("carrier", sa.String(length=32), nullable=False),
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("parts", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("carrier", "day", name=op.f("pk_usage")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "approval",
        sa.Column("campaign_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("person", sa.String(length=80), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("signature", sa.LargeBinary(length=64), nullable=False),
        sa.Column("signed_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaign.id"], name=op.f("fk_approval_campaign_id")),
        sa.PrimaryKeyConstraint("campaign_id", "person", name=op.f("pk_approval")),
    )
    op.create_table(
        "campaign_cell",
        sa.Column("campaign_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("cell_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaign.id"], name=op.f("fk_campaign_cell_campaign_id")),
        sa.ForeignKeyConstraint(["cell_id"], ["cell.id"], name=op.f("fk_campaign_cell_cell_id")),
        sa.PrimaryKeyConstraint("campaign_id", "cell_id", name=op.f("pk_campaign_cell")),
    )
    op.create_table(
        "campaign_roster",
        sa.Column("campaign_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("roster_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaign.id"], name=op.f("fk_campaign_roster_campaign_id")),
        sa.ForeignKeyConstraint(["roster_id"], ["roster.id"], name=op.f("fk_campaign_roster_roster_id")),
        sa.PrimaryKeyConstraint("campaign_id", "roster_id", name=op.f("pk_campaign_roster")),
    )
    op.create_table(
        "lane",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("campaign_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("carrier", sa.String(length=32), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("parts", sa.Integer(), nullable=False),
        sa.Column("messages", sa.BigInteger(), nullable=False),
        sa.Column("excluded", sa.BigInteger(), nullable=False),
        sa.Column("next_position", sa.BigInteger(), nullable=False),
        sa.Column("halted", sa.Text(), nullable=True),
        sa.Column("receipt_part", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lane")),
        sa.UniqueConstraint("campaign_id", "carrier", name=op.f("uq_lane_campaign_id_carrier")),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaign.id"], name=op.f("fk_lane_campaign_id")),
    )
    op.create_table(
        "roster_drop",
        sa.Column("roster_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("reason", sa.String(length=32), nullable=False),
        sa.Column("file_rows", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["roster_id"], ["roster.id"], name=op.f("fk_roster_drop_roster_id")),
        sa.PrimaryKeyConstraint("roster_id", "reason", name=op.f("pk_roster_drop")),
    )
    op.create_table(
        "subscriber",
        sa.Column("roster_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("token", sa.LargeBinary(length=16), nullable=False),
        sa.Column("cell_id", sa.BigInteger(), nullable=False),
        sa.Column("seen_s", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["roster_id"], ["roster.id"], name=op.f("fk_subscriber_roster_id")),
        sa.PrimaryKeyConstraint("roster_id", "token", name=op.f("pk_subscriber")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "lease",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("lane_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("first_id", sa.BigInteger(), nullable=False),
        sa.Column("last_id", sa.BigInteger(), nullable=False),
        sa.Column("message_ids", sa.Text(), nullable=True),
        sa.Column("opened_ms", sa.BigInteger(), nullable=False),
        sa.Column("closed_ms", sa.BigInteger(), nullable=True),
        sa.Column("crashed", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("folded", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.ForeignKeyConstraint(["lane_id"], ["lane.id"], name=op.f("fk_lease_lane_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lease")),
    )
    op.create_index(
        "ix_lease_open",
        "lease",
        ["id"],
        unique=False,
        sqlite_where=sa.text("closed_ms IS NULL"),
        postgresql_where=sa.text("closed_ms IS NULL"),
    )
    op.create_index(
        "ix_lease_unfolded", "lease", ["id"], unique=False, sqlite_where=sa.text("NOT folded"), postgresql_where=sa.text("NOT folded")
    )
    op.create_table(
        "tally",
        sa.Column("lane_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("area_code", sa.String(length=5), nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("exclusion", sa.SmallInteger(), nullable=False),
        sa.Column("messages", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["lane_id"], ["lane.id"], name=op.f("fk_tally_lane_id")),
        sa.PrimaryKeyConstraint("lane_id", "area_code", "state", "exclusion", name=op.f("pk_tally")),
        sqlite_with_rowid=False,
    )
