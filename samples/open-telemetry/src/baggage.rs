//! Reads and writes baggage headers as the W3C specifies them.
//!
//! The `BaggagePropagator` of `opentelemetry_sdk` 0.32.1 cuts off a value at the first `=`, which other
//! SDKs do not encode, removes the spaces around it, and does not encode `%`. A test below shows that. When
//! it is fixed, the test fails, and you can remove this module.

use anyhow::ensure;
use opentelemetry::{
    Context,
    baggage::{Baggage, BaggageExt},
    propagation::{Extractor, Injector, TextMapPropagator, text_map_propagator::FieldIter},
};
use percent_encoding::{
    AsciiSet, CONTROLS, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode,
};

/// Maximum length of the header. Other SDKs drop all baggage if it is longer.
pub const MAX_BYTES: usize = 8192;

/// Key of the header, in a Temporal header as in HTTP.
const HEADER: &str = "baggage";

/// All characters except those that no SDK changes. Python reads `+` as a space.
const VALUE: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Metadata stays as it was received. A comma would end the entry.
const METADATA: &AsciiSet = &CONTROLS.add(b',');

/// Checks that an entry fits into the header.
///
/// # Errors
/// If it does not fit. The message contains the size and the limit, but not the value.
pub fn check(key: &str, value: &str) -> anyhow::Result<()> {
    let bytes = entry(key, value, "").len();
    ensure!(
        bytes <= MAX_BYTES,
        "`{key}` takes {bytes} bytes as baggage, more than the limit of {MAX_BYTES}; choose a shorter value"
    );
    Ok(())
}

fn entry(key: &str, value: &str, metadata: &str) -> String {
    let mut entry = format!("{key}={}", utf8_percent_encode(value, VALUE));
    if !metadata.is_empty() {
        entry.push(';');
        entry.extend(utf8_percent_encode(metadata, METADATA));
    }
    entry
}

/// A propagator that does not change the values of baggage.
#[derive(Debug)]
pub struct LosslessBaggage {
    fields: [String; 1],
}

impl Default for LosslessBaggage {
    fn default() -> Self {
        Self {
            fields: [HEADER.to_owned()],
        }
    }
}

impl TextMapPropagator for LosslessBaggage {
    fn inject_context(&self, context: &Context, injector: &mut dyn Injector) {
        let mut entries: Vec<_> = context.baggage().iter().collect();
        // If not all entries fit, the same ones are left out in every process.
        entries.sort_by_key(|(key, _)| key.as_str());
        let mut header = String::new();
        for (key, (value, metadata)) in entries {
            let entry = entry(key.as_str(), value.as_str(), metadata.as_str());
            let comma = if header.is_empty() { "" } else { "," };
            if header.len() + comma.len() + entry.len() > MAX_BYTES {
                tracing::warn!(
                    key = key.as_str(),
                    "baggage entry left out: all entries together may have {MAX_BYTES} bytes"
                );
                continue;
            }
            header.push_str(comma);
            header.push_str(&entry);
        }
        if !header.is_empty() {
            injector.set(HEADER, header);
        }
    }

    fn extract_with_context(&self, context: &Context, extractor: &dyn Extractor) -> Context {
        let Some(header) = extractor.get(HEADER) else {
            return context.clone();
        };
        if header.len() > MAX_BYTES {
            tracing::warn!(
                "baggage dropped: the header has {} bytes, more than the limit of {MAX_BYTES}",
                header.len()
            );
            return context.clone();
        }
        let mut baggage = Baggage::new();
        for entry in header.split(',') {
            let (pair, metadata) = entry.split_once(';').unwrap_or((entry, ""));
            // Spaces around a value belong to the value only if they are encoded.
            let decoded = pair.split_once('=').and_then(|(key, value)| {
                let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
                Some((key.trim().to_owned(), value.into_owned()))
            });
            match decoded {
                Some((key, value)) => {
                    baggage.insert_with_metadata(key, value, metadata.trim());
                }
                // The message does not contain the entry, which may be confidential.
                None => {
                    tracing::warn!("baggage entry dropped: it is not a `key=value` pair in UTF-8")
                }
            }
        }
        context.with_baggage(baggage)
    }

