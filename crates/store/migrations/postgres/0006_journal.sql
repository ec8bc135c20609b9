-- The journal, where several replicas share it: a chain per process, its bytes as they would lie in a folder's segments.

CREATE TABLE chains (
    chain TEXT PRIMARY KEY,
    -- Raised by whoever takes the chain over: whoever held it before can write no more.
    epoch BIGINT NOT NULL,
    -- Up to where the chain is written: each write names where it begins, so that none is done twice.
    segment BIGINT NOT NULL,
    position BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    -- Of a segment in bytes, for as long as the chain is.
    segment_size BIGINT NOT NULL,
    -- Whether it is known that nothing is left open in it.
    closed BOOLEAN NOT NULL
);

CREATE TABLE journal (
    chain TEXT NOT NULL,
    segment BIGINT NOT NULL,
    position BIGINT NOT NULL,
    bytes BYTEA NOT NULL,
    PRIMARY KEY (chain, segment, position)
);
-- Parts of a row are read without the rest of it.
ALTER TABLE journal ALTER COLUMN bytes SET STORAGE EXTERNAL;

-- One keyring for all replicas, sealed by the key file that each of them has.
CREATE TABLE keyring (
    id BIGINT PRIMARY KEY,
    sealed TEXT NOT NULL
);
