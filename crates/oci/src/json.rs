//! Strict reading of hostile JSON, one object at a time.
//!
//! [`check`] walks the whole text once: well-formed, of bounded depth, every number within range,
//! every string valid, nothing after the end. What is picked out of it later is known to be sound, so
//! that each step only asks for types. Nothing is built but what is asked for: a million members
//! nobody knows cost time, not memory.
//!
//! The image specification demands I-JSON (RFC 7493), which forbids duplicate names.
//! <https://github.com/opencontainers/image-spec/blob/v1.1.1/considerations.md#json>

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// The deepest nesting that is read. What the specifications define needs 5 levels (manifest, layers,
/// layer, annotations, value); unknown members get plenty, and less than the 128 levels at which
/// `serde_json` itself stops and the 10,000 at which Go's decoder does.
pub(crate) const MAX_DEPTH: usize = 64;

/// Why a text is not JSON that we read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unsound {
    /// It is not well-formed, has something after its end, or a number or string beyond bounds.
    Syntax { line: usize, column: usize },
    /// It is nested more than [`MAX_DEPTH`] deep.
    Depth,
}

/// Checks the whole text and hands it out as one value.
pub(crate) fn check(text: &str) -> Result<&RawValue, Unsound> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let sound = Sound {
        levels_left: MAX_DEPTH,
    }
    .deserialize(&mut reader)
    .and_then(|()| reader.end());
    // `Sound` itself objects to nothing but depth, so an error of its own making is that.
    sound.map_err(|error| {
        if error.is_data() {
            Unsound::Depth
        } else {
            Unsound::Syntax {
                line: error.line(),
                column: error.column(),
            }
        }
    })?;
    serde_json::from_str(text).map_err(|error| Unsound::Syntax {
        line: error.line(),
        column: error.column(),
    })
}

/// A value is not of the JSON type that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WrongType;

/// Why members could not be picked from a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unpickable {
    /// The value is not an object.
    NotAnObject,
    /// A wanted name is there twice.
    Duplicate(&'static str),
    /// A name is there that other readers take for a wanted one.
    LookAlike(&'static str),
}

/// Picks the members called `names` from an object, in their order; others are passed over.
///
/// Go's decoder matches names without regard to case, by Unicode's simple folding, and the last one
/// wins: to it `"Layers"` and even `"layer\u{17f}"` are `layers`. A manifest with such a name would
/// be one thing to us and another to Docker, containerd and most scanners, so it is refused.
pub(crate) fn pick<'a, const N: usize>(
    object: &'a RawValue,
    names: &[&'static str; N],
) -> Result<[Option<&'a RawValue>; N], Unpickable> {
    let mut picked = [None; N];
    let walked = each_member(object, |name, value| {
        if let Some(index) = names.iter().position(|wanted| *wanted == name) {
            if picked[index].replace(value).is_some() {
                return Err(Unpickable::Duplicate(names[index]));
            }
        } else if let Some(wanted) = names.iter().find(|wanted| looks_like(wanted, name)) {
            return Err(Unpickable::LookAlike(wanted));
        }
        Ok(())
    });
    match walked {
        Ok(()) => Ok(picked),
        Err(Stopped::WrongType) => Err(Unpickable::NotAnObject),
        Err(Stopped::By(reason)) => Err(reason),
    }
}

/// Whether Go's decoder would take `name` for `wanted`: equal but for ASCII case and the two characters
/// outside ASCII that fold into it, the long s and the Kelvin sign.
fn looks_like(wanted: &str, name: &str) -> bool {
    let folded = name.chars().map(|character| match character {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    });
    folded.eq(wanted
        .chars()
        .map(|character| character.to_ascii_lowercase()))
}

/// Why a walk over an object or a list ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stopped<E> {
    /// The value is not an object, or not a list.
    WrongType,
    /// The visitor said so.
    By(E),
}

/// Visits every member of an object in order.
pub(crate) fn each_member<'a, E>(
    object: &'a RawValue,
    mut visit: impl FnMut(&str, &'a RawValue) -> Result<(), E>,
) -> Result<(), Stopped<E>> {
    let mut stopped = None;
    let members = Members {
        visit: &mut visit,
        stopped: &mut stopped,
    };
    let walked = serde_json::Deserializer::from_str(object.get()).deserialize_map(members);
    finish(walked, stopped)
}

/// Visits every element of a list in order.
pub(crate) fn each_element<'a, E>(
    list: &'a RawValue,
    mut visit: impl FnMut(&'a RawValue) -> Result<(), E>,
) -> Result<(), Stopped<E>> {
    let mut stopped = None;
    let elements = Elements {
        visit: &mut visit,
        stopped: &mut stopped,
    };
    let walked = serde_json::Deserializer::from_str(list.get()).deserialize_seq(elements);
    finish(walked, stopped)
}

fn finish<E>(walked: Result<(), serde_json::Error>, stopped: Option<E>) -> Result<(), Stopped<E>> {
    match (walked, stopped) {
        (_, Some(reason)) => Err(Stopped::By(reason)),
        (Ok(()), None) => Ok(()),
        (Err(_), None) => Err(Stopped::WrongType),
    }
}

/// The text of a string.
pub(crate) fn string(value: &RawValue) -> Result<String, WrongType> {
    serde_json::from_str(value.get()).map_err(|_| WrongType)
}

