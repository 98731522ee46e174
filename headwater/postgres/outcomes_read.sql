-- Outcomes as clients ask for them: events on their way, operations, rejections.

-- name: find_event_status
-- $1 workspace, $2 event
SELECT CASE WHEN customer_id IS NULL THEN 'ANONYMOUS' ELSE 'STORED' END AS status, NULL AS reason,
    node_id, deleted AS gone
FROM events WHERE workspace_id = $1 AND id = $2
UNION ALL
SELECT 'FAILED', message, node_id, false
FROM rejections
WHERE workspace_id = $1 AND id = $2 AND entity_type = 'EVENT' AND state <> 'REPLAYED'
    AND NOT EXISTS (SELECT FROM events WHERE workspace_id = $1 AND id = $2);

-- name: find_fingerprints
-- $1 workspace, $2 operations
SELECT id, fingerprint FROM operations
WHERE workspace_id = $1 AND id = ANY ($2::uuid[]) AND expires_at > now();

-- name: find_operation
-- $1 workspace, $2 operation
SELECT state, http_status, entity_type, entity_id, outcome::text AS outcome
FROM operations WHERE workspace_id = $1 AND id = $2 AND expires_at > now();

-- name: list_rejections
-- Newest first. $1 workspace, $2 id or null, $3 entity, $4 type, $5 reason, $6 from, $7 to, $8 state,
-- $9 nodes or null for all, $10 limit, $11 skip, $12 who asks: a write that names no node is its writer's
SELECT id, entity_type, type, node_id, reason, message, errors::text AS errors, caller, state,
    received_at, envelope, payload, count(*) OVER () AS total
FROM rejections
WHERE workspace_id = $1
    AND ($2::uuid IS NULL OR id = $2)
    AND ($3::text IS NULL OR entity_type = $3)
    AND ($4::text IS NULL OR type = $4)
    AND ($5::text IS NULL OR reason = $5)
    AND ($6::timestamptz IS NULL OR received_at >= $6)
    AND ($7::timestamptz IS NULL OR received_at <= $7)
    AND ($8::text IS NULL OR state = $8)
    AND ($9::uuid[] IS NULL OR node_id = ANY ($9) OR (node_id IS NULL AND caller = $12))
ORDER BY received_at DESC, id
LIMIT $10 OFFSET $11;

-- name: read_rejections_after
-- Those to replay, in the order in which they were accepted, behind a place ($10 received at, $11 id);
-- ids go down so that the index of the list serves this too, read backwards.
-- $1 workspace, $2 to $9 as above but for the id ($2 entity ... $8 nodes, $9 who asks), $12 limit
SELECT id, entity_type, type, reason, message, errors::text AS errors, caller, state, received_at,
    envelope, payload
FROM rejections
WHERE workspace_id = $1
    AND ($2::text IS NULL OR entity_type = $2)
    AND ($3::text IS NULL OR type = $3)
    AND ($4::text IS NULL OR reason = $4)
    AND ($5::timestamptz IS NULL OR received_at >= $5)
    AND ($6::timestamptz IS NULL OR received_at <= $6)
    AND ($7::text IS NULL OR state = $7)
    AND ($8::uuid[] IS NULL OR node_id = ANY ($8) OR (node_id IS NULL AND caller = $9))
    AND ($10::timestamptz IS NULL OR received_at > $10 OR (received_at = $10 AND id < $11::uuid))
ORDER BY received_at, id DESC
LIMIT $12;

-- name: count_matching_rejections
-- $1 to $9 as read_rejections_after
SELECT count(*)
FROM rejections
WHERE workspace_id = $1
    AND ($2::text IS NULL OR entity_type = $2)
    AND ($3::text IS NULL OR type = $3)
    AND ($4::text IS NULL OR reason = $4)
    AND ($5::timestamptz IS NULL OR received_at >= $5)
    AND ($6::timestamptz IS NULL OR received_at <= $6)
    AND ($7::text IS NULL OR state = $7)
    AND ($8::uuid[] IS NULL OR node_id = ANY ($8) OR (node_id IS NULL AND caller = $9));

-- name: discard_rejection
-- $1 workspace, $2 id
UPDATE rejections SET state = 'DISCARDED' WHERE workspace_id = $1 AND id = $2 AND state = 'OPEN'
RETURNING id;
