-- The hub's tables. Every key of the data path begins with workspace_id, so that a workspace's rows
-- can live together on one server of several.

-- Counts changes of what belongs to no workspace (platform users). One row.
CREATE TABLE platform (
    only_row boolean PRIMARY KEY DEFAULT true CONSTRAINT platform_only_row_check CHECK (only_row),
    config_version bigint NOT NULL DEFAULT 1
);
INSERT INTO platform DEFAULT VALUES;

CREATE TABLE workspaces (
    id uuid PRIMARY KEY,
    name text NOT NULL,
    slug text NOT NULL CONSTRAINT workspaces_slug_key UNIQUE,
    group_pk bigint NOT NULL,
    shard text NOT NULL DEFAULT 'default',
    status text NOT NULL DEFAULT 'ENABLED'
        CONSTRAINT workspaces_status_check CHECK (status IN ('ENABLED', 'SUSPENDED', 'DISABLED')),
    customer_policy text NOT NULL DEFAULT 'MERGE'
        CONSTRAINT workspaces_customer_policy_check CHECK (customer_policy IN ('MERGE', 'BLOCK', 'NO_CHECK')),
    industry text NOT NULL DEFAULT 'NotDefined',
    logo text,
    timezone text DEFAULT 'Europe/Rome',
    currency text NOT NULL DEFAULT 'EUR',
    tier text,
    -- 0: no throttle.
    max_requests_per_minute integer NOT NULL DEFAULT 0
        CONSTRAINT workspaces_max_requests_per_minute_check CHECK (max_requests_per_minute >= 0),
    -- Raised by every change of the workspace's configuration; the processor locks it FOR SHARE.
    config_version bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL
);

CREATE TABLE nodes (
    workspace_id uuid NOT NULL CONSTRAINT nodes_workspace_id_fk REFERENCES workspaces (id),
    id uuid NOT NULL,
    node_type text NOT NULL CONSTRAINT nodes_node_type_check CHECK (node_type IN ('ENTRY', 'AGGREGATE')),
    name text NOT NULL,
    description text,
    image_url text,
    unique_properties text[] NOT NULL,
    case_sensitive boolean NOT NULL,
    mandatory_properties text[] NOT NULL DEFAULT '{}',
    source_priority uuid[] NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL,
    PRIMARY KEY (workspace_id, id)
);

CREATE TABLE sources (
    workspace_id uuid NOT NULL CONSTRAINT sources_workspace_id_fk REFERENCES workspaces (id),
    id uuid NOT NULL,
    provider text NOT NULL,
    name text NOT NULL,
    description text,
    properties jsonb NOT NULL DEFAULT '{}',
    nodes uuid[] NOT NULL,
    enabled boolean NOT NULL DEFAULT true,
    token_hash bytea NOT NULL CONSTRAINT sources_token_hash_key UNIQUE,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (workspace_id, id)
);

-- People. workspace_id is null for the platform's operators.
CREATE TABLE users (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    workspace_id uuid CONSTRAINT users_workspace_id_fk REFERENCES workspaces (id),
    username text NOT NULL CONSTRAINT users_username_key UNIQUE,
    name text NOT NULL,
    surname text,
    email text,
    roles text[] NOT NULL,
    nodes jsonb NOT NULL DEFAULT '[]',
    token_hash bytea CONSTRAINT users_token_hash_key UNIQUE,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);

-- Definitions of extended properties. scope: 'customer', 'product', or 'event:<type>'.
CREATE TABLE extended_properties (
    workspace_id uuid NOT NULL CONSTRAINT extended_properties_workspace_id_fk REFERENCES workspaces (id),
    scope text NOT NULL,
    name text NOT NULL,
    definition jsonb NOT NULL,
    PRIMARY KEY (workspace_id, scope, name)
);

