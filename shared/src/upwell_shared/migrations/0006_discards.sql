-- Letters that somebody has decided to pass over, for good: they count as seen, for the consumer and for every rebuild
-- of its projections.
CREATE TABLE discards (
    letter_id     uuid        PRIMARY KEY,
    consumer      text        NOT NULL,
    channel       text        NOT NULL,
    -- What it was a letter for: failed, unreadable or fork.
    letter_reason text        NOT NULL,
    -- Null when the record did not say; then its place is all that is known of it.
    stream_id     uuid,
    sequence      int,
    event_id      uuid,
    type          text,
    log_id        uuid        NOT NULL,
    partition     smallint    NOT NULL,
    record_offset bigint      NOT NULL,
    -- Why, by whom and when.
    reason        text        NOT NULL,
    actor         text        NOT NULL,
    command_id    uuid        NOT NULL,
    discarded_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX discards_by_stream ON discards (consumer, channel, stream_id);
CREATE TRIGGER discards_are_final BEFORE UPDATE OR DELETE OR TRUNCATE ON discards
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
