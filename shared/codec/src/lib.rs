//! A payload codec that encrypts with AES-256-GCM, in the format of Temporal's Python and TypeScript samples.
//!
//! An encrypted [`Payload`] has the metadata `encoding: binary/encrypted` and `encryption-key-id`. Its data
//! is a nonce of 12 random bytes, the ciphertext, and the tag. The plaintext is the original payload as a
//! serialized protobuf message, with its metadata, so the server cannot see what kind of value is stored.

#![warn(missing_docs)]

mod keys;
#[cfg(test)]
mod tests;

pub use keys::{DEVELOPMENT_KEY_ID, EncryptionArgs, KeyRing, PUBLISHED_DEVELOPMENT_KEY, trimmed};

use futures::{
    FutureExt,
    future::{BoxFuture, ready},
};
use prost::{Message, bytes::Bytes};
use ring::{
    aead::{Aad, MAX_TAG_LEN, NONCE_LEN, Nonce},
    rand::{SecureRandom, SystemRandom},
};
use std::{collections::HashMap, sync::Arc};
use temporalio_common::{
    data_converters::{PayloadCodec, PayloadConversionError, SerializationContextData},
    protos::temporal::api::common::v1::Payload,
};

/// `encoding` of an encrypted payload.
pub const ENCRYPTED: &str = "binary/encrypted";

/// `encoding` of a compressed payload, which occurs only inside an encrypted one. Codecs in other languages
/// do not know it.
pub const COMPRESSED: &str = "binary/zstd";

/// Metadata key that says which key encrypted a payload.
pub const KEY_ID: &str = "encryption-key-id";

/// The largest payload that is compressed or decompressed: 16 times the server's limit for a payload.
const MAX_DECOMPRESSED: usize = 32 << 20;

const ENCODING: &str = "encoding";

/// Why a payload could not be encrypted or decrypted. Safe for logs and HTTP responses: it names keys, and
/// quotes neither data nor key material.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// It was encrypted with a key that is not in the key ring.
    #[error("no key `{id}` in the key ring, which holds {held}; add it to the key file")]
    UnknownKey {
        /// The id of that key, shortened if need be.
        id: String,
        /// The ids of the keys that there are.
        held: String,
    },
    /// The tag does not match: another key has this id, or the data has been changed.
    #[error(
        "key `{id}` does not decrypt a payload: another key has that id, or the data was changed"
    )]
    Refused {
        /// The id of the key.
        id: String,
    },
    /// The data is too short for nonce and tag.
    #[error("an encrypted payload has {0} bytes, fewer than nonce and tag")]
    Truncated(usize),
    /// The decrypted data is not a payload, so another program wrote it.
    #[error("key `{id}` decrypts data that is not a payload")]
    NotAPayload {
        /// The id of the key.
        id: String,
    },
    /// A compressed payload cannot be decompressed, or is larger than 32 MiB.
    #[error("a compressed payload cannot be decompressed, or is larger than {} MiB", MAX_DECOMPRESSED >> 20)]
    Decompression,
    /// The payload is too large to encrypt or to compress.
    #[error("a payload is too large")]
    TooLarge,
    /// The operating system gives no random bytes.
    #[error("no random bytes for a nonce")]
    NoRandomness,
}

impl From<CodecError> for PayloadConversionError {
    fn from(error: CodecError) -> Self {
        Self::EncodingError(Box::new(error))
    }
}

/// Encrypts with the current key of a [`KeyRing`], and decrypts with the key that a payload names.
///
/// Cheap to clone. Clients and workers need the same one; a worker takes it from its client.
#[derive(Clone, Debug)]
pub struct EncryptionCodec {
    keys: Arc<KeyRing>,
    compress_from: Option<usize>,
    random: SystemRandom,
}

impl EncryptionCodec {
    /// Returns a codec that does not compress.
    pub fn new(keys: KeyRing) -> Self {
        Self {
            keys: Arc::new(keys),
            compress_from: None,
            random: SystemRandom::new(),
        }
    }

    /// Compresses payloads of at least this many bytes, metadata included, if that makes them smaller.
    /// Decompressing needs no setting.
    #[must_use]
    pub fn compress_from(mut self, bytes: Option<usize>) -> Self {
        self.compress_from = bytes;
        self
    }

    /// Encrypts one payload, even one that is encrypted already.
    ///
    /// # Errors
    /// [`CodecError::TooLarge`] and [`CodecError::NoRandomness`].
    pub fn encrypt(&self, payload: &Payload) -> Result<Payload, CodecError> {
        match self.compress(payload)? {
            Some(compressed) => self.seal(&compressed),
            None => self.seal(payload),
        }
    }

    /// Decrypts one payload. Returns a payload with an `encoding` other than [`ENCRYPTED`] unchanged,
    /// because not every client encrypts.
    ///
    /// # Errors
    /// If the payload does not decrypt to exactly what was encrypted.
    pub fn decrypt(&self, payload: Payload) -> Result<Payload, CodecError> {
        if !has_encoding(&payload, ENCRYPTED) {
            return Ok(payload);
        }
        let payload = self.open(payload)?;
        if !has_encoding(&payload, COMPRESSED) {
            return Ok(payload);
        }
        let decompressed = zstd::bulk::decompress(&payload.data, MAX_DECOMPRESSED)
            .map_err(|_| CodecError::Decompression)?;
        decode(Bytes::from(decompressed)).ok_or(CodecError::Decompression)
    }

