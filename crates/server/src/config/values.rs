//! The types of single values: what each takes, how it is read and shown.

use super::setting::{Value, Written};
use ipnet::IpNet;
use secrecy::SecretString;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Shown instead of a secret.
pub(super) const REDACTED: &str = "[redacted]";

/// Makes each type usable as a field; `Option` and `Vec` of it follow by themselves.
macro_rules! as_setting {
    ($($type:ty),* $(,)?) => {$(
        impl $crate::config::setting::Setting for $type {
            const FORM: Option<$crate::config::setting::Form> =
                Some($crate::config::setting::form_of::<$type>(false));

            fn read(
                node: Option<$crate::config::tree::Node>,
                default: Self,
                key: &str,
                report: &mut $crate::config::report::Report,
            ) -> Self {
                $crate::config::setting::read_one(node, default, key, report)
            }

            fn shown(&self) -> Option<toml::Value> {
                Some($crate::config::setting::show_one(self))
            }
        }
    )*};
}
pub(super) use as_setting;

as_setting!(
    SocketAddr,
    IpNet,
    bool,
    u16,
    u32,
    String,
    PathBuf,
    Duration,
    ByteSize,
    SecretString
);

impl Value for SocketAddr {
    const WANTS: &'static str = "an address and port such as `0.0.0.0:5000`";

    fn parse(text: &str) -> Result<Self, String> {
        text.parse()
            .map_err(|_| format!("`{text}` is not {}", Self::WANTS))
    }

    fn text(&self) -> String {
        self.to_string()
    }
}

impl Value for IpNet {
    const WANTS: &'static str = "an address or a network such as `10.0.0.0/8`";

    fn parse(text: &str) -> Result<Self, String> {
        let network = text.parse::<Self>().ok();
        let address = || text.parse::<IpAddr>().ok().map(Self::from);
        network
            .or_else(address)
            .ok_or_else(|| format!("`{text}` is not {}", Self::WANTS))
    }

    fn text(&self) -> String {
        self.to_string()
    }
}

impl Value for bool {
    const WANTS: &'static str = "`true` or `false`";
    const WRITTEN: Written = Written::Boolean;

    fn parse(text: &str) -> Result<Self, String> {
        text.parse()
            .map_err(|_| format!("`{text}` is not {}", Self::WANTS))
    }

    fn text(&self) -> String {
        self.to_string()
    }
}

impl Value for u16 {
    const WANTS: &'static str = "a whole number up to 65535";
    const WRITTEN: Written = Written::Integer;

    fn parse(text: &str) -> Result<Self, String> {
        text.parse()
            .map_err(|_| format!("`{text}` is not {}", Self::WANTS))
    }

    fn text(&self) -> String {
        self.to_string()
    }
}

impl Value for u32 {
    const WANTS: &'static str = "a whole number";
    const WRITTEN: Written = Written::Integer;

    fn parse(text: &str) -> Result<Self, String> {
        text.parse()
            .map_err(|_| format!("`{text}` is not {}", Self::WANTS))
    }

    fn text(&self) -> String {
        self.to_string()
    }
}

impl Value for String {
    const WANTS: &'static str = "text";

    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }

    fn text(&self) -> String {
        self.clone()
    }
}

impl Value for PathBuf {
    const WANTS: &'static str = "a path";

    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            Err("the path is empty".into())
        } else {
            Ok(text.into())
        }
    }

    fn text(&self) -> String {
        self.display().to_string()
    }
}

impl Value for SecretString {
    const WANTS: &'static str = "a secret";
    const SECRET: bool = true;

    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.into())
    }

    fn text(&self) -> String {
        REDACTED.to_owned()
    }
}

