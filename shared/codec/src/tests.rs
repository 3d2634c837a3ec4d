//! Tests the codec with its documented format, with damaged data and with hostile data.

use super::*;
use proptest::{collection, prelude::*};
use temporalio_common::protos::temporal::api::common::v1::payload::ExternalPayloadDetails;

fn keys() -> KeyRing {
    KeyRing::new(DEVELOPMENT_KEY_ID, PUBLISHED_DEVELOPMENT_KEY).unwrap()
}

fn codec() -> EncryptionCodec {
    EncryptionCodec::new(keys())
}

fn json(data: &str) -> Payload {
    with_metadata([(ENCODING, "json/plain")], data.as_bytes().to_vec())
}

/// Generates payloads, some of which look as if they were encrypted or compressed.
fn payloads() -> impl Strategy<Value = Payload> {
    let encoding = prop_oneof![
        Just(ENCRYPTED),
        Just(COMPRESSED),
        Just("json/plain"),
        Just("")
    ];
    let metadata = collection::hash_map(".{0,20}", collection::vec(any::<u8>(), 0..20), 0..4);
    let data = collection::vec(any::<u8>(), 0..2000);
    let external = collection::vec(any::<i64>(), 0..3);
    (encoding, metadata, data, external).prop_map(|(encoding, mut metadata, data, external)| {
        metadata.insert(ENCODING.to_owned(), encoding.into());
        let external = external
            .into_iter()
            .map(|size_bytes| ExternalPayloadDetails { size_bytes });
        Payload {
            metadata,
            data,
            external_payloads: external.collect(),
        }
    })
}

proptest! {
    /// Decrypting an encrypted payload returns the original, with and without compression, and the encrypted
    /// payload has the documented form.
    #[test]
    fn decrypts_what_it_encrypts(payload in payloads(), from in prop_oneof![Just(None), (0_usize..3000).prop_map(Some)]) {
        let encrypted = codec().compress_from(from).encrypt(&payload)?;
        let metadata = [(ENCODING, ENCRYPTED), (KEY_ID, DEVELOPMENT_KEY_ID)];
        prop_assert_eq!(&encrypted.metadata, &with_metadata(metadata, vec![]).metadata);
        if from.is_none() && !has_encoding(&payload, COMPRESSED) {
            prop_assert_eq!(encrypted.data.len(), 12 + payload.encoded_len() + 16);
        }
        prop_assert_eq!(codec().decrypt(encrypted)?, payload);
    }

    /// A payload with one changed bit is refused.
    #[test]
    fn refuses_a_changed_bit(payload in payloads(), at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let mut encrypted = codec().encrypt(&payload)?;
        let at = at.index(encrypted.data.len());
        encrypted.data[at] ^= 1 << bit;
        let refused = CodecError::Refused { id: DEVELOPMENT_KEY_ID.into() };
        prop_assert_eq!(codec().decrypt(encrypted), Err(refused));
    }

    /// A payload that is cut off anywhere is refused.
    #[test]
    fn refuses_a_truncated_payload(payload in payloads(), at in any::<prop::sample::Index>()) {
        let mut encrypted = codec().encrypt(&payload)?;
        let at = at.index(encrypted.data.len());
        encrypted.data.truncate(at);
        let error = codec().decrypt(encrypted).unwrap_err();
        let expected = match at {
            0..28 => CodecError::Truncated(at),
            _ => CodecError::Refused { id: DEVELOPMENT_KEY_ID.into() },
        };
        prop_assert_eq!(error, expected);
    }

    /// A payload that was encrypted with another key of the same id is refused.
    #[test]
    fn refuses_another_key(payload in payloads(), key in any::<[u8; 32]>()) {
        let other = EncryptionCodec::new(KeyRing::new(DEVELOPMENT_KEY_ID, &key).unwrap());
        let refused = CodecError::Refused { id: DEVELOPMENT_KEY_ID.into() };
        prop_assert_eq!(codec().decrypt(other.encrypt(&payload)?), Err(refused));
    }

    /// Bytes that were never encrypted are refused, under any key id.
    #[test]
    fn refuses_random_bytes(data in collection::vec(any::<u8>(), 0..200), id in collection::vec(any::<u8>(), 0..200)) {
        let mut payload = with_metadata([(ENCODING, ENCRYPTED), (KEY_ID, DEVELOPMENT_KEY_ID)], data);
        prop_assert!(codec().decrypt(payload.clone()).is_err());
        payload.metadata.insert(KEY_ID.into(), id);
        prop_assert!(codec().decrypt(payload).is_err());
    }

    /// Encrypted data that claims to be compressed, but is not zstd, is refused.
    #[test]
    fn refuses_bad_compressed_data(inside in collection::vec(any::<u8>(), 1..200)) {
        let compressed = codec().seal(&with_metadata([(ENCODING, COMPRESSED)], inside))?;
        prop_assert_eq!(codec().decrypt(compressed), Err(CodecError::Decompression));
    }
}

