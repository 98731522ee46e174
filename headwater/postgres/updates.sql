-- Appending to the feed. Reading it is in feed.sql.

-- name: move_feed
-- The counter and the lock: held to commit, so that offsets become visible in order. Taken last. Returns
-- how the counter stood before. $1 workspace, $2 how many updates, $3 the latest change of them
WITH before AS (
    SELECT last_offset, last_changed_at FROM feeds WHERE workspace_id = $1 FOR UPDATE
)
UPDATE feeds
SET last_offset = before.last_offset + $2, last_changed_at = greatest(before.last_changed_at, $3)
FROM before
WHERE feeds.workspace_id = $1
RETURNING before.last_offset, before.last_changed_at;
