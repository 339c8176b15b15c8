-- Read models, timers among them: everything here can be made again from the events.

-- A generation is one set of a projection's tables, in a schema of its own. Exactly one is live; views in `public`
-- show its tables. `tx, position` is how far an own projection has read; a consumer-fed one leaves them at zero.
CREATE TABLE projections (
    name       text   NOT NULL,
    generation int    NOT NULL,
    version    int    NOT NULL,
    schema     text   NOT NULL UNIQUE,
    live       bool   NOT NULL,
    tx         xid8   NOT NULL DEFAULT '0',
    position   bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (name, generation)
);
CREATE UNIQUE INDEX projections_live ON projections (name) WHERE live;