    /// Encrypts a payload with the current key if it is encrypted with another one. Returns whether it was.
    ///
    /// # Errors
    /// The errors of [`EncryptionCodec::decrypt`] and [`EncryptionCodec::encrypt`]. The payload is then unchanged.
    pub fn rotate(&self, payload: &mut Payload) -> Result<bool, CodecError> {
        if key_id(payload).is_none_or(|id| id == self.keys.current_id()) {
            return Ok(false);
        }
        *payload = self.encrypt(&self.decrypt(payload.clone())?)?;
        Ok(true)
    }

    /// Returns the compressed payload, or `None` if it should not be compressed.
    fn compress(&self, payload: &Payload) -> Result<Option<Payload>, CodecError> {
        let length = payload.encoded_len();
        // A payload that looks like one of ours must be wrapped, or decrypting would unwrap it by mistake.
        let must = has_encoding(payload, COMPRESSED);
        let may = self.compress_from.is_some_and(|from| length >= from);
        if length > MAX_DECOMPRESSED || !(must || may) {
            return if must {
                Err(CodecError::TooLarge)
            } else {
                Ok(None)
            };
        }
        let data = zstd::bulk::compress(&payload.encode_to_vec(), zstd::DEFAULT_COMPRESSION_LEVEL)
            .map_err(|_| CodecError::TooLarge)?;
        let compressed = with_metadata([(ENCODING, COMPRESSED)], data);
        Ok((must || compressed.encoded_len() < length).then_some(compressed))
    }

    fn seal(&self, payload: &Payload) -> Result<Payload, CodecError> {
        let mut nonce = [0; NONCE_LEN];
        self.random
            .fill(&mut nonce)
            .map_err(|_| CodecError::NoRandomness)?;
        // One allocation and one copy: the payload is serialized after the nonce and encrypted in place.
        let mut data = Vec::with_capacity(NONCE_LEN + payload.encoded_len() + MAX_TAG_LEN);
        data.extend_from_slice(&nonce);
        payload
            .encode(&mut data)
            .map_err(|_| CodecError::TooLarge)?;
        let (id, key) = self.keys.current();
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = key
            .seal_in_place_separate_tag(nonce, Aad::empty(), &mut data[NONCE_LEN..])
            .map_err(|_| CodecError::TooLarge)?;
        data.extend_from_slice(tag.as_ref());
        Ok(with_metadata([(ENCODING, ENCRYPTED), (KEY_ID, id)], data))
    }

    fn open(&self, payload: Payload) -> Result<Payload, CodecError> {
        let Payload {
            metadata, mut data, ..
        } = payload;
        let id = metadata.get(KEY_ID).map(Vec::as_slice).unwrap_or_default();
        let key = self.keys.get(id).ok_or_else(|| CodecError::UnknownKey {
            id: printable(id),
            held: self.keys.ids(),
        })?;
        let length = data.len();
        let (nonce, sealed) = match data.split_first_chunk_mut() {
            Some((nonce, sealed)) if sealed.len() >= MAX_TAG_LEN => (*nonce, sealed),
            _ => return Err(CodecError::Truncated(length)),
        };
        // Decrypts in place. The tag is checked before any byte is used.
        let length = key
            .open_in_place(Nonce::assume_unique_for_key(nonce), Aad::empty(), sealed)
            .map_err(|_| CodecError::Refused { id: printable(id) })?
            .len();
        decode(Bytes::from(data).slice(NONCE_LEN..NONCE_LEN + length))
            .ok_or_else(|| CodecError::NotAPayload { id: printable(id) })
    }
}

/// Returns the id of the key that a payload is encrypted with, or `None` if it is not encrypted.
pub fn key_id(payload: &Payload) -> Option<String> {
    let id = payload.metadata.get(KEY_ID).map(Vec::as_slice);
    has_encoding(payload, ENCRYPTED).then(|| printable(id.unwrap_or_default()))
}

/// Deserializes a payload. Prost copies the data once from `Bytes`, and twice from a slice.
fn decode(bytes: Bytes) -> Option<Payload> {
    Payload::decode(bytes).ok()
}

impl PayloadCodec for EncryptionCodec {
    fn encode(
        &self,
        _context: &SerializationContextData,
        payloads: Vec<Payload>,
    ) -> BoxFuture<'static, Result<Vec<Payload>, PayloadConversionError>> {
        let encrypted: Result<_, _> = payloads.iter().map(|p| self.encrypt(p)).collect();
        ready(encrypted.map_err(Into::into)).boxed()
    }

    fn decode(
        &self,
        _context: &SerializationContextData,
        payloads: Vec<Payload>,
    ) -> BoxFuture<'static, Result<Vec<Payload>, PayloadConversionError>> {
        let decrypted: Result<_, _> = payloads.into_iter().map(|p| self.decrypt(p)).collect();
        ready(decrypted.map_err(Into::into)).boxed()
    }
}

fn has_encoding(payload: &Payload, encoding: &str) -> bool {
    payload
        .metadata
        .get(ENCODING)
        .is_some_and(|value| value == encoding.as_bytes())
}

fn with_metadata<const N: usize>(metadata: [(&str, &str); N], data: Vec<u8>) -> Payload {
    let metadata = metadata.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()));
    Payload {
        metadata: HashMap::from(metadata),
        data,
        ..Default::default()
    }
}

/// Returns an id that is safe to print. It comes from a payload, so it may be any bytes of any length.
fn printable(id: &[u8]) -> String {
    let id = String::from_utf8_lossy(id);
    id.chars().take(64).flat_map(char::escape_debug).collect()
}
