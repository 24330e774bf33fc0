//! What every setting can do: read itself from a raw value, show itself, describe itself.
//!
//! `settings!` declares a section once: its fields, their defaults and their documentation. The
//! environment's names, the check for unknown keys, `check-config --print` and the reference in
//! `docs/configuration.md` all follow from that declaration.
//!
//! serde is not used here on purpose: it stops at the first error and knows no sources, and a reader
//! that guesses types from an environment's text turns the password `0123` into a number.

use super::report::Report;
use super::tree::{Node, Raw, Source};

/// One line of the reference.
#[derive(Debug)]
pub(crate) struct Description {
    /// The key, such as `http.listen`.
    pub(crate) key: String,
    /// What it means, as in its documentation comment; for a section, the section's.
    pub(crate) text: String,
    /// What it takes; `None` for a section.
    pub(crate) form: Option<Form>,
    /// What it is without being set, as TOML would write it.
    pub(crate) default: Option<toml::Value>,
}

/// How a setting is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Form {
    /// In words, for messages and the reference: "a duration such as `30s`".
    pub(crate) wants: &'static str,
    /// Whether it is a list of such.
    pub(crate) list: bool,
    /// Whether it is hidden when shown, and may be given as a file.
    pub(crate) secret: bool,
}

/// A value or a section.
pub(crate) trait Setting: Sized {
    /// Its form; `None` for a section.
    const FORM: Option<Form>;
    /// Reads itself from `node`; what is missing or wrong keeps `default`, and what is wrong is reported.
    fn read(node: Option<Node>, default: Self, key: &str, report: &mut Report) -> Self;
    /// Itself as TOML, with secrets hidden; `None` where nothing is set.
    fn shown(&self) -> Option<toml::Value>;
    /// Adds the lines of the reference for what lies under it.
    fn describe_inside(_key: &str, _into: &mut Vec<Description>) {}
}

/// A single value.
pub(crate) trait Value: Sized {
    /// What it takes, in words.
    const WANTS: &'static str;
    /// Whether it must not be shown.
    const SECRET: bool = false;
    /// Which type of TOML it is written with.
    const WRITTEN: Written = Written::Text;
    /// Reads itself; the error says what is wrong without repeating a secret.
    fn parse(text: &str) -> Result<Self, String>;
    /// Itself as text, hidden where it is secret.
    fn text(&self) -> String;
}

/// The types of TOML that settings use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    /// A string.
    Text,
    /// An integer.
    Integer,
    /// `true` or `false`.
    Boolean,
}

/// Reads one value of the type `T` out of TOML.
fn from_toml<T: Value>(value: &toml::Value) -> Result<T, String> {
    match (T::WRITTEN, value) {
        (Written::Text, toml::Value::String(text)) => T::parse(text),
        (Written::Integer, toml::Value::Integer(number)) => T::parse(&number.to_string()),
        (Written::Boolean, toml::Value::Boolean(boolean)) => T::parse(&boolean.to_string()),
        (_, other) => Err(format!(
            "wants {}, and this is TOML's type `{}`",
            T::WANTS,
            other.type_str()
        )),
    }
}

/// One value as TOML.
fn to_toml<T: Value>(value: &T) -> toml::Value {
    let text = value.text();
    let parsed = match T::WRITTEN {
        Written::Text => None,
        Written::Integer => text.parse().ok().map(toml::Value::Integer),
        Written::Boolean => text.parse().ok().map(toml::Value::Boolean),
    };
    parsed.unwrap_or(toml::Value::String(text))
}

/// Reads a leaf with `read`, reporting what is wrong.
fn read_leaf<T>(
    node: Option<Node>,
    default: T,
    key: &str,
    report: &mut Report,
    read: impl FnOnce(&Raw) -> Result<T, String>,
) -> T {
    match node {
        None => default,
        Some(Node::Table(_)) => {
            report.about(key, "is a value, not a section");
            default
        }
        Some(Node::Leaf(raw, source)) => {
            report.found(key, &source);
            read(&raw).unwrap_or_else(|message| {
                report.bad(key, source, message);
                default
            })
        }
    }
}

