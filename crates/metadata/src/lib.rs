//! Every table and every statement: one file per entity.
