//! What a child of an index runs on.

/// The platform of a descriptor in an index.
///
/// <https://github.com/opencontainers/image-spec/blob/v1.1.1/image-index.md#image-index-property-descriptions>
///
/// The specification requires `architecture` and `os`. A registry only shows them, so an absent one is
/// read as empty text, as every Go registry reads it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Platform {
    /// The CPU architecture, in Go's words (`amd64`); `unknown` for a build's attestations.
    pub architecture: String,
    /// The operating system, in Go's words (`linux`).
    pub os: String,
    /// The version of the operating system (`10.0.14393.1066`).
    pub os_version: Option<String>,
    /// What the operating system must have (`win32k`).
    pub os_features: Vec<String>,
    /// The variant of the CPU (`v8`).
    pub variant: Option<String>,
}
