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
) RETURNS text[] LANGUAGE plpgsql
-- Planned once: the arrays' lengths would make each call's own plan look cheaper than the time to make it.
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    conflicts    int[];
    outcome      text[];
    new_streams  uuid[];
    new_commands uuid[];
BEGIN
    IF pg_current_xact_id_if_assigned() IS NOT NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UW001',
            MESSAGE = 'an append must be the first write of its transaction',
            HINT = 'write other tables after the append, or in a transaction of their own';
    END IF;

    -- Existing streams are locked in the order of their ids, so no two appends wait for each other in a circle.
    SELECT coalesce(array_agg(s.command), '{}') INTO conflicts
    FROM unnest(s_command, s_id, s_expected) AS s (command, stream_id, expected)
    LEFT JOIN (SELECT t.stream_id, t.version FROM streams t WHERE t.stream_id = ANY (s_id)
               ORDER BY t.stream_id FOR UPDATE) held USING (stream_id)
    WHERE coalesce(held.version, 0) <> s.expected;

    -- The rest is one statement, for speed: each costs as much to start as a row costs to write.
    WITH made AS (
        INSERT INTO streams (stream_id, type, version, public_sequence, internal_sequence)
        SELECT s.id, s.type, s.version, s.public, s.internal
        FROM unnest(s_command, s_id, s_type, s_expected, s_version, s_public, s_internal)
            AS s (command, id, type, expected, version, public, internal)
        WHERE s.expected = 0 AND s.command <> ALL (conflicts)
        ORDER BY s.id
        ON CONFLICT (stream_id) DO NOTHING
        RETURNING stream_id
    ), recorded AS (
        INSERT INTO commands (command_id, fingerprint, result)
        SELECT c.id, c.fingerprint, c.result::json
        FROM unnest(c_id, c_fingerprint, c_result) WITH ORDINALITY AS c (id, fingerprint, result, n)
        WHERE c.n <> ALL (conflicts)
        ORDER BY c.id
        ON CONFLICT (command_id) DO NOTHING
        RETURNING command_id
    ), beaten AS (
        SELECT s.command
        FROM unnest(s_command, s_id, s_expected) AS s (command, id, expected)
        WHERE s.expected = 0 AND s.command <> ALL (conflicts) AND s.id NOT IN (SELECT stream_id FROM made)
    ), verdict AS MATERIALIZED (
        SELECT c.n::int, c.id,
               CASE WHEN c.n = ANY (conflicts) OR c.n IN (SELECT command FROM beaten) THEN 'conflict'
                    WHEN c.id NOT IN (SELECT command_id FROM recorded) THEN 'duplicate'
                    ELSE 'written' END AS outcome
        FROM unnest(c_id) WITH ORDINALITY AS c (id, n)
    ), moved AS (
        UPDATE streams t
        SET version = s.version, public_sequence = s.public, internal_sequence = s.internal
        FROM unnest(s_command, s_id, s_expected, s_version, s_public, s_internal)
            AS s (command, stream_id, expected, version, public, internal)
        JOIN verdict v ON v.n = s.command AND v.outcome = 'written'
        WHERE t.stream_id = s.stream_id AND s.expected > 0
    ), written AS (
        INSERT INTO events (stream_id, version, event_id, type, schema_version, data, command_id, correlation_id,
                            causation_id, actor, traceparent, recorded_at)
        SELECT e.stream, e.version, e.id, e.type, e.schema, e.data::json, v.id, c_correlation[v.n],
               c_causation[v.n], c_actor[v.n], c_traceparent[v.n], c_recorded_at[v.n]
        FROM unnest(e_command, e_stream, e_version, e_id, e_type, e_schema, e_data)
            WITH ORDINALITY AS e (command, stream, version, id, type, schema, data, n)
        JOIN verdict v ON v.n = e.command AND v.outcome = 'written'
        ORDER BY e.n
    ), told AS (
        INSERT INTO ledger (event_id, channel, key, partition, sequence, type, headers, body, recorded_at)
        SELECT l.id, l.channel, l.key, l.partition, l.sequence, l.type, l.headers, l.body, c_recorded_at[v.n]
        FROM unnest(l_command, l_id, l_channel, l_key, l_partition, l_sequence, l_type, l_headers, l_body)
            WITH ORDINALITY AS l (command, id, channel, key, partition, sequence, type, headers, body, n)
        JOIN verdict v ON v.n = l.command AND v.outcome = 'written'
        ORDER BY l.n
    ), done AS (
        -- A to-do is done when its command's id is recorded, by this append or by an earlier one.
        DELETE FROM todos USING verdict v WHERE todos.command_id = v.id AND v.outcome <> 'conflict'
    )
    SELECT array_agg(v.outcome ORDER BY v.n), array(SELECT stream_id FROM made), array(SELECT command_id FROM recorded)
    INTO outcome, new_streams, new_commands
    FROM verdict v;

    -- What a command had already taken when it turned out not to be written.
    IF 'conflict' = ANY (outcome) OR 'duplicate' = ANY (outcome) THEN
        DELETE FROM streams
        WHERE stream_id = ANY (new_streams)
          AND stream_id IN (SELECT s.id FROM unnest(s_command, s_id) AS s (command, id) WHERE outcome[s.command] <> 'written');
        DELETE FROM commands
        WHERE command_id = ANY (new_commands)
          AND command_id IN (SELECT c.id FROM unnest(c_id) WITH ORDINALITY AS c (id, n) WHERE outcome[c.n] <> 'written');
    END IF;
    RETURN outcome;
END $$;
