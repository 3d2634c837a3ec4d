//! The model: its JSON format and its validation rules. This file does not depend on the others, so to validate with
//! types alone, copy it.

use anyhow::bail;
use chrono::{Datelike, NaiveDateTime, Timelike};
use garde::Validate;
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{net::Ipv4Addr, ops::Deref, time::Duration};

/// The address of a host, with details about it.
// Without `deny_unknown_fields`, because a client that is newer than the workers may send more fields.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize, Validate)]
pub struct MyModel {
    /// Address of the host.
    #[garde(custom(host))]
    pub some_ip: Ipv4Addr,

    /// When the host was first seen, without a time zone.
    #[garde(custom(datetime))]
    #[serde(with = "date_time")]
    // Pydantic writes `date-time` here. In JSON Schema, that has a time zone, which this field rejects.
    #[schemars(with = "String", extend("format" = "partial-date-time"))]
    pub some_date: NaiveDateTime,

    // Optional, because it was added after the first release, and older histories and clients do not have it. Left out
    // when absent, because an older client may not accept `null`.
    /// Time for which the address is leased.
    #[garde(skip)]
    #[serde(default, skip_serializing_if = "Option::is_none", with = "duration")]
    #[schemars(with = "Option<String>", extend("format" = "duration"))]
    pub lease: Option<Duration>,

    /// Cost of the lease.
    #[garde(custom(not_negative))]
    #[serde(default, skip_serializing_if = "Option::is_none", with = "decimal")]
    #[schemars(with = "Option<Decimal>", extend("pattern" = decimal::PATTERN))]
    pub fee: Option<Decimal>,

    /// How the address was assigned.
    #[garde(skip)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
}

/// How an address was assigned.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Assigned by hand.
    Fixed,
    /// Assigned by a server, for a limited time.
    Leased,
}

/// Valid models.
// `TryFrom` is the only way to create a list, also for `Deserialize`, so a list is always valid.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize, Validate)]
#[garde(transparent)]
#[serde(try_from = "Vec<MyModel>")]
// The schema of the type itself, because it has the rule about the length.
#[schemars(!try_from)]
pub struct MyModels(#[garde(dive, length(max = 1000))] Vec<MyModel>);

impl TryFrom<Vec<MyModel>> for MyModels {
    type Error = anyhow::Error;

    /// Returns the models if they are valid. Otherwise the error names every broken rule and its path, in one line.
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

// There is no `DerefMut`, because a change could break a rule.
impl Deref for MyModels {
    type Target = [MyModel];

    fn deref(&self) -> &[MyModel] {
        &self.0
    }
}

fn host(ip: &Ipv4Addr, _context: &()) -> garde::Result {
    if ip.is_unspecified() || ip.is_broadcast() {
        return Err(garde::Error::new(format!(
            "{ip} is not the address of a host"
        )));
    }
    Ok(())
}

/// Rejects dates that chrono accepts but Python's `datetime` cannot hold.
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

/// Date-times as Pydantic writes them, with six digits of a second or none. Chrono alone would write three for .5.
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
                Ok(_) => format!("{text} must not have a time zone"),
                Err(_) => format!("is not like 2000-01-02T03:04:05: {error}"),
            })
        })
    }
}

/// Decimals as strings, which keep all digits, or as numbers, which Java and JavaScript write. If a double cannot hold a
/// number, the number has already lost digits when it is read here, unless `Input` or `Json` has rejected it.
mod decimal {
    use super::*;
    use rust_decimal::Error;
    use serde::de::Error as _;
    use serde_json::Value;

    /// Pattern of the accepted strings. `Decimal` alone would also accept `1_000`, and round a mantissa that is too long.
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

/// ISO 8601 durations as Pydantic reads and writes them, with Pydantic's own crate, `speedate`. A year has 365 days.
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
