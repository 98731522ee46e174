-- Appending to the feed. Reading it is in feed.sql.

-- name: lock_feed
-- The counter and the lock: held to commit, so that offsets become visible in order. Taken last.
-- $1 workspace
SELECT last_offset, last_changed_at FROM feeds WHERE workspace_id = $1 FOR UPDATE;

-- name: move_feed
-- $1 workspace, $2 last offset, $3 last changed at
UPDATE feeds SET last_offset = $2, last_changed_at = $3 WHERE workspace_id = $1;
