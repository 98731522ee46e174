-- The second witness: what the tables say, beside what the public API says.

-- name: watch_offsets
-- Before the load: whoever moves a partition's offset and doesn't move it on has applied records again.
CREATE TABLE chaos_moves (topic text, partition integer, came_from bigint, went_to bigint);
CREATE FUNCTION chaos_note_move() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO chaos_moves VALUES (old.topic, old.partition, old.next_offset, new.next_offset);
    RETURN new;
END $$;
CREATE TRIGGER chaos_moves AFTER UPDATE ON consumer_offsets FOR EACH ROW
    WHEN (new.next_offset <= old.next_offset) EXECUTE FUNCTION chaos_note_move();

-- name: moves
SELECT topic, partition, came_from, went_to FROM chaos_moves;

-- name: updates
-- $1 workspace
SELECT feed_offset, operation, entity_type, entity_id::text AS id, version
FROM updates WHERE workspace_id = $1 ORDER BY feed_offset;

-- name: feed
-- $1 workspace
SELECT last_offset, earliest_offset FROM feeds WHERE workspace_id = $1;

-- name: customers
-- $1 workspace
SELECT id::text AS id, version, deleted, node_id::text AS node_id, document::text AS document
FROM customers WHERE workspace_id = $1;

-- name: events
-- $1 workspace
SELECT id::text AS id, version, deleted, document FROM events WHERE workspace_id = $1;

-- name: operations
-- Outcomes of customer writes and sessions. $1 workspace
SELECT id::text AS id, fingerprint, state, http_status, entity_type, entity_id::text AS entity_id,
    entity_version
FROM operations WHERE workspace_id = $1;

-- name: rejections
-- $1 workspace
SELECT id::text AS id FROM rejections WHERE workspace_id = $1;

-- name: anonymous_with_session
-- Events that still wait though the session they name has a customer. $1 workspace
SELECT e.id::text AS id, i.customer_id::text AS customer_id, e.bring_back_value AS value
FROM events e
JOIN identities i ON i.workspace_id = e.workspace_id AND i.node_id = e.node_id AND i.kind = 'SESSION'
    AND i.value = e.bring_back_value
WHERE e.workspace_id = $1 AND e.bring_back_type = 'SESSION_ID' AND e.customer_id IS NULL
    AND NOT e.deleted AND i.customer_id IS NOT NULL;

-- name: anonymous_with_external_id
-- Events that still wait though a live customer has the external id they name. $1 workspace
SELECT e.id::text AS id, c.id::text AS customer_id, e.bring_back_value AS value
FROM events e
JOIN customers c ON c.workspace_id = e.workspace_id AND c.node_id = e.node_id AND c.deleted = 0
    AND c.external_id = e.bring_back_value
WHERE e.workspace_id = $1 AND e.bring_back_type = 'EXTERNAL_ID' AND e.customer_id IS NULL
    AND NOT e.deleted;

-- name: attached_to_another
-- Events of a live customer by a session that belongs to another one now. $1 workspace
SELECT e.id::text AS id, e.customer_id::text AS owner, i.customer_id::text AS customer_id,
    e.bring_back_value AS value
FROM events e
JOIN identities i ON i.workspace_id = e.workspace_id AND i.node_id = e.node_id AND i.kind = 'SESSION'
    AND i.value = e.bring_back_value
WHERE e.workspace_id = $1 AND e.bring_back_type = 'SESSION_ID' AND NOT e.deleted
    AND e.customer_id <> i.customer_id;
