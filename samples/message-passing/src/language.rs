//! The languages of the greetings. On the wire they are the numbers of Python's `IntEnum`.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A language, as JSON its number.
#[derive(
    Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum,
)]
#[serde(try_from = "u8", into = "u8")]
pub enum Language {
    /// 1
    Arabic = 1,
    /// 2
    Chinese,
    /// 3
    English,
    /// 4
    French,
    /// 5
    Hindi,
    /// 6
    Portuguese,
    /// 7
    Spanish,
}

impl Language {
    /// All languages, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::Arabic,
        Self::Chinese,
        Self::English,
        Self::French,
        Self::Hindi,
        Self::Portuguese,
        Self::Spanish,
    ];
}

impl TryFrom<u8> for Language {
    type Error = String;

    fn try_from(number: u8) -> Result<Self, String> {
        let language = Self::ALL.into_iter().find(|known| *known as u8 == number);
        language.ok_or_else(|| format!("{number} is not a language, send a number from 1 to 7"))
    }
}

impl From<Language> for u8 {
    fn from(language: Language) -> Self {
        language as Self
    }
}

/// The name in capitals, as other SDKs print it: `ARABIC`.
impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format!("{self:?}").to_uppercase())
    }
}
