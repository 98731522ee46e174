-- Reading the feed, and dropping its past. Appending to it is in updates.sql.

-- name: read_page
-- The updates after a position, ascending, in one snapshot with the feed's bounds. Offsets are dense, so
-- that "the next n rows" is a range of the primary key. Always at least one row: feed_offset is null where
-- nothing matches. document is null where the entity was forgotten.
-- $1 workspace, $2 position (null: before the first one kept), $3 how many updates at most,
-- $4 how many rows to look at, $5 entity type or null, $6 nodes or null
WITH feed AS (
    SELECT last_offset, earliest_offset, coalesce($2::bigint, earliest_offset - 1) AS position
    FROM feeds
    WHERE workspace_id = $1
),
page AS (
    SELECT u.feed_offset, u.operation, u.entity_type, u.entity_id, u.node_id, u.version
    FROM feed f
    JOIN updates u ON u.workspace_id = $1
        AND u.feed_offset > f.position AND u.feed_offset <= f.position + $4::bigint
    WHERE ($5::text IS NULL OR u.entity_type = $5)
        AND ($6::uuid[] IS NULL OR u.node_id = ANY ($6))
    ORDER BY u.feed_offset
    LIMIT $3
)
SELECT f.last_offset, f.earliest_offset, f.position, p.feed_offset, p.operation, p.entity_type,
    p.entity_id, p.node_id, coalesce(v.document, e.document) AS document
FROM feed f
LEFT JOIN page p ON true
LEFT JOIN versions v ON v.workspace_id = $1 AND v.entity_id = p.entity_id AND v.version = p.version
-- the first version of an event stays in events until the event changes
LEFT JOIN events e ON v.entity_id IS NULL AND p.entity_type = 'EVENT'
    AND e.workspace_id = $1 AND e.id = p.entity_id AND e.version = p.version
ORDER BY p.feed_offset;

-- name: find_position
-- The position before the first update at or after a moment, or the last offset if there is none: a
-- binary search over the dense offsets, as changed_at never decreases along them.
-- $1 workspace, $2 moment
WITH RECURSIVE search AS (
    SELECT earliest_offset AS low, last_offset + 1 AS high
    FROM feeds
    WHERE workspace_id = $1
    UNION ALL
    SELECT CASE WHEN u.changed_at >= $2 THEN s.low ELSE m.middle + 1 END,
        CASE WHEN u.changed_at >= $2 THEN m.middle ELSE s.high END
    FROM search s
    CROSS JOIN LATERAL (SELECT (s.low + s.high) / 2 AS middle) AS m
    JOIN updates u ON u.workspace_id = $1 AND u.feed_offset = m.middle
    WHERE s.low < s.high
)
SELECT low - 1 AS position FROM search WHERE low >= high;

-- name: read_last_offset
-- The feed's greatest offset. $1 workspace
SELECT last_offset FROM feeds WHERE workspace_id = $1;

-- name: find_last_offset
-- The greatest offset that passes the filters. $1 workspace, $2 entity type or null, $3 nodes or null
SELECT feed_offset
FROM updates
WHERE workspace_id = $1
    AND ($2::text IS NULL OR entity_type = $2)
    AND ($3::uuid[] IS NULL OR node_id = ANY ($3))
ORDER BY feed_offset DESC
LIMIT 1;

-- name: read_last_offsets
-- The one question of the ticker. $1 workspaces
SELECT workspace_id, last_offset FROM feeds WHERE workspace_id = ANY ($1::uuid[]);

-- name: find_prune_target
-- The first offset to keep, at most $2 and past everything older than $3; null leaves a bound out.
-- Those that come later are never older. $1 workspace, $2 offset or null, $3 moment or null
WITH RECURSIVE search AS (
    SELECT earliest_offset AS low, last_offset + 1 AS high
    FROM feeds
    WHERE workspace_id = $1
    UNION ALL
    SELECT CASE WHEN u.changed_at >= $3 THEN s.low ELSE m.middle + 1 END,
        CASE WHEN u.changed_at >= $3 THEN m.middle ELSE s.high END
    FROM search s
    CROSS JOIN LATERAL (SELECT (s.low + s.high) / 2 AS middle) AS m
    JOIN updates u ON u.workspace_id = $1 AND u.feed_offset = m.middle
    WHERE s.low < s.high AND $3::timestamptz IS NOT NULL
)
SELECT f.earliest_offset,
    greatest(f.earliest_offset, least(
        f.last_offset + 1,
        $2::bigint,
        (SELECT s.low FROM search s WHERE s.low >= s.high)
    )) AS target
FROM feeds f
WHERE f.workspace_id = $1;

-- name: raise_earliest
-- Comes first in the pruning transaction: the row's lock keeps two prunings apart.
-- $1 workspace, $2 first offset to keep
UPDATE feeds SET earliest_offset = $2
WHERE workspace_id = $1 AND earliest_offset < $2 AND $2 <= last_offset + 1
RETURNING earliest_offset;

-- name: prune_updates
-- Drops updates below an offset, and their documents where no live entity needs them. A version appears
-- in one update only; the DELETE of an event, which repeats the last one, finds it in events.
-- $1 workspace, $2 first offset to keep
WITH dropped AS (
    DELETE FROM updates
    WHERE workspace_id = $1 AND feed_offset < $2
    RETURNING entity_id, entity_type, version
),
documents AS (
    DELETE FROM versions v
    USING (SELECT DISTINCT entity_id, version FROM dropped) AS d
    WHERE v.workspace_id = $1 AND v.entity_id = d.entity_id AND v.version = d.version
        AND NOT EXISTS (
            SELECT FROM customers c
            WHERE c.workspace_id = $1 AND c.id = v.entity_id AND c.version = v.version AND c.deleted = 0
        )
        AND NOT EXISTS (
            SELECT FROM events e
            WHERE e.workspace_id = $1 AND e.id = v.entity_id AND e.version = v.version AND NOT e.deleted
        )
    RETURNING 1
)
SELECT (SELECT count(*) FROM dropped) AS updates, (SELECT count(*) FROM documents) AS documents;
