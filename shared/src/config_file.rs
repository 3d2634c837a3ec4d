//! Checks `temporal.toml` before the SDK reads it. The SDK's own error quotes the line with the mistake, which may
//! contain an API key or a private key.

use anyhow::{Context, anyhow, bail};
use std::path::Path;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// Type of the value of a setting.
enum Kind {
    Boolean,
    Text,
    /// A table with these keys.
    Table(Keys),
    /// A table with any keys, whose values have this type.
    Each(&'static Kind),
}

type Keys = &'static [(&'static str, Kind)];

/// All settings that Temporal's clients know. Errors print no other key, because in a broken file a part of a secret
/// can be at the place of a key.
const FILE: Keys = &[("profile", Kind::Each(&Kind::Table(PROFILE)))];

const PROFILE: Keys = &[
    ("address", Kind::Text),
    ("api_key", Kind::Text),
    ("codec", Kind::Table(CODEC)),
    ("grpc_meta", Kind::Each(&Kind::Text)),
    ("namespace", Kind::Text),
    ("tls", Kind::Table(TLS)),
];

const TLS: Keys = &[
    ("client_cert_data", Kind::Text),
    ("client_cert_path", Kind::Text),
    ("client_key_data", Kind::Text),
    ("client_key_path", Kind::Text),
    ("disable_host_verification", Kind::Boolean),
    ("disabled", Kind::Boolean),
    ("server_ca_cert_data", Kind::Text),
    ("server_ca_cert_path", Kind::Text),
    ("server_name", Kind::Text),
];

const CODEC: Keys = &[("auth", Kind::Text), ("endpoint", Kind::Text)];

/// A mistake, and the byte at which it is.
struct Fault {
    at: usize,
    what: String,
}

/// Reads a `temporal.toml`, and checks that the SDK will accept it. Warns about unknown settings.
///
/// # Errors
/// If the file cannot be read, is not TOML, or has a value of the wrong type. The error names the file, the line, the
/// column and the setting, and quotes nothing else from the file.
pub(crate) fn read(path: &Path) -> anyhow::Result<String> {
    let name = path.display().to_string();
    let bytes =
        std::fs::read(path).with_context(|| format!("cannot read the settings in {name}"))?;
    accept(&name, &bytes)
}

fn accept(name: &str, bytes: &[u8]) -> anyhow::Result<String> {
    let bytes = match bytes {
        // Windows PowerShell writes UTF-16.
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => bail!("{name} is UTF-16; save it as UTF-8"),
        // TOML ignores a byte-order mark.
        [0xef, 0xbb, 0xbf, rest @ ..] => rest,
        all => all,
    };
    let place = |at: usize| {
        let before = bytes.get(..at).unwrap_or(bytes);
        let line = before.split(|byte| *byte == b'\n').next_back();
        let line = String::from_utf8_lossy(line.unwrap_or_default());
        let lines = before.iter().filter(|byte| **byte == b'\n').count();
        format!(
            "{name}, line {}, column {}",
            lines + 1,
            line.chars().count() + 1
        )
    };
    let text = std::str::from_utf8(bytes)
        .map_err(|error| anyhow!("{}: not UTF-8", place(error.valid_up_to())))?;
    let (file, errors) = DeTable::parse_recoverable(text);
    let start = |error: &toml::de::Error| error.span().map_or(0, |span| span.start);
    // The first error in the file. A string without an end causes many more after it.
    if let Some(error) = errors.iter().min_by_key(|error| start(error)) {
        // This is the parser's own text, and contains nothing from the file.
        let (at, what) = (start(error), error.message());
        bail!("{}{}: {what}", place(at), near(text, at));
    }
    let mut unknown = Vec::new();
    check(file.get_ref(), FILE, &mut unknown)
        .map_err(|fault| anyhow!("{}: {}", place(fault.at), fault.what))?;
    for at in unknown {
        tracing::warn!("{}: no setting has this name, it is ignored", place(at));
    }
    Ok(text.to_owned())
}

