-- The index: made from the journal, made anew from it if lost. Times are microseconds since the Unix epoch.

CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;
-- One row, updated in the transaction of the rows that carry the number: never visible before them.
INSERT INTO meta (name, value) VALUES ('resourceVersion', 1);

-- How far each journal has been read.
CREATE TABLE journals (
    writer TEXT PRIMARY KEY,
    segment INTEGER NOT NULL,
    position INTEGER NOT NULL,
    seq INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE sessions (
    name TEXT PRIMARY KEY,
    uid TEXT NOT NULL,
    session_key TEXT NOT NULL,
    cluster TEXT NOT NULL,
    cluster_uid TEXT NOT NULL,
    agent TEXT,
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    username TEXT NOT NULL,
    user_groups TEXT NOT NULL,
    population TEXT NOT NULL,
    upstream_user TEXT NOT NULL,
    started INTEGER NOT NULL,
    last_seen INTEGER NOT NULL,
    idle INTEGER NOT NULL,
    ends INTEGER NOT NULL,
    ended INTEGER,
    ended_why TEXT,
    requests INTEGER NOT NULL,
    refused INTEGER NOT NULL,
    created INTEGER NOT NULL,
    changed INTEGER NOT NULL
);
CREATE UNIQUE INDEX sessions_created ON sessions (created);
CREATE INDEX sessions_owner ON sessions (issuer, subject, created);
CREATE INDEX sessions_changed ON sessions (changed);

CREATE TABLE events (
    audit_id TEXT PRIMARY KEY,
    session TEXT,
    issuer TEXT,
    subject TEXT,
    cluster TEXT,
    verb TEXT NOT NULL,
    decision TEXT,
    code INTEGER,
    opened INTEGER NOT NULL,
    closed INTEGER,
    created INTEGER NOT NULL,
    changed INTEGER NOT NULL,
    event TEXT NOT NULL
);
CREATE UNIQUE INDEX events_created ON events (created);
CREATE INDEX events_session ON events (session, created);
CREATE INDEX events_owner ON events (issuer, subject, created);
CREATE INDEX events_changed ON events (changed);

-- Requests without a caller, beyond the rate up to which each has an event.
CREATE TABLE refusals (
    second INTEGER PRIMARY KEY,
    count INTEGER NOT NULL
);