-- What a workspace changed about an event type; no row means enabled, with the default limit.
CREATE TABLE event_types (
    workspace_id uuid NOT NULL CONSTRAINT event_types_workspace_id_fk REFERENCES workspaces (id),
    type text NOT NULL,
    enabled boolean NOT NULL DEFAULT true,
    max_bytes integer,
    PRIMARY KEY (workspace_id, type)
);

-- Numbers of customers, raised in a transaction of their own: never reused, gaps after a crash.
CREATE TABLE customer_numbers (
    workspace_id uuid PRIMARY KEY CONSTRAINT customer_numbers_workspace_id_fk REFERENCES workspaces (id),
    last_int_id bigint NOT NULL DEFAULT 0
);

-- The present document of a customer, compact (unset members left out), for matching and search. Its
-- rendered text stands in versions. deleted: 0 live, 1 deleted, -1 forgotten.
CREATE TABLE customers (
    workspace_id uuid NOT NULL,
    id uuid NOT NULL,
    node_id uuid NOT NULL,
    int_id bigint NOT NULL,
    external_id text,
    version integer NOT NULL,
    deleted smallint NOT NULL DEFAULT 0,
    registered_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    registered_by text NOT NULL,
    updated_by text NOT NULL,
    document jsonb NOT NULL,
    PRIMARY KEY (workspace_id, id)
);
-- Serves the customer search's default order, and counts per node.
CREATE INDEX customers_node_updated_idx ON customers (workspace_id, node_id, updated_at DESC, id)
    WHERE deleted = 0;
-- Serves the search by externalId and the bring-back of kind EXTERNAL_ID.
CREATE INDEX customers_external_idx ON customers (workspace_id, node_id, external_id)
    WHERE deleted = 0 AND external_id IS NOT NULL;

-- Documents as they are sent, written once. The first version of an event stays in events until the
-- event changes.
CREATE TABLE versions (
    workspace_id uuid NOT NULL,
    entity_id uuid NOT NULL,
    version integer NOT NULL,
    document text NOT NULL,
    PRIMARY KEY (workspace_id, entity_id, version)
);

-- What names a customer within a node, one row per value: the place where two writers meet.
-- kind MATCH: value is the digest of the unique properties, customer_id its owner.
-- kind SESSION: value is the session's, id the session's id; customer_id null while only events wait.
-- kind EXTERNAL: value is an externalId, customer_id always null (customers may share it).
-- awaited: anonymous events wait for this value.
CREATE TABLE identities (
    workspace_id uuid NOT NULL,
    node_id uuid NOT NULL,
    kind text NOT NULL CONSTRAINT identities_kind_check CHECK (kind IN ('MATCH', 'SESSION', 'EXTERNAL')),
    value text NOT NULL,
    customer_id uuid,
    id uuid,
    awaited boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL,
    CONSTRAINT identities_node_kind_value_key PRIMARY KEY (workspace_id, node_id, kind, value)
);
-- Serves a customer's sessions, and the removal of what names a deleted customer.
CREATE INDEX identities_customer_idx ON identities (workspace_id, customer_id)
    WHERE customer_id IS NOT NULL;

-- document is the event as it is sent, of the present version. A deleted one stays for the feed's past.
CREATE TABLE events (
    workspace_id uuid NOT NULL,
    id uuid NOT NULL,
    node_id uuid NOT NULL,
    customer_id uuid,
    type text NOT NULL,
    context text NOT NULL,
    date timestamptz NOT NULL,
    registered_at timestamptz NOT NULL,
    updated_at timestamptz,
    version integer NOT NULL DEFAULT 0,
    deleted boolean NOT NULL DEFAULT false,
    bring_back_type text,
    bring_back_value text,
    document text NOT NULL,
    PRIMARY KEY (workspace_id, id)
);
-- Serves the event search by customer, and the events of a customer that is deleted.
CREATE INDEX events_customer_date_idx ON events (workspace_id, customer_id, date DESC, id)
    WHERE customer_id IS NOT NULL AND NOT deleted;
