-- Who works alone, and how far the relay has come.

CREATE TABLE leases (
    name       text        PRIMARY KEY,
    holder     uuid        NOT NULL,
    -- Rises with every acquisition; effects that a former holder must not have compare it.
    epoch      bigint      NOT NULL,
    expires_at timestamptz NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE cursors (
    name         text   PRIMARY KEY,
    epoch        bigint NOT NULL,
    tx           xid8   NOT NULL,
    position     bigint NOT NULL,
    -- The log this cursor counts in; a log with another identity is filled from the beginning.
    log_id       uuid,
    cluster_id   text,
    -- Where the last acknowledged batch begins: {"channel": {"partition": offset}}. In the row, since
    -- that makes an advance one small update instead of one row a partition.
    acknowledged json   NOT NULL
) WITH (fillfactor = 50);
