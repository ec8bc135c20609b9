-- What agents have used up of their budgets. Not made from the journal: a reservation is taken before anything is sent.

-- One row for each agent and cluster, for whoever counts to hold meanwhile.
CREATE TABLE budget_heads (
    agent TEXT NOT NULL,
    cluster TEXT NOT NULL,
    turns BIGINT NOT NULL,
    PRIMARY KEY (agent, cluster)
);

-- `under_way` is the Audit-ID of a request whose end is not known, and empty for what is used up.
CREATE TABLE budget_uses (
    agent TEXT NOT NULL,
    cluster TEXT NOT NULL,
    budget TEXT NOT NULL,
    item TEXT NOT NULL,
    under_way TEXT NOT NULL,
    audit_id TEXT NOT NULL,
    shown TEXT NOT NULL,
    used BIGINT NOT NULL,
    PRIMARY KEY (agent, cluster, budget, item, under_way)
);
CREATE INDEX budget_uses_used ON budget_uses (agent, cluster, budget, used);
