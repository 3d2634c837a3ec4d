//! The account: what the workflow knows about a user, and passes on from run to run.

use serde::{Deserialize, Deserializer, Serialize, de::Error};

/// Maximum length of a text from outside, in bytes. The state goes into the input of the next run, which must not get
/// too large.
pub const MAX_TEXT: usize = 1000;

/// Whether a user can use the account.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Status {
    /// `"ACTIVE"`
    #[default]
    Active,
    /// `"SUSPENDED"`
    Suspended,
    /// `"DELETED"`
    Deleted,
}

/// Name and email address of a user: `{"name":"Ada","email":"ada@example.com"}`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Profile {
    /// Name of the user.
    #[serde(deserialize_with = "short_text::<_, MAX_TEXT>")]
    pub name: String,
    /// Email address of the user.
    #[serde(deserialize_with = "short_text::<_, MAX_TEXT>")]
    pub email: String,
}

/// The state of an account. Fields that are missing have their defaults.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default)]
pub struct AccountState {
    /// Whether the user can use the account.
    pub status: Status,
    /// Name and email address, after the first `update_profile`.
    pub profile: Option<Profile>,
    /// An email address that the user has not confirmed yet. No update of this sample sets it.
    #[serde(deserialize_with = "optional_short_text")]
    pub pending_email: Option<String>,
    /// Time of the start, in ISO 8601.
    #[serde(deserialize_with = "time")]
    pub created_at: Option<String>,
    /// Time of the last change, in ISO 8601.
    #[serde(deserialize_with = "time")]
    pub updated_at: Option<String>,
    /// Number of updates that were applied, with or without effect.
    pub updates_applied: u64,
}

/// Reads a text of at most `LIMIT` bytes.
///
/// # Errors
/// If the text is longer.
pub fn short_text<'de, D, const LIMIT: usize>(deserializer: D) -> Result<String, D::Error>
where
    D: Deserializer<'de>,
{
    let text = String::deserialize(deserializer)?;
    match text.len() {
        bytes if bytes > LIMIT => Err(D::Error::custom(format!(
            "the text has {bytes} bytes, more than the limit of {LIMIT}"
        ))),
        _ => Ok(text),
    }
}

fn optional_short_text<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    struct Short(#[serde(deserialize_with = "short_text::<_, MAX_TEXT>")] String);
    Ok(Option::<Short>::deserialize(deserializer)?.map(|Short(text)| text))
}

/// Reads a time with or without a time zone, as Python's `datetime.isoformat` writes it. It stays a text, because
/// nothing is computed from it.
fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = optional_short_text(deserializer)?;
    if let Some(text) = &text {
        let no_time = "not a date and time in ISO 8601, such as 2026-11-28T18:00:00Z";
        speedate::DateTime::parse_str(text).map_err(|_| D::Error::custom(no_time))?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, from_value, json, to_value};

    /// The JSON has the fields that published clients know, and one more. Fields may be missing or null.
    #[test]
    fn is_compatible_with_published_clients() -> anyhow::Result<()> {
        let json = json!({
            "status": "SUSPENDED",
            "profile": {"name": "Ada", "email": "ada@example.com"},
            "pending_email": "ada@example.org",
            "created_at": "2026-11-28T18:00:00.123456",
            "updated_at": "2026-11-28T18:00:00+00:00",
        });
        let state: AccountState = from_value(json.clone())?;
        let mut with_count = json;
        with_count["updates_applied"] = 0.into();
        assert_eq!(to_value(state)?, with_count);
        let nulls =
            json!({"profile": null, "pending_email": null, "created_at": null, "updated_at": null});
        for json in [json!({}), nulls] {
            assert_eq!(from_value::<AccountState>(json)?, AccountState::default());
        }
        Ok(())
    }

    /// A text that is too long, a time that is none and an unknown status are refused.
    #[test]
    fn refuses_bad_values() {
        let long = "x".repeat(MAX_TEXT + 1);
        let reason = |json: Value| match from_value::<AccountState>(json) {
            Ok(state) => format!("{state:?}"),
            Err(error) => error.to_string(),
        };
        let too_long = "the text has 1001 bytes, more than the limit of 1000";
        for (json, expected) in [
            (json!({"profile": {"name": long, "email": ""}}), too_long),
            (json!({"profile": {"name": "", "email": long}}), too_long),
            (json!({ "pending_email": long }), too_long),
            (
                json!({"created_at": "yesterday"}),
                "not a date and time in ISO 8601",
            ),
            (
                json!({"updated_at": "2026-11-28"}),
                "not a date and time in ISO 8601",
            ),
            (json!({"status": "GONE"}), "unknown variant `GONE`"),
        ] {
            let reason = reason(json);
            assert!(reason.contains(expected), "{reason}");
        }
    }
}
