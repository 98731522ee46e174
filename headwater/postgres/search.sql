-- Reading customers, sessions and events for clients. The processor's statements are in customers.sql,
-- identities.sql and events.sql. {names in braces} are filled from the pieces of this file only.

-- name: find_customer
-- A live customer as it is sent. $1 workspace, $2 id
SELECT c.node_id, v.document
FROM customers c
JOIN versions v ON v.workspace_id = c.workspace_id AND v.entity_id = c.id AND v.version = c.version
WHERE c.workspace_id = $1 AND c.id = $2 AND c.deleted = 0;

-- name: find_customer_node
-- The node of a live customer. $1 workspace, $2 id
SELECT node_id FROM customers WHERE workspace_id = $1 AND id = $2 AND deleted = 0;

-- name: search_customers
-- A page of a node's live customers and both counts, in one snapshot. Always at least one row: document
-- is null where the page is empty. {filters} is what the reader wants: left out instead of tested for
-- null, so that an index can serve it whatever plan is kept.
-- $1 workspace, $2 node, $3 how many, $4 how many to skip, $5 most to count, then what {filters} and
-- {order} name
WITH page AS (
    SELECT c.id, c.version, row_number() OVER (ORDER BY {order}) AS place
    FROM customers c
    WHERE c.workspace_id = $1 AND c.node_id = $2 AND c.deleted = 0 {filters}
    ORDER BY {order}
    LIMIT $3 OFFSET $4
),
matching AS (
    SELECT count(*) AS total
    FROM (
        SELECT FROM customers c
        WHERE c.workspace_id = $1 AND c.node_id = $2 AND c.deleted = 0 {filters}
        LIMIT $5
    ) AS counted
),
unfiltered AS (
    SELECT count(*) AS total
    FROM customers c
    WHERE c.workspace_id = $1 AND c.node_id = $2 AND c.deleted = 0
)
SELECT m.total, u.total AS unfiltered, (
    SELECT v.document FROM versions v
    WHERE v.workspace_id = $1 AND v.entity_id = p.id AND v.version = p.version
) AS document
FROM matching m
CROSS JOIN unfiltered u
LEFT JOIN page p ON true
ORDER BY p.place;

-- name: customers_of_external_id
AND c.external_id = ${parameter}::text

-- name: order_id
-- Ties, and `id`: equal keys are ordered by id ascending.
c.id {direction}

-- name: order_column
-- A column that is never null: NULLS LAST would keep the indexes from serving the order.
c.{column} {direction}

-- name: order_text_column
-- The same for text, by code point.
c.{column} COLLATE "C" {direction}

-- name: order_external_id
-- By code point, whatever the database's locale.
c.external_id COLLATE "C" {direction} NULLS LAST

-- name: order_enabled
-- Unset means enabled.
coalesce((c.document ->> 'enabled')::boolean, true) {direction}

-- name: order_text
-- Strings by code point, whatever the database's locale; dates and booleans order the same way.
(c.document #>> ${path}::text[]) COLLATE "C" {direction} NULLS LAST

-- name: order_number
-- Numbers numerically; the rest counts as unset.
CASE WHEN jsonb_typeof(c.document #> ${path}::text[]) = 'number'
    THEN (c.document #>> ${path}::text[])::numeric END {direction} NULLS LAST

-- name: read_sessions
-- A customer's sessions, oldest first. $1 workspace, $2 customer
SELECT id, value
FROM identities
WHERE workspace_id = $1 AND customer_id = $2 AND kind = 'SESSION'
ORDER BY created_at, id;

-- name: find_event
-- A live event as it is sent. $1 workspace, $2 id
SELECT node_id, customer_id, date, document
FROM events
WHERE workspace_id = $1 AND id = $2 AND NOT deleted;

-- name: find_neighbours
-- The nearest events of the same customer before and after one. $1 workspace, $2 customer, $3 date, $4 id
SELECT
    (
        SELECT id FROM events
        WHERE workspace_id = $1 AND customer_id = $2 AND NOT deleted AND (date, id) < ($3, $4)
        ORDER BY date DESC, id DESC
        LIMIT 1
    ) AS previous,
    (
        SELECT id FROM events
        WHERE workspace_id = $1 AND customer_id = $2 AND NOT deleted AND (date, id) > ($3, $4)
        ORDER BY date, id
        LIMIT 1
    ) AS next;

-- name: search_events
-- A page of live events and both counts, in one snapshot. Always at least one row. {page} finds the
-- page's events, {scope} is where the reader looks (customer, nodes), {filters} what it wants of that.
-- $1 workspace, $2 how many, $3 how many to skip, $4 most to count, then what {scope}, {filters} name
WITH page AS (
    SELECT e.id, row_number() OVER (ORDER BY {order}) AS place
    FROM ({page}) AS e
    ORDER BY {order}
    LIMIT $2 OFFSET $3
),
matching AS (
    SELECT count(*) AS total
    FROM (
        SELECT FROM events e
        WHERE e.workspace_id = $1 AND NOT e.deleted {scope} {filters}
        LIMIT $4
    ) AS counted
),
unfiltered AS (
    SELECT count(*) AS total
    FROM events e
    WHERE e.workspace_id = $1 AND NOT e.deleted {scope}
)
SELECT m.total, u.total AS unfiltered, (
    SELECT e.document FROM events e WHERE e.workspace_id = $1 AND e.id = p.id
) AS document
FROM matching m
CROSS JOIN unfiltered u
LEFT JOIN page p ON true
ORDER BY p.place;

-- name: page_of_customer
-- The index by customer and date gives the default order.
SELECT e.id, e.date, e.registered_at, e.updated_at, e.type
FROM events e
WHERE e.workspace_id = $1 AND NOT e.deleted {scope} {filters}

-- name: page_of_nodes
-- Of each node the first ones only: the index by node and date gives the default order within a node,
-- but not over several, and all their events would be sorted.
SELECT e.*
FROM unnest(${nodes}::uuid[]) AS n (id)
CROSS JOIN LATERAL (
    SELECT e.id, e.date, e.registered_at, e.updated_at, e.type
    FROM events e
    WHERE e.workspace_id = $1 AND e.node_id = n.id AND NOT e.deleted {filters}
    ORDER BY {order}
    LIMIT $2::bigint + $3::bigint
) AS e

-- name: events_of_customer
AND e.customer_id = ${parameter}::uuid

-- name: events_of_nodes
AND e.node_id = ANY (${parameter}::uuid[])

-- name: events_of_types
AND e.type = ANY (${parameter}::text[])

-- name: events_of_contexts
AND e.context = ANY (${parameter}::text[])

-- name: events_from
AND e.date >= ${parameter}::timestamptz

-- name: events_to
AND e.date <= ${parameter}::timestamptz

-- name: order_event_id
-- Ties.
e.id ASC

-- name: order_event_date
-- date, registered_at: never null, and NULLS LAST would keep the indexes from serving the order.
e.{column} {direction}

-- name: order_event_time
-- updated_at: null until the first change.
e.{column} {direction} NULLS LAST

-- name: order_event_type
e.type COLLATE "C" {direction}