/// The `Setting` of one value.
pub(super) fn read_one<T: Value>(
    node: Option<Node>,
    default: T,
    key: &str,
    report: &mut Report,
) -> T {
    read_leaf(node, default, key, report, |raw| match raw {
        Raw::Text(text) => T::parse(text),
        Raw::Toml(value) => from_toml(value),
    })
}

/// The form of one value.
pub(super) const fn form_of<T: Value>(list: bool) -> Form {
    Form {
        wants: T::WANTS,
        list,
        secret: T::SECRET,
    }
}

/// Shows one value.
pub(super) fn show_one<T: Value>(value: &T) -> toml::Value {
    to_toml(value)
}

impl<T: Value> Setting for Option<T> {
    const FORM: Option<Form> = Some(form_of::<T>(false));

    fn read(node: Option<Node>, default: Self, key: &str, report: &mut Report) -> Self {
        read_leaf(node, default, key, report, |raw| match raw {
            // An empty variable is how compose files and charts write "not set".
            Raw::Text(text) if text.is_empty() => Ok(None),
            Raw::Text(text) => T::parse(text).map(Some),
            Raw::Toml(value) => from_toml(value).map(Some),
        })
    }

    fn shown(&self) -> Option<toml::Value> {
        self.as_ref().map(to_toml)
    }
}

impl<T: Value> Setting for Vec<T> {
    const FORM: Option<Form> = Some(form_of::<T>(true));

    fn read(node: Option<Node>, default: Self, key: &str, report: &mut Report) -> Self {
        read_leaf(node, default, key, report, |raw| {
            let wants_list = || {
                format!(
                    "wants a list written as a TOML array, each entry {}",
                    T::WANTS
                )
            };
            let array = match raw {
                Raw::Toml(toml::Value::Array(array)) => array.clone(),
                Raw::Toml(_) => return Err(wants_list()),
                Raw::Text(text) => {
                    let table = toml::from_str::<toml::Table>(&format!("list = {}", text.trim()));
                    match table.map(|mut table| table.remove("list")) {
                        Ok(Some(toml::Value::Array(array))) => array,
                        _ => return Err(wants_list()),
                    }
                }
            };
            array.iter().map(from_toml).collect()
        })
    }

    fn shown(&self) -> Option<toml::Value> {
        Some(toml::Value::Array(self.iter().map(to_toml).collect()))
    }
}

/// A section while it is being read: each field takes its key out, what is left over is unknown.
pub(super) struct OpenSection<'a> {
    key: &'a str,
    entries: std::collections::BTreeMap<String, Node>,
    known: Vec<String>,
}

impl<'a> OpenSection<'a> {
    /// Opens `node` as a section.
    pub(super) fn new(node: Option<Node>, key: &'a str, report: &mut Report) -> Self {
        let entries = match node {
            None => std::collections::BTreeMap::new(),
            Some(Node::Table(entries)) => entries,
            Some(Node::Leaf(_, source)) => {
                report.bad(key, source, "is a section, not a value");
                std::collections::BTreeMap::new()
            }
        };
        Self {
            key,
            entries,
            known: Vec::new(),
        }
    }

    /// Reads the field `name`.
    pub(super) fn take<T: Setting>(&mut self, name: &str, default: T, report: &mut Report) -> T {
        let key = join(self.key, name);
        let mut node = self.entries.remove(name);
        if T::FORM.is_some_and(|form| form.secret) {
            let file_name = format!("{name}_file");
            if let Some(file) = self.entries.remove(&file_name) {
                if node.is_some() {
                    report.about(
                        &key,
                        format!("is given twice, as a value and as `{file_name}`"),
                    );
                }
                node = secret_from_file(file, &key, report);
            }
            self.known.push(file_name);
        }
        self.known.push(name.to_owned());
        T::read(node, default, &key, report)
    }

