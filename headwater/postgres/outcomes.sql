-- What became of writes: operations and rejections, as the processor writes them.

-- name: read_operations
-- $1 workspace, $2 ids
SELECT id, fingerprint, state, http_status, entity_type, entity_id, entity_version, outcome::text AS outcome
FROM operations WHERE workspace_id = $1 AND id = ANY ($2::uuid[]) AND expires_at > $3;

-- name: write_operations
-- An operation that exists is written again only by a replay. Returns the ids written.
-- $1 workspace, then arrays: $2 ids, $3 fingerprints, $4 states, $5 statuses, $6 entity types,
-- $7 entity ids, $8 entity versions, $9 outcomes, $10 expires at, $11 replayed; $12 now
INSERT INTO operations AS o (workspace_id, id, fingerprint, state, http_status, entity_type, entity_id,
    entity_version, outcome, expires_at)
SELECT $1, n.id, n.fingerprint, n.state, n.http_status, n.entity_type, n.entity_id,
    n.entity_version, n.outcome::jsonb, n.expires_at
FROM unnest($2::uuid[], $3::text[], $4::text[], $5::integer[], $6::text[], $7::uuid[], $8::integer[],
    $9::text[], $10::timestamptz[])
    AS n (id, fingerprint, state, http_status, entity_type, entity_id, entity_version, outcome, expires_at)
ORDER BY n.id
ON CONFLICT (workspace_id, id) DO UPDATE SET
    fingerprint = excluded.fingerprint, state = excluded.state, http_status = excluded.http_status,
    entity_type = excluded.entity_type, entity_id = excluded.entity_id,
    entity_version = excluded.entity_version, outcome = excluded.outcome,
    expires_at = excluded.expires_at
WHERE o.expires_at <= $12 OR o.id = ANY ($11::uuid[])
RETURNING o.id;

-- name: prolong_operations
-- $1 workspace, $2 ids, $3 expires at
UPDATE operations SET expires_at = $3 WHERE workspace_id = $1 AND id = ANY ($2::uuid[]) AND expires_at < $3;

-- name: delete_expired_operations
-- $1 now
DELETE FROM operations WHERE expires_at < $1;

-- name: write_rejections
-- A replayed write that is refused again keeps its row, with the new reasons.
-- $1 workspace, then arrays: $2 ids, $3 entity types, $4 types, $5 nodes, $6 reasons, $7 statuses,
-- $8 messages, $9 errors, $10 callers, $11 received at, $12 envelopes, $13 payloads; $14 now
INSERT INTO rejections (workspace_id, id, entity_type, type, node_id, reason, status, message, errors,
    caller, received_at, rejected_at, envelope, payload)
SELECT $1, r.id, r.entity_type, r.type, r.node_id, r.reason, r.status, r.message, r.errors::jsonb,
    r.caller, r.received_at, $14, r.envelope, r.payload
FROM unnest($2::uuid[], $3::text[], $4::text[], $5::uuid[], $6::text[], $7::integer[], $8::text[],
    $9::text[], $10::text[], $11::timestamptz[], $12::bytea[], $13::bytea[])
    AS r (id, entity_type, type, node_id, reason, status, message, errors, caller, received_at,
        envelope, payload)
ON CONFLICT (workspace_id, id) DO UPDATE SET
    reason = excluded.reason, status = excluded.status, message = excluded.message,
    errors = excluded.errors, rejected_at = excluded.rejected_at
WHERE rejections.state = 'OPEN';

-- name: is_rejected
-- $1 workspace, $2 id
SELECT EXISTS (SELECT FROM rejections WHERE workspace_id = $1 AND id = $2);

-- name: lock_open_rejections
-- Those that may still be replayed. $1 workspace, $2 ids
SELECT id FROM rejections WHERE workspace_id = $1 AND id = ANY ($2::uuid[]) AND state = 'OPEN'
ORDER BY id
FOR UPDATE;

-- name: close_rejections
-- $1 workspace, $2 ids
UPDATE rejections SET state = 'REPLAYED' WHERE workspace_id = $1 AND id = ANY ($2::uuid[]);

-- name: delete_old_rejections
-- $1 received before
DELETE FROM rejections WHERE received_at < $1;

-- name: lock_config_version
-- The configuration cannot change until the batch commits. $1 workspace
SELECT config_version FROM workspaces WHERE id = $1 FOR SHARE;
