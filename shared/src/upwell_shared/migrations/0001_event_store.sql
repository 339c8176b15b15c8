-- The event store: streams, their events, the ledger of what was published, and the ids of the commands that wrote.

CREATE TABLE streams (
    stream_id         uuid PRIMARY KEY,
    type              text NOT NULL,
    version           int  NOT NULL CHECK (version > 0),
    -- How many records of this stream went to each channel; the next record's sequence is one more.
    public_sequence   int  NOT NULL,
    internal_sequence int  NOT NULL
) WITH (fillfactor = 80);

CREATE TABLE events (
    -- Commit order is (tx, position): readers stop at the oldest transaction still running.
    tx             xid8        NOT NULL DEFAULT pg_current_xact_id(),
    position       bigint      NOT NULL GENERATED ALWAYS AS IDENTITY (CACHE 1),
    stream_id      uuid        NOT NULL,
    version        int         NOT NULL,
    event_id       uuid        NOT NULL,
    type           text        NOT NULL,
    schema_version smallint    NOT NULL,
    data           json        NOT NULL,
    command_id     uuid        NOT NULL,
    correlation_id uuid        NOT NULL,
    causation_id   uuid,
    actor          text,
    traceparent    text,
    recorded_at    timestamptz NOT NULL,
    PRIMARY KEY (stream_id, version)
);
CREATE UNIQUE INDEX events_in_commit_order ON events (tx, position);
CREATE INDEX events_by_correlation ON events (correlation_id);

-- What subscribers are told, finished, beside the facts it comes from. Never rewritten, never dropped:
-- publishing again means setting a cursor back.
CREATE TABLE ledger (
    tx          xid8        NOT NULL DEFAULT pg_current_xact_id(),
    position    bigint      NOT NULL GENERATED ALWAYS AS IDENTITY (CACHE 1),
    event_id    uuid        NOT NULL,
    channel     text        NOT NULL,
    key         uuid        NOT NULL,
    partition   smallint    NOT NULL,
    sequence    int         NOT NULL,
    type        text        NOT NULL,
    headers     bytea       NOT NULL,
    body        bytea       NOT NULL,
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (tx, position)
);
CREATE UNIQUE INDEX ledger_sequences ON ledger (key, channel, sequence);

