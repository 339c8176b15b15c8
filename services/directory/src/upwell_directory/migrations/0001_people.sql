-- What may change and be forgotten: names and addresses, and which files were imported. Nothing here is an event.

-- The only place of names and contact data. A row is written before its person's first event; one whose person has
-- no event counts as absent, and is removed when it is a day old.
CREATE TABLE contacts (
    person_id       uuid PRIMARY KEY,
    organisation_id uuid NOT NULL,
    -- What the HR system calls this person.
    external_id     text NOT NULL,
    user_name       text NOT NULL,
    given_name      text NOT NULL,
    family_name     text NOT NULL,
    mail            text,
    updated_at      timestamptz NOT NULL DEFAULT now(),
    UNIQUE (organisation_id, external_id)
);
CREATE UNIQUE INDEX contacts_by_user_name ON contacts (lower(user_name));
CREATE INDEX contacts_by_age ON contacts USING brin (updated_at);

-- One row a file, so that the same request again goes on where it stopped, or is answered as it was.
CREATE TABLE imports (
    import_id   uuid PRIMARY KEY,
    fingerprint bytea NOT NULL,
    -- Numbers, lines and columns; never a value of the file. Null until the whole file is done.
    report      json,
    begun_at    timestamptz NOT NULL DEFAULT now()
);
