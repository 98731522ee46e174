-- The throttle of a workspace, 0 for none (contacthub 20, 21).
ALTER TABLE workspaces ADD COLUMN max_requests_per_minute integer NOT NULL DEFAULT 0
    CONSTRAINT workspaces_max_requests_per_minute_check CHECK (max_requests_per_minute >= 0);

-- What each web process has counted of a throttled workspace's last minute. Worth nothing after a crash.
CREATE UNLOGGED TABLE request_counts (
    workspace_id uuid NOT NULL,
    instance text NOT NULL,
    requests integer NOT NULL,
    counted_at timestamptz NOT NULL,
    PRIMARY KEY (workspace_id, instance)
);
