-- The keys of the texts of one service, one a subject: a person, or a pair for what belongs to both. Backed up apart
-- from the texts, and kept for less long: an erasure is complete when no backup holds the key any more.

CREATE TABLE keys (
    key_id     uuid        PRIMARY KEY,
    subject    uuid        NOT NULL UNIQUE,
    -- The people whose erasure destroys the key.
    members    uuid[]      NOT NULL,
    key        bytea       NOT NULL CHECK (length(key) = 32),
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX keys_by_member ON keys USING gin (members);

-- Who was erased, and the keys this destroyed: none of them is ever made anew, and a second erasure still knows which
-- texts the first one meant.
CREATE TABLE destroyed (
    subject      uuid        PRIMARY KEY,
    members      uuid[]      NOT NULL,
    key_id       uuid,
    destroyed_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX destroyed_by_member ON destroyed USING gin (members);
