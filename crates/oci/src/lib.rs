//! The words of the OCI specifications: names, digests, manifests, ranges and error codes. No I/O.
