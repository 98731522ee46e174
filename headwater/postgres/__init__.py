"""All SQL, and typed functions over it. Nothing else imports asyncpg."""