CREATE TABLE commands (
    command_id  uuid        PRIMARY KEY,
    -- SHA-256 of what was asked: the same id with another fingerprint is a mistake of the caller.
    fingerprint bytea,
    result      json        NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX commands_by_age ON commands USING brin (recorded_at);

-- Commands this service has promised itself to carry out: effects of consumed events and of due timers.
CREATE TABLE todos (
    command_id     uuid        PRIMARY KEY,
    stream_id      uuid        NOT NULL,
    type           text        NOT NULL,
    schema_version smallint    NOT NULL,
    command        json        NOT NULL,
    correlation_id uuid        NOT NULL,
    causation_id   uuid,
    traceparent    text,
    -- Set when a rule said no or the command failed for good; a person decides what then.
    parked_because text,
    -- What could not be done for want of something that may come holds up its stream until then, and nobody else.
    attempts       int         NOT NULL DEFAULT 0,
    next_try_at    timestamptz NOT NULL DEFAULT '-infinity',
    number         bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
    created_at     timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX todos_open ON todos (number) WHERE parked_because IS NULL;
CREATE INDEX todos_waiting ON todos (stream_id, number) WHERE parked_because IS NULL AND attempts > 0;

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING
        ERRCODE = 'UW002',
        MESSAGE = format('%s of %s refused: what happened is never changed', TG_OP, TG_TABLE_NAME);
END $$;
CREATE TRIGGER events_are_facts BEFORE UPDATE OR DELETE OR TRUNCATE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER ledger_is_final BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- What `append` takes, a row each; `command` is the number in the batch of the command it belongs to.
CREATE TYPE command_to_append AS (command int, command_id uuid, fingerprint bytea, result json);
CREATE TYPE stream_to_append AS (
    command int, stream_id uuid, type text, expected int, version int, public_sequence int, internal_sequence int
);
CREATE TYPE event_to_append AS (
    command int, stream_id uuid, version int, event_id uuid, type text, schema_version smallint, data json,
    command_id uuid, correlation_id uuid, causation_id uuid, actor text, traceparent text, recorded_at timestamptz
);
CREATE TYPE record_to_append AS (
    command int, event_id uuid, channel text, key uuid, partition smallint, sequence int, type text, headers bytea,
    body bytea, recorded_at timestamptz
);

-- Appends a batch of commands in one round trip, each all or nothing by itself, and answers per command
-- 'written', 'conflict' (a stream is not at the version the command was decided on) or 'duplicate' (its id is known).
--
-- Commands are numbered from 1, without gaps. A stream is in a batch once, and so is a command id; both stand in the
-- order of their ids, so that no two appends wait for each other in a circle. Events and records are stored in the order in which they are given.
--
-- It must be the first write of its transaction. A reader stops below the oldest running transaction and goes by
-- (tx, position); a transaction that took its id early and appended late would put a stream's next version below
-- one that is already read.
CREATE FUNCTION append(
    a_command command_to_append[], a_stream stream_to_append[], a_event event_to_append[], a_record record_to_append[]
) RETURNS text[] LANGUAGE plpgsql
-- Planned once, since a plan costs more than what it saves here, and then fit for tables that have grown since.
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
AS $$
DECLARE
    outcome   text[] := array_fill('written'::text, ARRAY[cardinality(a_command)]);
    conflicts int[];
    refused   int[];
    beginning int;
    moving    int;
    begun     uuid[] := '{}';
    recorded  uuid[];
BEGIN
    IF pg_current_xact_id_if_assigned() IS NOT NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UW001',
            MESSAGE = 'an append must be the first write of its transaction',
            HINT = 'write other tables after the append, or in a transaction of their own';
    END IF;

    -- LATERAL: one stream after another, so that they are locked in the order in which they are given.
    SELECT coalesce(array_agg(s.command) FILTER (WHERE coalesce(held.version, 0) <> s.expected), '{}'),
           count(*) FILTER (WHERE s.expected = 0 AND s.version > 0), count(held.version)
    INTO conflicts, beginning, moving
    FROM unnest(a_stream) s
    LEFT JOIN LATERAL (SELECT t.version FROM streams t WHERE t.stream_id = s.stream_id FOR UPDATE) held ON true;

    IF beginning > 0 THEN
        WITH inserted AS (
            INSERT INTO streams (stream_id, type, version, public_sequence, internal_sequence)
            SELECT s.stream_id, s.type, s.version, s.public_sequence, s.internal_sequence
            FROM unnest(a_stream) s
            WHERE s.expected = 0 AND s.version > 0 AND s.command <> ALL (conflicts)
            ON CONFLICT (stream_id) DO NOTHING
            RETURNING stream_id
        )
        SELECT coalesce(array_agg(stream_id), '{}') INTO begun FROM inserted;
        IF cardinality(begun) < beginning THEN
            conflicts := conflicts || ARRAY(
                SELECT s.command FROM unnest(a_stream) s
                WHERE s.expected = 0 AND s.version > 0 AND s.stream_id <> ALL (begun));
        END IF;
    END IF;

    WITH inserted AS (
        INSERT INTO commands (command_id, fingerprint, result)
        SELECT c.command_id, c.fingerprint, c.result FROM unnest(a_command) c WHERE c.command <> ALL (conflicts)
        ON CONFLICT (command_id) DO NOTHING
        RETURNING command_id
    )
    SELECT coalesce(array_agg(command_id), '{}') INTO recorded FROM inserted;

    refused := conflicts;
    IF cardinality(recorded) < cardinality(a_command) THEN
        outcome := ARRAY(
            SELECT CASE WHEN c.command = ANY (conflicts) THEN 'conflict'
                        WHEN c.command_id = ANY (recorded) THEN 'written' ELSE 'duplicate' END
            FROM unnest(a_command) c ORDER BY c.command);
        refused := ARRAY(SELECT c.command FROM unnest(a_command) c WHERE outcome[c.command] <> 'written');
        -- What a command had already taken when it turned out not to be written.
        DELETE FROM streams
        WHERE stream_id IN (SELECT s.stream_id FROM unnest(a_stream) s
                            WHERE s.command = ANY (refused) AND s.stream_id = ANY (begun));
    END IF;

    IF moving > 0 THEN
        UPDATE streams t
        SET version = s.version, public_sequence = s.public_sequence, internal_sequence = s.internal_sequence
        FROM unnest(a_stream) s
        WHERE t.stream_id = s.stream_id AND s.expected > 0 AND s.version > s.expected
          AND s.command <> ALL (refused);
    END IF;

    INSERT INTO events (stream_id, version, event_id, type, schema_version, data, command_id, correlation_id,
                        causation_id, actor, traceparent, recorded_at)
    SELECT e.stream_id, e.version, e.event_id, e.type, e.schema_version, e.data, e.command_id, e.correlation_id,
           e.causation_id, e.actor, e.traceparent, e.recorded_at
    FROM unnest(a_event) e WHERE e.command <> ALL (refused);

    INSERT INTO ledger (event_id, channel, key, partition, sequence, type, headers, body, recorded_at)
    SELECT r.event_id, r.channel, r.key, r.partition, r.sequence, r.type, r.headers, r.body, r.recorded_at
    FROM unnest(a_record) r WHERE r.command <> ALL (refused);

    -- A to-do is done when its command's id is recorded, by this append or by an earlier one.
    DELETE FROM todos
    WHERE command_id IN (SELECT c.command_id FROM unnest(a_command) c WHERE c.command <> ALL (conflicts));

    RETURN outcome;
END $$;
