"""Real Postgres and real Apache Kafka as child processes, for one machine."""
