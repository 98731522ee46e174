-- How far each partition has been applied.

-- name: read_offsets
-- $1 topics, $2 partitions (same length)
SELECT o.topic, o.partition, o.next_offset
FROM consumer_offsets o
JOIN unnest($1::text[], $2::integer[]) AS wanted (topic, partition) USING (topic, partition);

-- name: start_offsets
-- First sight of a partition. $1 topics, $2 partitions, $3 next offsets
INSERT INTO consumer_offsets (topic, partition, next_offset)
SELECT * FROM unnest($1::text[], $2::integer[], $3::bigint[])
ON CONFLICT DO NOTHING;

-- name: move_offsets
-- Compare and set: moves only partitions that stand where the batch began. Locks sorted, or two batches
-- that share partitions deadlock. $1 topics, $2 partitions, $3 expected, $4 next
WITH held AS (
    SELECT o.topic, o.partition, wanted.next_offset
    FROM consumer_offsets o
    JOIN unnest($1::text[], $2::integer[], $3::bigint[], $4::bigint[])
        AS wanted (topic, partition, expected, next_offset)
        ON o.topic = wanted.topic AND o.partition = wanted.partition AND o.next_offset = wanted.expected
    ORDER BY o.topic, o.partition
    FOR UPDATE OF o
)
UPDATE consumer_offsets o
SET next_offset = held.next_offset
FROM held
WHERE o.topic = held.topic AND o.partition = held.partition
RETURNING o.topic, o.partition;
