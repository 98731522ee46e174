-- What names a customer within a node: match keys, sessions, external ids.

-- name: read_identities
-- $1 workspace, $2 nodes, $3 kinds, $4 values (same length)
SELECT i.node_id, i.kind, i.value, i.customer_id, i.id
FROM identities i
JOIN unnest($2::uuid[], $3::text[], $4::text[]) AS wanted (node_id, kind, value)
    ON i.node_id = wanted.node_id AND i.kind = wanted.kind AND i.value = wanted.value
WHERE i.workspace_id = $1;

-- name: claim_identities
-- Locks each row until commit, making it if there is none: here two writers of one value meet, and the
-- second waits for the first. Sorted, or two batches deadlock. awaited: anonymous events wait for it.
-- $1 workspace, $2 nodes, $3 kinds, $4 values, $5 awaited, $6 now
INSERT INTO identities AS i (workspace_id, node_id, kind, value, awaited, created_at)
SELECT $1, wanted.node_id, wanted.kind, wanted.value, wanted.awaited, $6
FROM unnest($2::uuid[], $3::text[], $4::text[], $5::boolean[]) AS wanted (node_id, kind, value, awaited)
ORDER BY wanted.node_id, wanted.kind, wanted.value
ON CONFLICT (workspace_id, node_id, kind, value)
    DO UPDATE SET awaited = i.awaited OR excluded.awaited
RETURNING i.node_id, i.kind, i.value, i.customer_id, i.id, i.awaited;

-- name: set_identities
-- $1 workspace, $2 nodes, $3 kinds, $4 values, $5 customers (null for an external id), $6 ids, $7 now
INSERT INTO identities (workspace_id, node_id, kind, value, customer_id, id, awaited, created_at)
SELECT $1, s.node_id, s.kind, s.value, s.customer_id, s.id, false, $7
FROM unnest($2::uuid[], $3::text[], $4::text[], $5::uuid[], $6::uuid[])
    AS s (node_id, kind, value, customer_id, id)
ORDER BY s.node_id, s.kind, s.value
ON CONFLICT (workspace_id, node_id, kind, value)
    DO UPDATE SET customer_id = excluded.customer_id, id = excluded.id, awaited = false;

-- name: delete_identities
-- Values that name nobody. A row that events wait for stays. $1 workspace, $2 nodes, $3 kinds, $4 values
DELETE FROM identities i
USING unnest($2::uuid[], $3::text[], $4::text[]) AS gone (node_id, kind, value)
WHERE i.workspace_id = $1 AND i.node_id = gone.node_id AND i.kind = gone.kind AND i.value = gone.value
    AND NOT i.awaited;

-- name: delete_identities_of_customers
-- Match keys and sessions of customers that are gone. $1 workspace, $2 customers
DELETE FROM identities WHERE workspace_id = $1 AND customer_id = ANY ($2::uuid[]);

-- name: delete_external_identities
-- External ids that no live customer carries any more. $1 workspace, $2 nodes, $3 values
DELETE FROM identities i
USING unnest($2::uuid[], $3::text[]) AS gone (node_id, value)
WHERE i.workspace_id = $1 AND i.node_id = gone.node_id AND i.kind = 'EXTERNAL' AND i.value = gone.value
    AND NOT i.awaited
    AND NOT EXISTS (
        SELECT FROM customers c
        WHERE c.workspace_id = $1 AND c.node_id = gone.node_id AND c.external_id = gone.value
            AND c.deleted = 0
    );
