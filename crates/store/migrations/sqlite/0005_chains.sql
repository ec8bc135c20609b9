-- Several chains in one index: every row knows the journal that it was made from, so that one journal's part can be made anew.

ALTER TABLE sessions ADD COLUMN writer TEXT NOT NULL DEFAULT '';
UPDATE sessions SET writer = COALESCE((SELECT writer FROM journals LIMIT 1), '');
ALTER TABLE events ADD COLUMN writer TEXT NOT NULL DEFAULT '';
UPDATE events SET writer = COALESCE((SELECT writer FROM journals LIMIT 1), '');

CREATE TABLE refusals_by_writer (
    writer TEXT NOT NULL,
    second INTEGER NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (writer, second)
);
INSERT INTO refusals_by_writer (writer, second, count)
SELECT COALESCE((SELECT writer FROM journals LIMIT 1), ''), second, count FROM refusals;
DROP TABLE refusals;
ALTER TABLE refusals_by_writer RENAME TO refusals;
