//! What a registry does, without HTTP and without SQL: push, pull, mount, delete, list, collect.
