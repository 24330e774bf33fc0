//! Connections to Postgres: bounded, patient and fresh. Knows nothing of registries.
