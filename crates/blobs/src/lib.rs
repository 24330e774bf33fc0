//! Bytes by key: an S3 bucket or a directory, behind one trait and one test suite.
