-- Configuration: workspaces, nodes, sources, users. Every change raises workspaces.config_version.

-- name: read_workspace
-- $1 id
SELECT * FROM workspaces WHERE id = $1;

-- name: read_nodes
-- In order of creation. $1 workspace
SELECT * FROM nodes WHERE workspace_id = $1 ORDER BY created_at, id;

-- name: read_sources
-- $1 workspace
SELECT id, provider, name, description, properties::text AS properties, nodes, enabled, token_hash
FROM sources WHERE workspace_id = $1 ORDER BY created_at, id;

-- name: read_users
-- $1 workspace
SELECT id, name, roles, nodes::text AS nodes, token_hash FROM users WHERE workspace_id = $1 ORDER BY id;

-- name: read_extended_properties
-- $1 workspace
SELECT scope, name, definition::text AS definition FROM extended_properties WHERE workspace_id = $1;

-- name: read_event_types
-- $1 workspace
SELECT type, enabled, max_bytes FROM event_types WHERE workspace_id = $1;

-- name: read_versions
-- Which of the cached configurations are out of date? $1 workspaces
SELECT id, config_version FROM workspaces WHERE id = ANY ($1::uuid[]);

-- name: read_platform_version
SELECT config_version FROM platform;

-- name: find_token
-- Who presents this token: a source or user of a workspace, or a user of the platform. $1 hash
SELECT workspace_id, id AS source_id, NULL::integer AS user_id, NULL::text[] AS roles
FROM sources WHERE token_hash = $1
UNION ALL
SELECT workspace_id, NULL, id, roles FROM users WHERE token_hash = $1;

-- name: raise_version
-- Also the lock of the workspace's configuration: batches hold it FOR SHARE. $1 workspace
UPDATE workspaces SET config_version = config_version + 1 WHERE id = $1 RETURNING customer_policy;

-- name: raise_platform_version
UPDATE platform SET config_version = config_version + 1;

-- name: list_workspaces
-- In order of creation. $1 only this workspace, or null
SELECT id, name, slug, group_pk, shard, status FROM workspaces
WHERE $1::uuid IS NULL OR id = $1
ORDER BY created_at, id;

-- name: insert_workspace
-- $1 id, $2 name, $3 slug, $4 group, $5 shard, $6 policy, $7 now
INSERT INTO workspaces (id, name, slug, group_pk, shard, customer_policy, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (slug) DO NOTHING
RETURNING id;

-- name: insert_feed
-- $1 workspace
INSERT INTO feeds (workspace_id) VALUES ($1);

-- name: insert_customer_numbers
-- $1 workspace
INSERT INTO customer_numbers (workspace_id) VALUES ($1);

-- name: set_workspace_status
-- $1 workspace, $2 status
UPDATE workspaces SET status = $2 WHERE id = $1;

-- name: set_workspace_policy
-- $1 workspace, $2 policy
UPDATE workspaces SET customer_policy = $2 WHERE id = $1;

-- name: set_workspace_configuration
-- $1 workspace, $2 name, $3 industry, $4 logo, $5 timezone, $6 currency
UPDATE workspaces SET name = $2, industry = $3, logo = $4, timezone = $5, currency = $6 WHERE id = $1;

-- name: set_throttling
-- $1 workspace, $2 requests per minute, 0 for any number
UPDATE workspaces SET max_requests_per_minute = $2 WHERE id = $1;

-- name: write_node
-- $1 workspace, $2 id, $3 name, $4 description, $5 image, $6 unique properties, $7 case sensitive,
-- $8 mandatory properties, $9 source priority, $10 now
INSERT INTO nodes (workspace_id, id, node_type, name, description, image_url, unique_properties,
    case_sensitive, mandatory_properties, source_priority, created_at)
VALUES ($1, $2, 'ENTRY', $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT (workspace_id, id) DO UPDATE SET
    name = excluded.name, description = excluded.description, image_url = excluded.image_url,
    unique_properties = excluded.unique_properties, case_sensitive = excluded.case_sensitive,
    mandatory_properties = excluded.mandatory_properties, source_priority = excluded.source_priority;

-- name: read_documents_of_node
-- For new match keys. Nobody changes them meanwhile: whoever does holds the workspace's configuration.
-- $1 workspace, $2 node
SELECT id, document::text AS document FROM customers
WHERE workspace_id = $1 AND node_id = $2 AND deleted = 0;

-- name: delete_match_keys
-- $1 workspace, $2 node
DELETE FROM identities WHERE workspace_id = $1 AND node_id = $2 AND kind = 'MATCH';

-- name: insert_match_keys
-- Returns those that were free. $1 workspace, $2 node, $3 values, $4 customers, $5 now
INSERT INTO identities (workspace_id, node_id, kind, value, customer_id, created_at)
SELECT $1, $2, 'MATCH', k.value, k.customer_id, $5
FROM unnest($3::text[], $4::uuid[]) AS k (value, customer_id)
ON CONFLICT (workspace_id, node_id, kind, value) DO NOTHING
RETURNING value;

-- name: find_match_key
-- $1 workspace, $2 node, $3 value
SELECT customer_id FROM identities
WHERE workspace_id = $1 AND node_id = $2 AND kind = 'MATCH' AND value = $3;

-- name: write_source
-- $1 workspace, $2 id, $3 provider, $4 name, $5 description, $6 properties, $7 nodes, $8 enabled,
-- $9 token hash, $10 now
INSERT INTO sources (workspace_id, id, provider, name, description, properties, nodes, enabled,
    token_hash, created_at)
VALUES ($1, $2, $3, $4, $5, $6::text::jsonb, $7, $8, $9, $10)
ON CONFLICT (workspace_id, id) DO UPDATE SET
    name = excluded.name, description = excluded.description, properties = excluded.properties,
    nodes = excluded.nodes, enabled = excluded.enabled, token_hash = excluded.token_hash;

-- name: delete_source
-- $1 workspace, $2 id
DELETE FROM sources WHERE workspace_id = $1 AND id = $2;

-- name: write_operator
-- The platform operator that the environment names. $1 token hash, $2 now
INSERT INTO users (workspace_id, username, name, roles, token_hash, created_at, updated_at)
VALUES (NULL, 'operator', 'Platform operator', ARRAY['CLAB_OPERATOR'], $1, $2, $2)
ON CONFLICT (username) DO UPDATE SET token_hash = excluded.token_hash, updated_at = excluded.updated_at
WHERE users.token_hash IS DISTINCT FROM excluded.token_hash
RETURNING id;

-- name: read_user
-- $1 id
SELECT id, name, surname, email, roles, workspace_id FROM users WHERE id = $1;

-- name: insert_user
-- $1 workspace, or null for the platform, $2 username, $3 name, $4 surname, $5 email, $6 roles,
-- $7 nodes as JSON, $8 token hash, $9 now
INSERT INTO users (workspace_id, username, name, surname, email, roles, nodes, token_hash, created_at,
    updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7::text::jsonb, $8, $9, $9)
ON CONFLICT (username) DO NOTHING
RETURNING id;

-- name: revoke_user_token
-- Returns a row if there is such a user. $1 id, $2 now
UPDATE users SET token_hash = NULL, updated_at = $2 WHERE id = $1 RETURNING workspace_id, id;
