//! Real parts for tests: Postgres with replicas, an S3 server, a chaos proxy, images. A development dependency only.
