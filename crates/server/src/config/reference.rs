//! The reference of every setting, from the documentation comments of the fields.

use super::Config;
use super::environment::variable_of;
use super::setting::{Description, Form, Setting as _};
use std::fmt::Write as _;

const HEAD: &str = "# Configuration

Settings come from a TOML file (`portolan serve --config FILE`) and from the environment, which wins. The environment's names are made of the
file's: `http.tls.cert` is `PORTOLAN_HTTP__TLS__CERT`. Lists are written as TOML arrays in both. A secret can also be given as a file: `…_FILE` in
the environment, `…_file` in TOML. A key that nobody knows is an error. `portolan check-config` says everything that is wrong at once, and with
`--print` what is in effect.

Distribution's common `REGISTRY_…` variables are understood too, and so is `DATABASE_URL`; ours win over them.

This page is made by `portolan check-config --reference` from the documentation of the fields.
";

/// The reference as Markdown.
pub(crate) fn reference() -> String {
    let mut lines = Vec::new();
    Config::describe_inside("", &mut lines);
    let (values, sections): (Vec<_>, Vec<_>) =
        lines.into_iter().partition(|line| line.form.is_some());
    let mut page = HEAD.to_owned();
    for value in values.iter().filter(|value| !value.key.contains('.')) {
        describe(&mut page, value);
    }
    for section in &sections {
        let _ = write!(
            page,
            "\n## `[{}]`\n\n{}\n",
            section.key,
            one_line(&section.text)
        );
        let inside = |value: &&Description| {
            value
                .key
                .rsplit_once('.')
                .is_some_and(|(parent, _)| parent == section.key)
        };
        for value in values.iter().filter(inside) {
            describe(&mut page, value);
        }
    }
    page
}

fn describe(page: &mut String, value: &Description) {
    let form = value.form.map_or_else(String::new, in_words);
    let default = value
        .default
        .as_ref()
        .map_or("not set".to_owned(), |value| format!("`{value}`"));
    let _ = write!(
        page,
        "\n**`{}`** · `{}` · {form} · default: {default}\n\n{}\n",
        value.key,
        variable_of(&value.key),
        one_line(&value.text),
    );
}

fn in_words(form: Form) -> String {
    let list = if form.list { "a list, each " } else { "" };
    let secret = if form.secret { ", secret" } else { "" };
    format!("{list}{}{secret}", form.wants)
}

/// The lines of a comment as one paragraph.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_reference_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            committed == reference(),
            "docs/configuration.md is out of date: cargo run -p portolan-server -- check-config --reference > docs/configuration.md"
        );
    }
}