fn check(table: &DeTable<'_>, keys: Keys, unknown: &mut Vec<usize>) -> Result<(), Fault> {
    for (key, value) in table.iter() {
        match keys.iter().find(|(name, _)| name == key.get_ref()) {
            Some((name, kind)) => kind.check(&format!("`{name}`"), value, unknown)?,
            None => unknown.push(key.span().start),
        }
    }
    Ok(())
}

impl Kind {
    fn check(
        &self,
        what: &str,
        value: &Spanned<DeValue<'_>>,
        unknown: &mut Vec<usize>,
    ) -> Result<(), Fault> {
        match (self, value.get_ref()) {
            (Self::Boolean, DeValue::Boolean(_)) | (Self::Text, DeValue::String(_)) => Ok(()),
            (Self::Table(keys), DeValue::Table(table)) => check(table, keys, unknown),
            (Self::Each(kind), DeValue::Table(table)) => {
                let what = format!("each value in {what}");
                let mut values = table.values();
                values.try_for_each(|value| kind.check(&what, value, unknown))
            }
            (_, other) => {
                let expected = match self {
                    Self::Boolean => "true or false",
                    Self::Text => "a string in quotes",
                    Self::Table(_) | Self::Each(_) => "a table",
                };
                let found = other.type_str();
                Err(Fault {
                    at: value.span().start,
                    what: format!("{what} must be {expected}, not this {found}"),
                })
            }
        }
    }
}

/// Returns the setting that a syntax error is about, or the last one before it in brackets.
fn near(text: &str, at: usize) -> String {
    let at = text.floor_char_boundary(at);
    let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let end = text[at..]
        .find('\n')
        .map_or(text.len(), |length| at + length);
    let tables = [FILE, PROFILE, TLS, CODEC];
    let last_in = |part: &str| {
        part.rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .find_map(|word| tables.into_iter().flatten().find(|(name, _)| *name == word))
            .map(|(name, _)| *name)
    };
    match (last_in(&text[start..end]), last_in(&text[..start])) {
        (Some(name), _) => format!(" (near `{name}`)"),
        (None, Some(name)) => format!(" (after `{name}`)"),
        (None, None) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECRET: &str = "s3cret";

    /// A file with all settings. Every setting that can contain a secret contains one.
    const WHOLE: &str = r#"
        [profile.default]
        address = "localhost:7233" # or elsewhere
        api_key = "s3cret"
        namespace = 'default'
        tls = { disabled = false, client_cert_data = "s3cret", server_name = "s" }

        [profile.cloud.tls]
        client_key_data = """
        -----BEGIN PRIVATE KEY-----
        s3cret
        -----END PRIVATE KEY-----
        """
        disable_host_verification = true

        [profile.cloud.codec]
        auth = "s3cret"

        [profile.cloud.grpc_meta]
        Authorization = "Bearer s3cret"
    "#;

    proptest! {
        /// The error of a damaged file has a position, and never the secret.
        #[test]
        fn quotes_no_file(
            from in 0..WHOLE.len(),
            length in 0..60usize,
            new in "[\\[\\]{}=\"'#\\\\, \n0-9a-z\u{e9}]{0,3}",
        ) {
            let mut damaged = WHOLE.to_owned();
            damaged.replace_range(from..(from + length).min(WHOLE.len()), &new);
            if let Err(error) = accept("a file", damaged.as_bytes()) {
                let error = format!("{error:#}");
                prop_assert!(error.starts_with("a file, line "), "{}", error);
                prop_assert!(!error.contains(SECRET), "{}", error);
            }
        }
    }

    /// All files that the SDK accepts are accepted, even those that have no effect.
    #[test]
    fn takes_what_the_sdk_takes() -> anyhow::Result<()> {
        for text in [
            WHOLE,
            "",
            "\n",
            "# nothing",
            "other = 1",
            "[profile]",
            "[profile.default]",
        ] {
            accept("a file", text.as_bytes())?;
            let options = Default::default();
            let taken =
                temporalio_common::envconfig::ClientConfig::from_toml(text.as_bytes(), options);
            taken.map_err(|error| anyhow!("{text}: {error}"))?;
        }
        Ok(())
    }
}
