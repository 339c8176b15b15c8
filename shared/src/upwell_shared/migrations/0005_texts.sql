-- Free text, encrypted; events hold the text_id. The keys lie in another database, so neither a dump of this one nor a
-- copy of its files can be read.

CREATE TABLE texts (
    text_id    uuid        PRIMARY KEY,
    author     uuid        NOT NULL,
    pair       uuid,
    field      text        NOT NULL,
    key_id     uuid        NOT NULL,
    -- Both empty once the text is erased. The row stays, so that a repeated command cannot write it again.
    nonce      bytea       NOT NULL,
    ciphertext bytea       NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX texts_by_key ON texts (key_id);
