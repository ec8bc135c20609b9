-- Agents that an operator has stopped: made from the journal as all else here.
CREATE TABLE suspensions (
    agent TEXT NOT NULL,
    writer TEXT NOT NULL,
    suspended INTEGER NOT NULL,
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    username TEXT NOT NULL,
    reason TEXT NOT NULL,
    audit_id TEXT NOT NULL,
    PRIMARY KEY (agent, writer)
);
CREATE INDEX sessions_key ON sessions (session_key, created);
