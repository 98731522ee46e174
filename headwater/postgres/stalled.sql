-- Sessions that wait for their client in the middle of a statement, as in a COPY whose data don't come. For
-- Postgres they are at work: no limit of its own ends them, and their locks stay.

-- name: stalled_sessions
-- $1 name of the application
SELECT pid, query_start
FROM pg_stat_activity
WHERE datname = current_database()
    AND usename = current_user
    AND application_name = $1
    AND pid <> pg_backend_pid()
    AND state = 'active'
    AND wait_event_type = 'Client';

-- name: end_sessions
-- If they are still at the same statement. $1 pids, $2 when their statements began (same length)
SELECT a.pid
FROM pg_stat_activity a
JOIN unnest($1::integer[], $2::timestamptz[]) AS stalled (pid, query_start) USING (pid, query_start)
WHERE pg_terminate_backend(a.pid);
