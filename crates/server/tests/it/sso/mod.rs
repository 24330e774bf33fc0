//! Single sign-on and keyless logins, against a real identity provider and an issuer of the test's own.

mod browser;
mod code_flow;
mod id_tokens;
mod issuer;
mod keyless;
mod pages;
mod provider;
mod stage;
