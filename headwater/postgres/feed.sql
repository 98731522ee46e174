-- Reading the feed, and dropping its past. Appending to it is in updates.sql.

-- name: read_page
-- The updates after a position as they are sent, in one snapshot with the feed's bounds, which are the row of
-- offset 0. No body stands where the bound on bytes was reached. {row} is filled from the pieces
-- below.
-- Offsets are dense, so that "the next n rows" is a range of the primary key: bounds is an InitPlan and
-- the range comes in order, without a sort, and ends at the limit.
-- $1 workspace, $2 position (null: before the first one kept), $3 how many updates at most,
-- $4 how many rows to look at, $5 entity type or null, $6 nodes or null, $7 after how many bytes of
-- documents to stop (the first document is always there)
WITH bounds AS MATERIALIZED (
    SELECT last_offset, earliest_offset, coalesce($2::bigint, earliest_offset - 1) AS position
    FROM feeds
    WHERE workspace_id = $1
),
page AS MATERIALIZED (
    SELECT u.feed_offset, u.operation, u.entity_type, u.entity_id, u.node_id, u.version
    FROM updates u
    WHERE u.workspace_id = $1
        AND u.feed_offset > (SELECT position FROM bounds)
        AND u.feed_offset <= (SELECT position FROM bounds) + $4::bigint
        AND ($5::text IS NULL OR u.entity_type = $5)
        AND ($6::uuid[] IS NULL OR u.node_id = ANY ($6))
    ORDER BY u.feed_offset
    LIMIT $3
),
-- The first version of an event stays in events until the event changes. Ids of events grow with time, so
-- that those of a page lie close together: one scan of the primary key finds them all, where a look for
-- each took most of the page's time. MATERIALIZED, or a planner without statistics that is free to (see
-- PINNED_PLAN in feed.py) repeats it for each update.
found AS MATERIALIZED (
    SELECT e.id, e.version, e.document
    FROM events e
    WHERE e.workspace_id = $1
        AND e.id = ANY (ARRAY(SELECT p.entity_id FROM page p WHERE p.entity_type = 'EVENT'))
),
-- The others are in versions: the subquery in coalesce runs only where it is needed, as one look into the
-- primary key whatever the planner thinks of the tables' sizes. What is found nowhere was forgotten.
-- OFFSET 0 keeps the three uses of the document in what follows from becoming three searches; the order
-- is repeated, or documents would be sorted.
documents AS (
    SELECT p.*, coalesce(
        f.document,
        (
            SELECT v.document FROM versions v
            WHERE v.workspace_id = $1 AND v.entity_id = p.entity_id AND v.version = p.version
        ),
        '{"id":"' || p.entity_id || '","nodeId":"' || p.node_id
            || CASE WHEN p.entity_type = 'CUSTOMER' THEN '","deleted":-1}' ELSE '"}' END
    ) AS document
    FROM page p
    LEFT JOIN found f ON f.id = p.entity_id AND f.version = p.version AND p.entity_type = 'EVENT'
    ORDER BY p.feed_offset
    OFFSET 0
),
-- octet_length of a document that is stored out of line doesn't read it.
sized AS (
    SELECT d.*, sum(octet_length(d.document)) OVER (
        ORDER BY d.feed_offset ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    ) - octet_length(d.document) < $7::bigint AS fits
    FROM documents d
)
-- Row by row: one text of all would be megabytes that Postgres takes from the system and gives back each
-- time. Nobody promises the order of a UNION ALL, and ORDER BY would sort the documents once more.
SELECT 0::bigint AS feed_offset, NULL::bytea AS body, b.last_offset, b.earliest_offset, b.position
FROM bounds b
UNION ALL
SELECT s.feed_offset, CASE WHEN s.fits THEN convert_to({row}, 'UTF8') END, NULL, NULL, NULL
FROM sized s;

-- name: row_of_page
-- An update as a page holds it.
'{"operation":"' || s.operation || '","entity":{"type":"' || s.entity_type || '","data":'
    || s.document || '}}'

-- name: row_of_lines
-- An update as a line of JSON.
'{"offset":' || s.feed_offset || ',"operation":"' || s.operation || '","entity":{"type":"'
    || s.entity_type || '","data":' || s.document || E'}}\n'