/// Decrypts a payload that Python's `cryptography` package encrypted, with the nonce 0 to 11.
#[test]
fn reads_what_python_writes() -> anyhow::Result<()> {
    let hex = "000102030405060708090a0bf92b89da276861d2657395a2a3f7f7d1\
               e8a45622938592d067eea33472e054827dfe790de2af91e6153b533057af97905f9609dc";
    let bytes = hex.as_bytes().chunks(2).map(|digits| {
        let digits = std::str::from_utf8(digits)?;
        Ok(u8::from_str_radix(digits, 16)?)
    });
    let data: anyhow::Result<Vec<u8>> = bytes.collect();
    let encrypted = with_metadata([(ENCODING, ENCRYPTED), (KEY_ID, DEVELOPMENT_KEY_ID)], data?);
    assert_eq!(codec().decrypt(encrypted)?, json("\"Temporal\""));
    Ok(())
}

/// Encrypting the same payload twice gives different ciphertexts, because each has a nonce of its own.
#[test]
fn each_payload_has_its_own_nonce() -> anyhow::Result<()> {
    let codec = codec();
    let (first, second) = (codec.encrypt(&json("1"))?, codec.encrypt(&json("1"))?);
    assert_ne!(first.data[..12], second.data[..12]);
    assert_ne!(first.data[12..], second.data[12..]);
    Ok(())
}

/// The new key encrypts, and the old one still decrypts. Without the old key, the error names it and the keys that
/// there are.
#[test]
fn rotates() -> anyhow::Result<()> {
    let old = codec().encrypt(&json("1"))?;
    let rotated =
        KeyRing::new("key-2", &[7; 32])?.with(DEVELOPMENT_KEY_ID, PUBLISHED_DEVELOPMENT_KEY)?;
    assert_eq!(rotated.current_id(), "key-2");
    let rotated = EncryptionCodec::new(rotated);
    assert_eq!(rotated.decrypt(old.clone())?, json("1"));
    let new = rotated.encrypt(&json("2"))?;
    assert_eq!(new.metadata[KEY_ID], b"key-2");
    assert_eq!(rotated.decrypt(new)?, json("2"));

    // `rotate` encrypts old payloads with the new key, and leaves new and plain ones unchanged.
    let mut payload = old.clone();
    assert_eq!(key_id(&payload).as_deref(), Some(DEVELOPMENT_KEY_ID));
    assert!(rotated.rotate(&mut payload)?);
    assert_eq!(key_id(&payload).as_deref(), Some("key-2"));
    assert!(!rotated.rotate(&mut payload)?);
    assert_eq!(rotated.decrypt(payload)?, json("1"));
    let mut plain = json("1");
    assert!(!rotated.rotate(&mut plain)? && key_id(&plain).is_none());
    assert_eq!(plain, json("1"));

    let retired = EncryptionCodec::new(KeyRing::new("key-2", &[7; 32])?);
    let error = retired.decrypt(old).unwrap_err().to_string();
    let expected =
        "no key `test-key-id` in the key ring, which holds `key-2`; add it to the key file";
    assert_eq!(error, expected);
    Ok(())
}

/// An id can come from anyone, so the error shortens and escapes it, even a megabyte of line ends.
#[test]
fn shortens_ids() {
    let mut payload = with_metadata([(ENCODING, ENCRYPTED)], vec![]);
    payload.metadata.insert(KEY_ID.into(), vec![b'\n'; 1 << 20]);
    let error = codec().decrypt(payload).unwrap_err().to_string();
    assert!(error.len() < 250 && !error.contains('\n'), "{error}");
}

