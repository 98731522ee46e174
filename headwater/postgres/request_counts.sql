-- Requests of throttled workspaces in the last minute, as each web process counts them.

-- name: write_counts
-- Times are Postgres' own: those of the processes may differ. $1 instance, $2 workspaces, $3 counts
INSERT INTO request_counts (workspace_id, instance, requests, counted_at)
SELECT c.workspace_id, $1, c.requests, now() FROM unnest($2::uuid[], $3::integer[]) AS c (workspace_id, requests)
ON CONFLICT (workspace_id, instance) DO UPDATE SET
    requests = excluded.requests, counted_at = excluded.counted_at;

-- name: read_other_counts
-- Of processes that still tell. $1 instance, $2 workspaces
SELECT workspace_id, least(sum(requests), 2147483647) AS requests FROM request_counts
WHERE workspace_id = ANY ($2::uuid[]) AND instance <> $1 AND counted_at > now() - interval '3 seconds'
GROUP BY workspace_id;

-- name: delete_old_counts
DELETE FROM request_counts WHERE counted_at < now() - interval '1 hour';
