//! Compares `FORMAT.md`, which other languages implement, with the codec.

use anyhow::Context;
use payload_codec::{DEVELOPMENT_KEY_ID, EncryptionCodec, KeyRing, PUBLISHED_DEVELOPMENT_KEY};
use prost::Message;
use serde_json::{Value, json};
use temporalio_common::protos::temporal::api::common::v1::Payload;

const PAGE: &str = include_str!("../FORMAT.md");

/// Returns the code in the second column of the table row that begins with this name.
fn row(name: &str) -> anyhow::Result<&'static str> {
    let mut lines = PAGE.lines();
    let value = lines.find_map(|line| line.strip_prefix(&format!("| {name} | `")));
    let value = value.and_then(|value| value.strip_suffix("` |"));
    value.with_context(|| format!("no row {name}"))
}

fn hex(digits: &str) -> anyhow::Result<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2).map(std::str::from_utf8);
    pairs
        .map(|pair| Ok(u8::from_str_radix(pair?, 16)?))
        .collect()
}

/// The test vector: the codec decrypts the encrypted payload, which the page shows in two forms, to the
/// payload that the page names. All rows agree with each other, and the codec writes the same metadata.
#[test]
fn the_test_vector_holds() -> anyhow::Result<()> {
    assert_eq!(row("key, as text")?.as_bytes(), PUBLISHED_DEVELOPMENT_KEY);
    let key: Payload = serde_json::from_value(json!({ "data": row("key, in base64")? }))?;
    assert_eq!(key.data, PUBLISHED_DEVELOPMENT_KEY);
    assert_eq!(row("key id")?, DEVELOPMENT_KEY_ID);
    let (name, encoding) = row("payload's metadata")?
        .split_once(": ")
        .context("no colon")?;
    let plain = Payload {
        metadata: [(name.to_owned(), encoding.into())].into(),
        data: row("payload's data")?.into(),
        ..Default::default()
    };
    assert_eq!(hex(row("plaintext, in hex")?)?, plain.encode_to_vec());

    let json = PAGE.split("```json").nth(1).context("no JSON")?;
    let json: Value = serde_json::from_str(json.split("```").next().context("no end")?)?;
    assert_eq!(json["data"], row("encrypted data, in base64")?);
    let encrypted: Payload = serde_json::from_value(json)?;
    assert_eq!(encrypted.data, hex(row("encrypted data, in hex")?)?);
    assert!(encrypted.data.starts_with(&hex(row("nonce, in hex")?)?));
    assert_eq!(encrypted.data.len(), 12 + plain.encoded_len() + 16);

    let keys = KeyRing::new(DEVELOPMENT_KEY_ID, PUBLISHED_DEVELOPMENT_KEY)?;
    let codec = EncryptionCodec::new(keys);
    assert_eq!(codec.encrypt(&plain)?.metadata, encrypted.metadata);
    assert_eq!(codec.decrypt(encrypted.clone())?, plain);

    // As the page says, a reader ignores other metadata. Java's sample writes some.
    let mut more = encrypted;
    more.metadata
        .insert("encryption-cipher".to_owned(), "AES/GCM/NoPadding".into());
    assert_eq!(codec.decrypt(more)?, plain);
    Ok(())
}