impl Value for Duration {
    const WANTS: &'static str = "a duration such as `500ms`, `30s`, `5m` or `24h`";

    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not {}", Self::WANTS);
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let milliseconds_each = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(wrong()),
        };
        number
            .checked_mul(milliseconds_each)
            .map(Self::from_millis)
            .ok_or_else(wrong)
    }

    fn text(&self) -> String {
        let milliseconds = self.as_millis();
        match milliseconds {
            0 => "0s".to_owned(),
            days if days % 86_400_000 == 0 => format!("{}d", days / 86_400_000),
            hours if hours % 3_600_000 == 0 => format!("{}h", hours / 3_600_000),
            minutes if minutes % 60_000 == 0 => format!("{}m", minutes / 60_000),
            seconds if seconds % 1_000 == 0 => format!("{}s", seconds / 1_000),
            _ => format!("{milliseconds}ms"),
        }
    }
}

/// A number of bytes, written `4MiB`, `64KiB` or `1GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ByteSize(u64);

impl ByteSize {
    /// So many KiB.
    pub(crate) const fn kib(count: u64) -> Self {
        Self(count << 10)
    }

    /// So many MiB.
    pub(crate) const fn mib(count: u64) -> Self {
        Self(count << 20)
    }

    /// As a plain number.
    pub(crate) const fn bytes(self) -> u64 {
        self.0
    }

    /// As a length in memory; sizes beyond the address space become the largest there is.
    pub(crate) fn length(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// Largest first, so that showing picks the largest unit that divides evenly.
const BYTE_UNITS: [(&str, u64); 5] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

impl Value for ByteSize {
    const WANTS: &'static str = "a size such as `512B`, `64KiB`, `4MiB` or `1GiB`";

    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not {}", Self::WANTS);
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let known = BYTE_UNITS
            .iter()
            .find(|(name, _)| *name == unit.trim_start());
        let (_, bytes_each) = known.ok_or_else(wrong)?;
        number.checked_mul(*bytes_each).map(Self).ok_or_else(wrong)
    }

    fn text(&self) -> String {
        let fits = |(_, bytes_each): &&(&str, u64)| self.0.is_multiple_of(*bytes_each);
        let unit = BYTE_UNITS.iter().filter(|_| self.0 > 0).find(fits);
        let (name, bytes_each) = unit.unwrap_or(&("B", 1));
        format!("{}{name}", self.0 / bytes_each)
    }
}

/// Declares an enum whose values are words.
macro_rules! words {
    (
        $(#[doc = $doc:expr])*
        pub(crate) enum $name:ident wants $wants:literal {
            $( $(#[doc = $variant_doc:expr])* $variant:ident = $word:literal, )*
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum $name {
            $( $(#[doc = $variant_doc])* $variant, )*
        }

        impl $crate::config::setting::Value for $name {
            const WANTS: &'static str = $wants;

            fn parse(text: &str) -> Result<Self, String> {
                match text {
                    $( $word => Ok(Self::$variant), )*
                    other => Err(format!("`{other}` is not {}", Self::WANTS)),
                }
            }

            fn text(&self) -> String {
                match self {
                    $( Self::$variant => $word.to_owned(), )*
                }
            }
        }

        $crate::config::values::as_setting!($name);
    };
}
pub(super) use words;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_round_trip() {
        for text in ["0s", "250ms", "45s", "5m", "2h", "7d", "90s", "36h"] {
            assert_eq!(Duration::parse(text).expect(text).text(), text);
        }
        for text in ["", "5", "s", "-1s", "1.5s", "5 s", "9999999999999999999d"] {
            assert!(Duration::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_round_trip() {
        for text in ["0B", "100B", "64KiB", "4MiB", "1GiB", "3TiB"] {
            assert_eq!(ByteSize::parse(text).expect(text).text(), text);
        }
        assert_eq!(ByteSize::parse("4 MiB"), Ok(ByteSize::mib(4)));
        for text in ["", "4", "4MB", "MiB", "99999999999TiB"] {
            assert!(ByteSize::parse(text).is_err(), "{text}");
        }
    }
}
