//! Who somebody is and what a token says: passwords, tokens, scopes, sealed keys. No HTTP, no SQL.
