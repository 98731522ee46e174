-- Which migrations a database has.

-- name: lock
-- One migrating process at a time; the lock ends with the connection.
SELECT pg_advisory_lock(4243444546);

-- name: create_table
CREATE TABLE IF NOT EXISTS migrations (
    name text PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
);

-- name: read_applied
SELECT name FROM migrations;

-- name: remember
-- $1 name
INSERT INTO migrations (name) VALUES ($1);

-- name: quote
-- $1 name
SELECT quote_ident($1);

-- name: create_database
-- {name} is quoted, {template} ours; copied as files, which is less work than through the log
CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY;
