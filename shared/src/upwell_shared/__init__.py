"""The chassis every Upwell service stands on: facts that are never lost, from Postgres to Kafka and back."""