/// A whole number that is not negative; `2.0` and `2e0` are none, as to Go's decoder.
pub(crate) fn unsigned(value: &RawValue) -> Result<u64, WrongType> {
    serde_json::from_str(value.get()).map_err(|_| WrongType)
}

/// The value, unless it is `null`.
///
/// Go writes an empty slice or map that was never made as `null`, and every Go registry reads `null` as
/// absent. So do we, wherever a member may be absent.
pub(crate) fn present(value: Option<&RawValue>) -> Option<&RawValue> {
    value.filter(|value| value.get() != "null")
}

struct Members<'f, F, E> {
    visit: &'f mut F,
    stopped: &'f mut Option<E>,
}

impl<'a, F, E> Visitor<'a> for Members<'_, F, E>
where
    F: FnMut(&str, &'a RawValue) -> Result<(), E>,
{
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Name(name)) = map.next_key()? {
            if let Err(reason) = (self.visit)(&name, map.next_value()?) {
                *self.stopped = Some(reason);
                return Err(A::Error::custom("stopped"));
            }
        }
        Ok(())
    }
}

struct Elements<'f, F, E> {
    visit: &'f mut F,
    stopped: &'f mut Option<E>,
}

impl<'a, F, E> Visitor<'a> for Elements<'_, F, E>
where
    F: FnMut(&'a RawValue) -> Result<(), E>,
{
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(element) = list.next_element()? {
            if let Err(reason) = (self.visit)(element) {
                *self.stopped = Some(reason);
                return Err(A::Error::custom("stopped"));
            }
        }
        Ok(())
    }
}

/// The name of a member, borrowed where it has no escapes.
#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// Reads any value to its end, builds nothing, and counts levels on the way down.
#[derive(Clone, Copy)]
struct Sound {
    levels_left: usize,
}

impl Sound {
    fn descend<E: serde::de::Error>(self) -> Result<Self, E> {
        let levels_left = self
            .levels_left
            .checked_sub(1)
            .ok_or_else(|| E::custom("too deep"))?;
        Ok(Self { levels_left })
    }
}

impl<'a> DeserializeSeed<'a> for Sound {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        // Not `deserialize_ignored_any`: that one neither counts levels nor looks at numbers and strings.
        deserializer.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for Sound {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut list: A) -> Result<(), A::Error> {
        let below = self.descend()?;
        while list.next_element_seed(below)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        let below = self.descend()?;
        while map.next_key::<Name<'a>>()?.is_some() {
            map.next_value_seed(below)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(levels: usize) -> String {
        format!("{}{}", "[".repeat(levels), "]".repeat(levels))
    }

    #[test]
    fn depth_is_counted_and_never_recursed_into() {
        assert!(check(&nested(MAX_DEPTH)).is_ok());
        assert_eq!(check(&nested(MAX_DEPTH + 1)).unwrap_err(), Unsound::Depth);
        assert_eq!(check(&nested(100_000)).unwrap_err(), Unsound::Depth);
        assert_eq!(check(&"[".repeat(100_000)).unwrap_err(), Unsound::Depth);
        assert_eq!(
            check(&r#"{"a":"#.repeat(100_000)).unwrap_err(),
            Unsound::Depth
        );
    }

    #[test]
    fn what_others_read_differently_is_unsound() {
        for text in [
            "",
            " ",
            "{",
            "{}x",
            "{} {}",
            "{,}",
            "[1,]",
            "nul",
            "'a'",
            "{a:1}",
            "01",
            "+1",
            "1.",
            ".5",
            "NaN",
            "1e999",
            "-1e999",
            "\u{feff}{}",
            "// c\n{}",
            r#""\ud800""#,
            r#"{"\udc00":1}"#,
            "\"\u{1}\"",
            "\"\n\"",
        ] {
            assert!(
                matches!(check(text), Err(Unsound::Syntax { .. })),
                "{text:?}"
            );
        }
        assert!(matches!(
            check(&"9".repeat(100_000)),
            Err(Unsound::Syntax { .. })
        ));
        for text in [
            "null",
            " {} \n",
            "1e308",
            "18446744073709551616",
            r#""\ud83d\ude00""#,
        ] {
            assert!(check(text).is_ok(), "{text:?}");
        }
    }

    #[test]
    fn names_that_go_would_confuse_are_refused() {
        fn pick_one(text: &str) -> Result<[Option<&str>; 2], Unpickable> {
            let value: &RawValue = serde_json::from_str(text).unwrap();
            let picked = pick(value, &["layers", "mediaType"])?;
            Ok(picked.map(|value| value.map(RawValue::get)))
        }
        assert_eq!(
            pick_one(r#"{"layers": null, "layers": 1}"#),
            Err(Unpickable::Duplicate("layers"))
        );
        assert_eq!(
            pick_one(r#"{"l\u0061yers": 1, "layers": 1}"#),
            Err(Unpickable::Duplicate("layers"))
        );
        assert_eq!(
            pick_one(r#"{"Layers": 1}"#),
            Err(Unpickable::LookAlike("layers"))
        );
        assert_eq!(
            pick_one(r#"{"layer\u017f": 1}"#),
            Err(Unpickable::LookAlike("layers"))
        );
        assert_eq!(
            pick_one(r#"{"mediatype": 1}"#),
            Err(Unpickable::LookAlike("mediaType"))
        );
        assert_eq!(pick_one("[]"), Err(Unpickable::NotAnObject));
        assert!(looks_like("k", "\u{212a}"));
    }
}
