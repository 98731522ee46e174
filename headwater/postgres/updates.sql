-- Appending to the feed. Reading it is in feed.sql.

-- name: lock_feed
-- The counter and the lock: held to commit, so that offsets become visible in order. Taken last.
-- $1 workspace
SELECT last_offset, last_changed_at FROM feeds WHERE workspace_id = $1 FOR UPDATE;

-- name: append_updates
-- $1 workspace, then arrays: $2 offsets, $3 operations, $4 entity types, $5 entity ids, $6 nodes,
-- $7 versions, $8 changed at
INSERT INTO updates (workspace_id, feed_offset, operation, entity_type, entity_id, node_id, version,
    changed_at)
SELECT $1, u.feed_offset, u.operation, u.entity_type, u.entity_id, u.node_id, u.version, u.changed_at
FROM unnest($2::bigint[], $3::text[], $4::text[], $5::uuid[], $6::uuid[], $7::integer[],
    $8::timestamptz[])
    AS u (feed_offset, operation, entity_type, entity_id, node_id, version, changed_at);

-- name: move_feed
-- $1 workspace, $2 last offset, $3 last changed at
UPDATE feeds SET last_offset = $2, last_changed_at = $3 WHERE workspace_id = $1;
