-- Customers as the processor reads and writes them. Reading for clients is in search.sql.

-- name: lock_customers
-- Locks for a merge; events of the customer can still be stored meanwhile. Sorted, or two batches
-- deadlock. $1 workspace, $2 ids
SELECT id, node_id, int_id, version, deleted, registered_at, updated_at, registered_by, updated_by,
    document::text AS document
FROM customers
WHERE workspace_id = $1 AND id = ANY ($2::uuid[])
ORDER BY id
FOR NO KEY UPDATE;

-- name: lock_customers_to_delete
-- As lock_customers, but waits for transactions that store events of them, and they for us.
-- $1 workspace, $2 ids
SELECT id, node_id, int_id, version, deleted, registered_at, updated_at, registered_by, updated_by,
    document::text AS document
FROM customers
WHERE workspace_id = $1 AND id = ANY ($2::uuid[])
ORDER BY id
FOR UPDATE;

-- name: hold_customers
-- Keeps customers from being deleted until commit. $1 workspace, $2 ids
SELECT id, node_id
FROM customers
WHERE workspace_id = $1 AND id = ANY ($2::uuid[]) AND deleted = 0
ORDER BY id
FOR KEY SHARE;

-- name: read_nodes_of_customers
-- The node of a customer never changes. $1 workspace, $2 ids
SELECT id, node_id FROM customers WHERE workspace_id = $1 AND id = ANY ($2::uuid[]);

-- name: find_by_external_ids
-- The live customer of each external id, the most recently updated of several.
-- $1 workspace, $2 nodes, $3 external ids, $4 customers that don't count
SELECT DISTINCT ON (c.node_id, c.external_id) c.node_id, c.external_id, c.id, c.updated_at
FROM customers c
JOIN unnest($2::uuid[], $3::text[]) AS wanted (node_id, external_id)
    ON c.node_id = wanted.node_id AND c.external_id = wanted.external_id
WHERE c.workspace_id = $1 AND c.deleted = 0 AND c.external_id IS NOT NULL
    AND NOT (c.id = ANY ($4::uuid[]))
ORDER BY c.node_id, c.external_id, c.updated_at DESC, c.id;

-- name: take_int_ids
-- Runs in a transaction of its own. $1 workspace, $2 how many; returns the last one
UPDATE customer_numbers SET last_int_id = last_int_id + $2 WHERE workspace_id = $1
RETURNING last_int_id;

-- name: write_customers
-- $1 workspace, then arrays: $2 ids, $3 nodes, $4 int ids, $5 external ids, $6 versions, $7 deleted,
-- $8 registered at, $9 updated at, $10 registered by, $11 updated by, $12 documents
INSERT INTO customers (workspace_id, id, node_id, int_id, external_id, version, deleted,
    registered_at, updated_at, registered_by, updated_by, document)
SELECT $1, c.id, c.node_id, c.int_id, c.external_id, c.version, c.deleted,
    c.registered_at, c.updated_at, c.registered_by, c.updated_by, c.document::jsonb
FROM unnest($2::uuid[], $3::uuid[], $4::bigint[], $5::text[], $6::integer[], $7::smallint[],
    $8::timestamptz[], $9::timestamptz[], $10::text[], $11::text[], $12::text[])
    AS c (id, node_id, int_id, external_id, version, deleted,
        registered_at, updated_at, registered_by, updated_by, document)
ON CONFLICT (workspace_id, id) DO UPDATE SET
    external_id = excluded.external_id, version = excluded.version, deleted = excluded.deleted,
    updated_at = excluded.updated_at, updated_by = excluded.updated_by, document = excluded.document;

-- name: read_versions
-- $1 workspace, $2 entity ids, $3 versions
SELECT v.entity_id, v.version, v.document
FROM versions v
JOIN unnest($2::uuid[], $3::integer[]) AS wanted (entity_id, version)
    ON v.entity_id = wanted.entity_id AND v.version = wanted.version
WHERE v.workspace_id = $1;