-- name: row_of_events
-- An update as a server-sent event.
'id: ' || s.feed_offset || E'\nevent: update\ndata: {"offset":' || s.feed_offset || ',"operation":"'
    || s.operation || '","entity":{"type":"' || s.entity_type || '","data":' || s.document || E'}}\n\n'

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
-- The greatest offset that passes the filters, looking back to $4 (null: at the last 10,000 rows), with
-- the last offset that was dropped and how far it was looked.
-- $1 workspace, $2 entity type or null, $3 nodes or null, $4 offset or null
SELECT (
    SELECT u.feed_offset
    FROM updates u
    WHERE u.workspace_id = $1
        AND u.feed_offset > b.looked_to
        AND ($2::text IS NULL OR u.entity_type = $2)
        AND ($3::uuid[] IS NULL OR u.node_id = ANY ($3))
    ORDER BY u.feed_offset DESC
    LIMIT 1
) AS found, b.dropped, b.looked_to
FROM (
    SELECT earliest_offset - 1 AS dropped,
        greatest(earliest_offset - 1, coalesce($4::bigint, last_offset - 10000)) AS looked_to
    FROM feeds
    WHERE workspace_id = $1
    OFFSET 0
) AS b;

-- name: find_start_of_nodes
-- Nothing of these nodes changed before it: an hour before the first of them was made, as the clocks of
-- two machines differ. Null if one is unknown. $1 workspace, $2 nodes
SELECT min(created_at) - interval '1 hour'
FROM nodes
WHERE workspace_id = $1 AND id = ANY ($2::uuid[])
HAVING count(*) = cardinality($2);

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
-- Readers see nothing below it from now on; the rows go later, in batches. Never lowers it.
-- $1 workspace, $2 first offset to keep
UPDATE feeds SET earliest_offset = $2
WHERE workspace_id = $1 AND earliest_offset < $2 AND $2 <= last_offset + 1
RETURNING earliest_offset;

-- name: lock_pruning
-- Two prunings of one feed would wait for each other's rows, in any order. $1 workspace
SELECT pg_advisory_xact_lock(hashtextextended('prune ' || $1::uuid::text, 0));

-- name: prune_updates
-- Drops some of the updates that no reader sees any more, and what nothing refers to without them.
-- $1 workspace, $2 how many updates at most
WITH doomed AS (
    SELECT u.feed_offset
    FROM updates u
    WHERE u.workspace_id = $1
        AND u.feed_offset < (SELECT earliest_offset FROM feeds WHERE workspace_id = $1)
    ORDER BY u.feed_offset
    LIMIT $2
),
dropped AS (
    DELETE FROM updates u
    USING doomed d
    WHERE u.workspace_id = $1 AND u.feed_offset = d.feed_offset
    RETURNING u.entity_type, u.entity_id, u.version, u.operation
),
-- The last update of each entity that goes: all its earlier ones are gone too.
entities AS (
    SELECT entity_type, entity_id, max(version) AS version, bool_or(operation = 'DELETE') AS is_deleted
    FROM dropped
    GROUP BY entity_type, entity_id
),
-- Deleted customers, unless a later update speaks of them. Forgotten ones stay, they are tombstones.
-- Locked in order of id, as the processor does it.
doomed_customers AS (
    SELECT c.id
    FROM customers c
    JOIN entities n ON n.entity_type = 'CUSTOMER' AND n.entity_id = c.id AND n.is_deleted
    WHERE c.workspace_id = $1 AND c.deleted = 1 AND c.version = n.version
    ORDER BY c.id
    FOR UPDATE OF c
),
gone_customers AS (
    DELETE FROM customers c
    USING doomed_customers d
    WHERE c.workspace_id = $1 AND c.id = d.id
    RETURNING 1
),
gone_events AS (
    DELETE FROM events e
    USING entities n
    WHERE e.workspace_id = $1 AND e.id = n.entity_id
        AND n.entity_type = 'EVENT' AND n.is_deleted AND e.deleted AND e.version = n.version
    RETURNING 1
),
-- Past documents, also those that outlived their own update because they were the present ones then. The
-- present document of a customer stands here too, that of an event in events.
gone_documents AS (
    DELETE FROM versions v
    USING entities n
    WHERE v.workspace_id = $1 AND v.entity_id = n.entity_id AND v.version <= n.version
        AND NOT EXISTS (
            SELECT FROM customers c
            WHERE c.workspace_id = $1 AND c.id = v.entity_id AND c.version = v.version
                AND c.deleted = 0
        )
    RETURNING 1
)
SELECT (SELECT count(*) FROM dropped) AS updates,
    (SELECT count(*) FROM gone_documents) AS documents,
    (SELECT count(*) FROM gone_customers) AS customers,
    (SELECT count(*) FROM gone_events) AS events;