-- Serves the event search by node.
CREATE INDEX events_node_date_idx ON events (workspace_id, node_id, date DESC, id) WHERE NOT deleted;
-- Serves bring-back: the anonymous events of one value.
CREATE INDEX events_anonymous_idx ON events (workspace_id, node_id, bring_back_type, bring_back_value)
    WHERE customer_id IS NULL AND NOT deleted;

-- One counter per workspace. The row is locked by whoever appends, until commit: offsets are dense and
-- become visible in order. earliest_offset is the first one kept (last_offset + 1 when none is).
CREATE TABLE feeds (
    workspace_id uuid PRIMARY KEY CONSTRAINT feeds_workspace_id_fk REFERENCES workspaces (id),
    last_offset bigint NOT NULL DEFAULT 0,
    earliest_offset bigint NOT NULL DEFAULT 1,
    last_changed_at timestamptz NOT NULL DEFAULT 'epoch'
);

-- The feed. changed_at never decreases with feed_offset. The document is the one of that version.
CREATE TABLE updates (
    workspace_id uuid NOT NULL,
    feed_offset bigint NOT NULL,
    operation text NOT NULL CONSTRAINT updates_operation_check CHECK (operation IN ('CREATE', 'UPDATE', 'DELETE')),
    entity_type text NOT NULL CONSTRAINT updates_entity_type_check CHECK (entity_type IN ('CUSTOMER', 'EVENT')),
    entity_id uuid NOT NULL,
    node_id uuid NOT NULL,
    version integer NOT NULL,
    changed_at timestamptz NOT NULL,
    PRIMARY KEY (workspace_id, feed_offset)
);

-- Refused writes, with their bytes. envelope is the command's header as it travelled.
CREATE TABLE rejections (
    workspace_id uuid NOT NULL,
    id uuid NOT NULL,
    entity_type text NOT NULL,
    type text,
    node_id uuid,
    reason text NOT NULL,
    status integer NOT NULL,
    message text NOT NULL,
    errors jsonb NOT NULL DEFAULT '[]',
    caller text,
    state text NOT NULL DEFAULT 'OPEN'
        CONSTRAINT rejections_state_check CHECK (state IN ('OPEN', 'REPLAYED', 'DISCARDED')),
    received_at timestamptz NOT NULL,
    rejected_at timestamptz NOT NULL,
    envelope bytea NOT NULL,
    payload bytea NOT NULL,
    PRIMARY KEY (workspace_id, id)
);
-- Serves the list of rejections, newest first.
CREATE INDEX rejections_received_idx ON rejections (workspace_id, received_at DESC, id);

-- What became of a write for its client. fingerprint tells a repetition from a reuse of the key.
CREATE TABLE operations (
    workspace_id uuid NOT NULL,
    id uuid NOT NULL,
    fingerprint text NOT NULL,
    state text NOT NULL CONSTRAINT operations_state_check CHECK (state IN ('APPLIED', 'REJECTED')),
    http_status integer NOT NULL,
    entity_type text,
    entity_id uuid,
    entity_version integer,
    -- The error of a refused write (status, reason, message, errors, data), or a body that no version
    -- holds (a session); null otherwise.
    outcome jsonb,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (workspace_id, id)
);
CREATE INDEX operations_expires_idx ON operations (expires_at);

-- What each web process has counted of a throttled workspace's last minute. Worth nothing after a crash.
CREATE UNLOGGED TABLE request_counts (
    workspace_id uuid NOT NULL,
    instance text NOT NULL,
    requests integer NOT NULL,
    counted_at timestamptz NOT NULL,
    PRIMARY KEY (workspace_id, instance)
);

-- The next record to apply of each partition: moved in the transaction that applies, compared first.
CREATE TABLE consumer_offsets (
    topic text NOT NULL,
    partition integer NOT NULL,
    next_offset bigint NOT NULL,
    PRIMARY KEY (topic, partition)
);