/// A payload with another encoding passes unchanged. An encrypted payload without a key id is refused.
#[test]
fn passes_other_encodings() -> anyhow::Result<()> {
    for encoding in [
        "json/plain",
        "binary/plain",
        COMPRESSED,
        "binary/encrypted-otherwise",
    ] {
        let payload = with_metadata([(ENCODING, encoding)], vec![1, 2, 3]);
        assert_eq!(codec().decrypt(payload.clone())?, payload);
    }
    assert_eq!(codec().decrypt(Payload::default())?, Payload::default());
    let nameless = with_metadata([(ENCODING, ENCRYPTED)], vec![0; 100]);
    let error = codec().decrypt(nameless).unwrap_err();
    assert!(matches!(error, CodecError::UnknownKey { id, .. } if id.is_empty()));
    Ok(())
}

/// Compresses a payload only if it has at least the given number of bytes, metadata included, and becomes smaller.
#[test]
fn compresses_from_the_given_size() -> anyhow::Result<()> {
    let payload = json(&"x".repeat(1000));
    let length = payload.encoded_len();
    for (from, compressed) in [(length - 1, true), (length, true), (length + 1, false)] {
        let encrypted = codec().compress_from(Some(from)).encrypt(&payload)?;
        let plain = length + NONCE_LEN + MAX_TAG_LEN;
        assert_eq!(
            encrypted.data.len() < plain,
            compressed,
            "from {from} of {length}"
        );
    }

    let codec = codec().compress_from(Some(1000));
    let length = |data: &str| anyhow::Ok(codec.encrypt(&json(data))?.data.len());
    let plain = |data: &str| json(data).encoded_len() + 28;
    let (small, large) = ("x".repeat(900), "x".repeat(1000));
    assert_eq!(length(&small)?, plain(&small));
    assert!(length(&large)? < 150);
    let mut incompressible = json(&large);
    SystemRandom::new()
        .fill(&mut incompressible.data)
        .map_err(|_| CodecError::NoRandomness)?;
    assert_eq!(
        codec.encrypt(&incompressible)?.data.len(),
        incompressible.encoded_len() + 28
    );
    Ok(())
}

/// A few kilobytes that decompress to 33 MiB are refused. A payload of that size is encrypted without compression, so
/// that it can be decrypted.
#[test]
fn refuses_decompression_bombs() -> anyhow::Result<()> {
    let huge = Payload {
        data: vec![0; 33 << 20],
        ..json("")
    };
    let bomb = zstd::bulk::compress(&huge.encode_to_vec(), 1)?;
    assert!(bomb.len() < 10_000, "{}", bomb.len());
    let bomb = codec().seal(&with_metadata([(ENCODING, COMPRESSED)], bomb))?;
    assert_eq!(codec().decrypt(bomb), Err(CodecError::Decompression));

    let encrypted = codec().compress_from(Some(0)).encrypt(&huge)?;
    assert!(encrypted.data.len() > 33 << 20);
    assert_eq!(codec().decrypt(encrypted)?, huge);
    Ok(())
}

/// Prints how much compression saves: `cargo test -p payload-codec --lib sizes -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn sizes() -> anyhow::Result<()> {
    let order = |n: u64| {
        let (price, customer) = (n * 7919 % 100_000, n * 104_729 % 1_000_003);
        format!(r#"{{"order":{n},"customer":"C{customer:07}","price":{price},"status":"shipped"}}"#)
    };
    println!("| orders | JSON | encrypted | compressed and encrypted |");
    for orders in [1, 2, 4, 16, 128, 1024, 8192] {
        let list: Vec<String> = (1..=orders).map(order).collect();
        let payload = json(&format!("[{}]", list.join(",")));
        let encrypted = codec().encrypt(&payload)?.data.len();
        let start = std::time::Instant::now();
        let compressed = codec().compress_from(Some(0)).encrypt(&payload)?.data.len();
        let taken = start.elapsed();
        println!(
            "| {orders} | {} | {encrypted} | {compressed} | {taken:?}",
            payload.data.len()
        );
    }
    Ok(())
}
