-- What others told us: how far each partition is read, what of each stream is applied, and what could not be.

-- The next offset to read, kept with the effects of all before it. A log with another identity is read from its
-- beginning, under rows of its own.
CREATE TABLE consumer_offsets (
    consumer    text     NOT NULL,
    log_id      uuid     NOT NULL,
    channel     text     NOT NULL,
    partition   smallint NOT NULL,
    next_offset bigint   NOT NULL,
    PRIMARY KEY (consumer, log_id, channel, partition)
) WITH (fillfactor = 50);

-- The last event applied of each stream. Streams are numbered without gaps, so this tells a duplicate from the next
-- event and from one whose predecessor is missing, whatever log or offset it came by.
CREATE TABLE progress (
    consumer  text NOT NULL,
    channel   text NOT NULL,
    stream_id uuid NOT NULL,
    -- 0 while the first event waits in the dead letters.
    sequence  int  NOT NULL,
    event_id  uuid,
    -- How many letters of this stream lie in dead_letters. Changes with them, so that whoever writes this row knows
    -- by comparing (sequence, letters) that nobody has touched the stream since it was read.
    letters   int  NOT NULL,
    PRIMARY KEY (consumer, channel, stream_id)
) WITH (fillfactor = 80);

-- Records that are not applied: those that failed, and those of the same stream that wait behind them.
CREATE TABLE dead_letters (
    -- Follows from what the record is, so that a record which comes again is the same letter.
    letter_id     uuid        PRIMARY KEY,
    consumer      text        NOT NULL,
    channel       text        NOT NULL,
    -- failed: a handler raised.  unreadable: it does not fit its contract.  fork: its number was taken by another
    -- event.  waiting: nothing is wrong with it, but with one before it.
    reason        text        NOT NULL CHECK (reason IN ('failed', 'unreadable', 'fork', 'waiting')),
    -- Null when the record does not say.
    stream_id     uuid,
    sequence      int,
    event_id      uuid,
    type          text,
    -- The class of what was raised and where; never its message, which may hold what a person wrote.
    error         text,
    location      text,
    -- Where it was first met.
    log_id        uuid        NOT NULL,
    partition     smallint    NOT NULL,
    record_offset bigint      NOT NULL,
    -- The record itself; headers as JSON: [[name, value in base64 or null], ...].
    key           bytea,
    headers       bytea       NOT NULL,
    body          bytea,
    attempts      int         NOT NULL,
    -- Null when only another event, or a person, can change anything.
    next_try_at   timestamptz,
    parked_at     timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX dead_letters_by_stream ON dead_letters (consumer, channel, stream_id, sequence);
CREATE INDEX dead_letters_due ON dead_letters (consumer, next_try_at) WHERE next_try_at IS NOT NULL;
