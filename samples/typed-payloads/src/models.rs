//! The model: its fields on the wire, and the rules that they keep. This file needs none of the
//! others, so for validation by types alone, copy it.

use anyhow::bail;
use chrono::{Datelike, NaiveDateTime, Timelike};
use garde::Validate;
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{net::Ipv4Addr, ops::Deref, time::Duration};

/// An address of a host, and what is known of it.
// Without `deny_unknown_fields`: a client that is ahead of the workers may send more.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize, Validate)]
pub struct MyModel {
    /// The address.
    #[garde(custom(host))]
    pub some_ip: Ipv4Addr,

    /// When it was first seen, without a zone.
    #[garde(custom(datetime))]
    #[serde(with = "date_time")]
    // Not `date-time`, as Pydantic says: by JSON Schema that has a zone, and is then refused here.
    #[schemars(with = "String", extend("format" = "partial-date-time"))]
    pub some_date: NaiveDateTime,

    // Added after the first release, and so optional: histories and clients from before have none.
    // Not written when absent, because such a client need not take a `null`.
    /// How long it is given for.
    #[garde(skip)]
    #[serde(default, skip_serializing_if = "Option::is_none", with = "duration")]
    #[schemars(with = "Option<String>", extend("format" = "duration"))]
    pub lease: Option<Duration>,

    /// What that costs.
    #[garde(custom(not_negative))]
    #[serde(default, skip_serializing_if = "Option::is_none", with = "decimal")]
    #[schemars(with = "Option<Decimal>", extend("pattern" = decimal::PATTERN))]
    pub fee: Option<Decimal>,

    /// How it was given.
    #[garde(skip)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
}

/// How an address was given.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// By hand.
    Fixed,
    /// By a server, for a time.
    Leased,
}

/// Models that keep the rules.
// `TryFrom` is the only way to one, for `Deserialize` too, so whoever has one need not check it.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize, Validate)]
#[garde(transparent)]
#[serde(try_from = "Vec<MyModel>")]
// The schema is that of the type itself, because it has the rule about the length.
#[schemars(!try_from)]
pub struct MyModels(#[garde(dive, length(max = 1000))] Vec<MyModel>);

impl TryFrom<Vec<MyModel>> for MyModels {
    type Error = anyhow::Error;

    /// Names every rule that is broken, and where, in one line.
    fn try_from(models: Vec<MyModel>) -> anyhow::Result<Self> {
        let models = Self(models);
        if let Err(report) = models.validate() {
            let broken = report.iter().map(|(path, rule)| match path.is_empty() {
                true => rule.to_string(),
                false => format!("`{path}`: {rule}"),
            });
            bail!(broken.collect::<Vec<_>>().join("; "));
        }
        Ok(models)
    }
}

// To look at; `DerefMut` would let a change past the rules.
impl Deref for MyModels {
    type Target = [MyModel];

    fn deref(&self) -> &[MyModel] {
        &self.0
    }
}

fn host(ip: &Ipv4Addr, _context: &()) -> garde::Result {
    if ip.is_unspecified() || ip.is_broadcast() {
        return Err(garde::Error::new(format!("{ip} is no host's address")));
    }
    Ok(())
}

/// Chrono takes more than Python's `datetime` can hold.
fn datetime(date: &NaiveDateTime, _context: &()) -> garde::Result {
    if !(1..=9999).contains(&date.year()) {
        return Err(garde::Error::new("is not in the years 1 to 9999"));
    }
    if date.nanosecond() >= 1_000_000_000 {
        return Err(garde::Error::new("is a leap second"));
    }
    Ok(())
}

fn not_negative(fee: &Option<Decimal>, _context: &()) -> garde::Result {
    match fee {
        Some(fee) if fee < &Decimal::ZERO => Err(garde::Error::new("is negative")),
        _ => Ok(()),
    }
}

/// As Pydantic writes it: six digits of a second or none. Chrono alone would write three for .5.
mod date_time {
    use super::*;
    use chrono::DateTime;
    use serde::de::Error;

    pub fn serialize<S: Serializer>(date: &NaiveDateTime, to: S) -> Result<S::Ok, S::Error> {
        let format = match date.and_utc().timestamp_subsec_micros() {
            0 => "%FT%T",
            _ => "%FT%T%.6f",
        };
        to.collect_str(&date.format(format))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<NaiveDateTime, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(|error| {
            D::Error::custom(match DateTime::parse_from_rfc3339(&text) {
                Ok(_) => format!("{text} has a time zone, and is to have none"),
                Err(_) => format!("is not like 2000-01-02T03:04:05: {error}"),
            })
        })
    }
}

/// A string, which keeps all digits; or a number, which Java and JavaScript write. A number that a double
/// cannot hold has lost digits by the time it is read here, unless `Input` or `Json` has refused it.
mod decimal {
    use super::*;
    use rust_decimal::Error;
    use serde::de::Error as _;
    use serde_json::Value;

    /// The strings that are read. `Decimal` alone would also read `1_000`, and round what is too long.
    pub const PATTERN: &str = r"^[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?$";

    pub fn serialize<S: Serializer>(fee: &Option<Decimal>, to: S) -> Result<S::Ok, S::Error> {
        fee.serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Decimal>, D::Error> {
        let text = match Option::<Value>::deserialize(from)? {
            None => return Ok(None),
            Some(Value::String(text)) => text,
            Some(Value::Number(number)) => number.to_string(),
            Some(_) => return Err(D::Error::custom("is neither a string nor a number")),
        };
        match parse(&text) {
            Some(Ok(fee)) => Ok(Some(fee)),
            Some(Err(error)) => Err(D::Error::custom(format!("{text} is out of range: {error}"))),
            None => Err(D::Error::custom(format!("{text} is not like 12.50"))),
        }
    }

    fn parse(text: &str) -> Option<Result<Decimal, Error>> {
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let unsigned = |text| str::strip_prefix(text, ['+', '-']).unwrap_or(text);
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
        let is_decimal = digits(unsigned(whole)) && digits(fraction) && digits(unsigned(exponent));
        is_decimal.then(|| {
            let exact = Decimal::from_str_exact(mantissa)?;
            match mantissa.len() == text.len() {
                true => Ok(exact),
                false => Decimal::from_scientific(text),
            }
        })
    }
}

/// ISO 8601 as Pydantic reads and writes it: by `speedate`, which is its own. A year has 365 days.
mod duration {
    use super::*;
    use serde::{de::Error as _, ser::Error as _};

    const DAY: u64 = 24 * 60 * 60;

    pub fn serialize<S: Serializer>(lease: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        let Some(lease) = lease else {
            return to.serialize_none();
        };
        let days = u32::try_from(lease.as_secs() / DAY).map_err(S::Error::custom)?;
        let seconds = (lease.as_secs() % DAY) as u32;
        let iso = speedate::Duration::new(true, days, seconds, lease.subsec_micros());
        to.collect_str(&iso.map_err(S::Error::custom)?)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        let Some(text) = Option::<String>::deserialize(from)? else {
            return Ok(None);
        };
        let iso = speedate::Duration::parse_str(&text)
            .map_err(|error| D::Error::custom(format!("is not like PT1H30M: {error}")))?;
        if !iso.positive {
            return Err(D::Error::custom("is negative"));
        }
        let seconds = u64::from(iso.day) * DAY + u64::from(iso.second);
        Ok(Some(Duration::new(seconds, iso.microsecond * 1000)))
    }
}
