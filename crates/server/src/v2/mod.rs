//! The OCI distribution API: HTTP on one side, [`portolan_registry`] on the other.
//!
//! A handler extracts, calls one function of the registry and builds the answer. What is common to
//! all answers lies around the handlers ([`finish`]), what is common to all refusals in [`error`].
//! The rules that real clients need beyond the specification are said where they are kept.

mod base;
mod blobs;
mod body;
mod catalog;
mod condition;
mod deliver;
mod error;
mod extract;
mod finish;
mod fold;
mod header;
mod linger;
mod manifests;
mod page;
mod referrers;
mod route;
mod scope;
mod search;
mod settings;
mod stale;
mod tags;
mod uploads;

pub(crate) use error::Error;
pub(crate) use finish::announce;
pub(crate) use fold::FoldNames;
pub(crate) use route::routes;
pub(crate) use settings::{Redirect, Settings};
pub(crate) use stale::Marked;