    fn fields(&self) -> FieldIter<'_> {
        FieldIter::new(&self.fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::{KeyValue, baggage::BaggageMetadata};
    use opentelemetry_sdk::propagation::BaggagePropagator;
    use std::collections::HashMap;

    fn written(propagator: &dyn TextMapPropagator, baggage: Baggage) -> Option<String> {
        let mut headers = HashMap::new();
        let context = Context::new().with_baggage(baggage);
        propagator.inject_context(&context, &mut headers);
        headers.remove(HEADER)
    }

    fn read(propagator: &dyn TextMapPropagator, header: &str) -> Context {
        let headers = HashMap::from([(HEADER.to_owned(), header.to_owned())]);
        propagator.extract_with_context(&Context::new(), &headers)
    }

    /// Reads one entry with the key `k`.
    fn value(propagator: &dyn TextMapPropagator, header: &str) -> Option<String> {
        let value = read(propagator, header).baggage().get("k").cloned();
        value.map(|value| value.to_string())
    }

    fn one(value: &str) -> Baggage {
        [KeyValue::new("k", value.to_owned())].into_iter().collect()
    }

    /// Values with characters that have a meaning in the header, in a URL or in a terminal, and one that ends
    /// like padding.
    const VALUES: [&str; 10] = [
        "",
        "acme",
        "a,b;c=d",
        "YWJjZA==",
        " spaces \t",
        "100%",
        "%41%zz",
        "a+b",
        "\"quoted\\\"\r\n\u{1b}[2J",
        "ä€😀",
    ];

    /// Every value is read as it was written, and its header contains only characters that all SDKs accept.
    #[test]
    fn keeps_values_unchanged() {
        let propagator = LosslessBaggage::default();
        for text in VALUES {
            let header = written(&propagator, one(text)).expect(text);
            assert_eq!(value(&propagator, &header).as_deref(), Some(text));
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%=".contains(&byte);
            assert!(header.bytes().all(allowed), "{header}");
        }
    }

    /// Headers that other languages write are read correctly.
    #[test]
    fn reads_headers_from_other_languages() {
        let propagator = LosslessBaggage::default();
        for (header, text) in [
            // Go leaves `=` and `+` as they are.
            ("k=a%2Cb%3Bc=d", "a,b;c=d"),
            ("k=YWJjZA==", "YWJjZA=="),
            ("k=%20spaces%20%09", " spaces \t"),
            ("k=100%25", "100%"),
            ("k=a+b", "a+b"),
            ("k=%C3%A4%E2%82%AC%F0%9F%98%80", "ä€😀"),
            // TypeScript encodes `=`.
            ("k=YWJjZA%3D%3D", "YWJjZA=="),
            // Python writes a space as `+`, which is a plus sign in all other languages.
            ("k=a+b%2Bc", "a+b+c"),
            // Spaces and metadata around a value, and other entries.
            ("a=b , k = YQ== ;p=1;q ,c=d", "YQ=="),
        ] {
            assert_eq!(
                value(&propagator, header).as_deref(),
                Some(text),
                "{header}"
            );
        }
    }

    /// The reason for this module: the library's own propagator changes values, both when it reads and when it
    /// writes.
    #[test]
    fn the_library_changes_values() {
        let library = BaggagePropagator::new();
        assert_eq!(value(&library, "k=a%2Cb%3Bc=d").as_deref(), Some("a,b;c"));
        assert_eq!(value(&library, "k=YWJjZA==").as_deref(), Some("YWJjZA"));
        assert_eq!(value(&library, "k=%20spaces%20").as_deref(), Some("spaces"));
        assert_eq!(
            written(&library, one("100%25")).as_deref(),
            Some("k=100%25")
        );
    }

    /// Metadata passes through unchanged.
    #[test]
    fn keeps_metadata() {
        let propagator = LosslessBaggage::default();
        let header = "k=v;p=a%2Cb;q";
        let context = read(&propagator, header);
        let metadata = BaggageMetadata::from("p=a%2Cb;q");
        let entry = context.baggage().get_with_metadata("k");
        assert_eq!(entry, Some(&("v".into(), metadata)));
        let mut headers = HashMap::new();
        propagator.inject_context(&context, &mut headers);
        assert_eq!(headers[HEADER], header);
    }

    /// Entries that do not fit into the header are left out, and the other entries arrive. A header that is too long
    /// is dropped, and so is an entry that does not decode.
    #[test]
    fn has_limits() -> anyhow::Result<()> {
        let propagator = LosslessBaggage::default();
        let longest = "x".repeat(MAX_BYTES - "k=".len());
        check("k", &longest)?;
        let header = written(&propagator, one(&longest)).expect("it fits");
        assert_eq!(header.len(), MAX_BYTES);
        assert_eq!(value(&propagator, &header), Some(longest.clone()));
        assert_eq!(value(&propagator, &format!("{header}x")), None);

        // Each character takes three bytes when it is encoded.
        let encoded = "%".repeat(MAX_BYTES / 3 + 1);
        let error = check("k", &encoded).expect_err("too long").to_string();
        assert_eq!(
            error,
            "`k` takes 8195 bytes as baggage, more than the limit of 8192; choose a shorter value"
        );
        let both = [("a", "b".to_owned()), ("k", encoded)];
        let baggage = both.map(|(key, value)| KeyValue::new(key, value));
        let header = written(&propagator, baggage.into_iter().collect());
        assert_eq!(header.as_deref(), Some("a=b"));

        let context = read(&propagator, "a=b,k,c=%FF,d=e");
        let mut keys: Vec<_> = context
            .baggage()
            .iter()
            .map(|(key, _)| key.as_str())
            .collect();
        keys.sort();
        assert_eq!(keys, ["a", "d"]);
        Ok(())
    }
}
