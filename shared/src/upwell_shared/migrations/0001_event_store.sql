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
    command        json        NOT NULL,
    correlation_id uuid        NOT NULL,
    causation_id   uuid,
    traceparent    text,
    -- Set when a rule said no or the command failed for good; a person decides what then.
    parked_because text,
    number         bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
    created_at     timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX todos_open ON todos (number) WHERE parked_because IS NULL;

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

-- Appends a batch of commands in one round trip, each all or nothing by itself, and answers per command
-- 'written', 'conflict' (a stream is not at the version the command was decided on) or 'duplicate' (its id is known).
--
-- c_*: one element a command.           s_*: one a stream of a command, at most one command a stream in a batch.
-- e_*: one an event, in order.          l_*: one a ledger row, in order.          *_command: 1-based index into c_*.
--
-- It must be the first write of its transaction. A reader stops below the oldest running transaction and goes by
-- (tx, position); a transaction that took its id early and appended late would put a stream's next version below
-- one that is already read.
CREATE FUNCTION append(
    c_id uuid[], c_fingerprint bytea[], c_result text[], c_correlation uuid[], c_causation uuid[],
    c_actor text[], c_traceparent text[], c_recorded_at timestamptz[],
    s_command int[], s_id uuid[], s_type text[], s_expected int[], s_version int[], s_public int[], s_internal int[],
    e_command int[], e_stream uuid[], e_version int[], e_id uuid[], e_type text[], e_schema smallint[], e_data text[],
    l_command int[], l_id uuid[], l_channel text[], l_key uuid[], l_partition smallint[], l_sequence int[],
    l_type text[], l_headers bytea[], l_body bytea[]
) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
    outcome text[] := array_fill('written'::text, ARRAY[cardinality(c_id)]);
    made    uuid[];
    n       int;
BEGIN
    IF pg_current_xact_id_if_assigned() IS NOT NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UW001',
            MESSAGE = 'an append must be the first write of its transaction',
            HINT = 'write other tables after the append, or in a transaction of their own';
    END IF;

    -- Locks go in the order of their ids, existing streams, then new ones, then command ids: no cycle can form.
    PERFORM 1 FROM streams WHERE stream_id = ANY (s_id) ORDER BY stream_id FOR UPDATE;
    FOR n IN
        SELECT DISTINCT s.command
        FROM unnest(s_command, s_id, s_expected) AS s (command, stream_id, expected)
        LEFT JOIN streams t USING (stream_id)
        WHERE coalesce(t.version, 0) <> s.expected
    LOOP
        outcome[n] := 'conflict';
    END LOOP;

    IF 0 = ANY (s_expected) THEN
        WITH fresh AS (
            INSERT INTO streams (stream_id, type, version, public_sequence, internal_sequence)
            SELECT s.stream_id, s.type, s.version, s.public, s.internal
            FROM unnest(s_command, s_id, s_type, s_expected, s_version, s_public, s_internal)
                AS s (command, stream_id, type, expected, version, public, internal)
            WHERE s.expected = 0 AND s.version > 0 AND outcome[s.command] = 'written'
            ORDER BY s.stream_id
            ON CONFLICT (stream_id) DO NOTHING
            RETURNING stream_id
        )
        SELECT coalesce(array_agg(stream_id), '{}') INTO made FROM fresh;
        FOR n IN
            SELECT DISTINCT s.command
            FROM unnest(s_command, s_id, s_expected, s_version) AS s (command, stream_id, expected, version)
            WHERE s.expected = 0 AND s.version > 0 AND outcome[s.command] = 'written'
              AND s.stream_id NOT IN (SELECT unnest(made))
        LOOP
            outcome[n] := 'conflict';
        END LOOP;
    END IF;

    WITH fresh AS (
        INSERT INTO commands (command_id, fingerprint, result)
        SELECT c.id, c.fingerprint, c.result::json
        FROM unnest(c_id, c_fingerprint, c_result) WITH ORDINALITY AS c (id, fingerprint, result, n)
        WHERE outcome[c.n] = 'written'
        ORDER BY c.id
        ON CONFLICT (command_id) DO NOTHING
        RETURNING command_id
    )
    SELECT array_agg(CASE WHEN outcome[c.n] = 'written' AND f.command_id IS NULL THEN 'duplicate'
                          ELSE outcome[c.n] END ORDER BY c.n)
    INTO outcome
    FROM unnest(c_id) WITH ORDINALITY AS c (command_id, n) LEFT JOIN fresh f USING (command_id);

    IF 'conflict' = ANY (outcome) OR 'duplicate' = ANY (outcome) THEN
        DELETE FROM streams
        WHERE stream_id IN (SELECT s.id FROM unnest(s_command, s_id, s_expected) AS s (command, id, expected)
                            WHERE s.expected = 0 AND s.id = ANY (made) AND outcome[s.command] <> 'written');
    END IF;

    UPDATE streams t
    SET version = s.version, public_sequence = s.public, internal_sequence = s.internal
    FROM unnest(s_command, s_id, s_expected, s_version, s_public, s_internal)
        AS s (command, stream_id, expected, version, public, internal)
    WHERE t.stream_id = s.stream_id AND s.expected > 0 AND s.version > s.expected
      AND outcome[s.command] = 'written';

    INSERT INTO events (stream_id, version, event_id, type, schema_version, data, command_id, correlation_id,
                        causation_id, actor, traceparent, recorded_at)
    SELECT e.stream, e.version, e.id, e.type, e.schema, e.data::json, c_id[e.command], c_correlation[e.command],
           c_causation[e.command], c_actor[e.command], c_traceparent[e.command], c_recorded_at[e.command]
    FROM unnest(e_command, e_stream, e_version, e_id, e_type, e_schema, e_data)
        WITH ORDINALITY AS e (command, stream, version, id, type, schema, data, n)
    WHERE outcome[e.command] = 'written'
    ORDER BY e.n;

    INSERT INTO ledger (event_id, channel, key, partition, sequence, type, headers, body, recorded_at)
    SELECT l.id, l.channel, l.key, l.partition, l.sequence, l.type, l.headers, l.body, c_recorded_at[l.command]
    FROM unnest(l_command, l_id, l_channel, l_key, l_partition, l_sequence, l_type, l_headers, l_body)
        WITH ORDINALITY AS l (command, id, channel, key, partition, sequence, type, headers, body, n)
    WHERE outcome[l.command] = 'written'
    ORDER BY l.n;

    -- A to-do is done when its command's id is recorded, by this append or by an earlier one.
    DELETE FROM todos
    WHERE command_id IN (SELECT c.id FROM unnest(c_id) WITH ORDINALITY AS c (id, n) WHERE outcome[c.n] <> 'conflict');

    RETURN outcome;
END $$;