    /// Reports what no field took.
    pub(super) fn finish(self, report: &mut Report) {
        for (name, node) in self.entries {
            let message = format!("unknown key; known here: {}", self.known.join(", "));
            report.bad(&join(self.key, &name), first_source(&node), message);
        }
    }
}

/// The content of the file that `node` names, without the newline at its end.
fn secret_from_file(node: Node, key: &str, report: &mut Report) -> Option<Node> {
    let (path, named_by) = match node {
        Node::Leaf(Raw::Text(path) | Raw::Toml(toml::Value::String(path)), source) => {
            (path, source)
        }
        Node::Leaf(_, source) => {
            report.bad(key, source, "wants the path of a file");
            return None;
        }
        Node::Table(_) => {
            report.about(key, "wants the path of a file");
            return None;
        }
    };
    if path.is_empty() {
        return None;
    }
    let source = Source::SecretFile {
        path: path.clone().into(),
        named_by: Box::new(named_by),
    };
    match std::fs::read_to_string(&path) {
        Ok(content) => {
            let secret = content.trim_end_matches(['\r', '\n']).to_owned();
            Some(Node::Leaf(Raw::Text(secret), source))
        }
        Err(error) => {
            report.bad(key, source, format!("cannot be read: {error}"));
            None
        }
    }
}

/// The place of the first leaf under `node`.
fn first_source(node: &Node) -> Source {
    match node {
        Node::Leaf(_, source) => source.clone(),
        Node::Table(entries) => entries
            .values()
            .next()
            .map_or(Source::Default, first_source),
    }
}

/// `http` and `listen` make `http.listen`.
pub(super) fn join(key: &str, name: &str) -> String {
    if key.is_empty() {
        name.to_owned()
    } else {
        format!("{key}.{name}")
    }
}

/// Declares a section: `settings! { /// doc  pub(crate) struct Name { /// doc  pub(crate) field: Type = default, } }`.
macro_rules! settings {
    (
        $(#[doc = $section_doc:expr])*
        pub(crate) struct $name:ident {
            $( $(#[doc = $doc:expr])* pub(crate) $field:ident: $type:ty = $default:expr, )*
        }
    ) => {
        $(#[doc = $section_doc])*
        #[derive(Debug, Clone)]
        pub(crate) struct $name {
            $( $(#[doc = $doc])* pub(crate) $field: $type, )*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $field: $default, )* }
            }
        }

        impl $crate::config::setting::Setting for $name {
            const FORM: Option<$crate::config::setting::Form> = None;

            fn read(
                node: Option<$crate::config::tree::Node>,
                default: Self,
                key: &str,
                report: &mut $crate::config::report::Report,
            ) -> Self {
                let mut section = $crate::config::setting::OpenSection::new(node, key, report);
                let read = Self {
                    $( $field: section.take(stringify!($field), default.$field, report), )*
                };
                section.finish(report);
                read
            }

            fn shown(&self) -> Option<toml::Value> {
                let mut table = toml::Table::new();
                $(
                    if let Some(value) = $crate::config::setting::Setting::shown(&self.$field) {
                        table.insert(stringify!($field).to_owned(), value);
                    }
                )*
                Some(toml::Value::Table(table))
            }

            fn describe_inside(key: &str, into: &mut Vec<$crate::config::setting::Description>) {
                use $crate::config::setting::{Description, Setting, join};
                let defaults = Self::default();
                $(
                    let field_key = join(key, stringify!($field));
                    into.push(Description {
                        text: concat!($($doc, "\n"),*).to_owned(),
                        form: <$type as Setting>::FORM,
                        default: defaults.$field.shown().filter(|value| !value.is_table()),
                        key: field_key.clone(),
                    });
                    <$type as Setting>::describe_inside(&field_key, into);
                )*
            }
        }
    };
}
pub(super) use settings;
