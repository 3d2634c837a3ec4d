//! The payload codec: AES-256-GCM, the same on the wire as in the samples of the other SDKs.
//!
//! An encrypted [`Payload`] has `encoding: binary/encrypted` and `encryption-key-id` as its metadata.
//! Its data is a nonce of 12 random bytes, then ciphertext and tag of the payload as it was, its own
//! metadata included: what kind of thing is stored is nobody's business either.

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

/// `encoding` of a compressed payload. It is met inside an encrypted one alone, and is ours: a
/// reader of another language decrypts it and then does not know what it is.
pub const COMPRESSED: &str = "binary/zstd";

/// Metadata key that says which key encrypted a payload.
pub const KEY_ID: &str = "encryption-key-id";

/// What a compressed payload may grow to, and what is compressed at all: 16 times what a server
/// takes of one that is not compressed.
const MAX_DECOMPRESSED: usize = 32 << 20;

const ENCODING: &str = "encoding";

/// Why a payload could not be encrypted or decrypted. Fit for logs and HTTP answers: it names keys,
/// and quotes neither data nor key material.
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
    /// The tag does not fit: another key goes by this id, or the data has been changed.
    #[error(
        "key `{id}` does not decrypt a payload: another key has that id, or the data was changed"
    )]
    Refused {
        /// The id of the key.
        id: String,
    },
    /// Too short to hold nonce and tag.
    #[error("an encrypted payload has {0} bytes, fewer than nonce and tag")]
    Truncated(usize),
    /// What was encrypted is not a payload, so another program wrote it.
    #[error("what key `{id}` decrypts is not a payload")]
    NotAPayload {
        /// The id of the key.
        id: String,
    },
    /// What was compressed does not decompress, or to more than 32 MiB.
    #[error("a compressed payload does not decompress, or to more than {} MiB", MAX_DECOMPRESSED >> 20)]
    Decompression,
    /// Too large to encrypt, or to compress.
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

/// Encrypts with the first key of a [`KeyRing`], decrypts with the one that a payload names.
///
/// Cheap to clone. The same on both sides: a worker takes it from its client.
#[derive(Clone, Debug)]
pub struct EncryptionCodec {
    keys: Arc<KeyRing>,
    compress_from: Option<usize>,
    random: SystemRandom,
}

impl EncryptionCodec {
    /// A codec that does not compress.
    pub fn new(keys: KeyRing) -> Self {
        Self {
            keys: Arc::new(keys),
            compress_from: None,
            random: SystemRandom::new(),
        }
    }

    /// Compresses payloads of this many bytes or more, metadata included, if that makes them
    /// smaller. Reading needs no setting.
    #[must_use]
    pub fn compress_from(mut self, bytes: Option<usize>) -> Self {
        self.compress_from = bytes;
        self
    }

    /// Encrypts one payload, whatever it is: one that is encrypted already, too.
    ///
    /// # Errors
    /// [`CodecError::TooLarge`] and [`CodecError::NoRandomness`].
    pub fn encrypt(&self, payload: &Payload) -> Result<Payload, CodecError> {
        match self.compress(payload)? {
            Some(compressed) => self.seal(&compressed),
            None => self.seal(payload),
        }
    }

    /// Decrypts one payload. One with an `encoding` other than [`ENCRYPTED`] passes untouched: not
    /// every client encrypts.
    ///
    /// # Errors
    /// Whatever does not decrypt to exactly what was encrypted.
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

    /// Encrypts a payload anew if it is encrypted, and not with the current key. Returns whether it was.
    ///
    /// # Errors
    /// As [`EncryptionCodec::decrypt`] and [`EncryptionCodec::encrypt`]; the payload is then as it was.
    pub fn rotate(&self, payload: &mut Payload) -> Result<bool, CodecError> {
        if key_id(payload).is_none_or(|id| id == self.keys.current_id()) {
            return Ok(false);
        }
        *payload = self.encrypt(&self.decrypt(payload.clone())?)?;
        Ok(true)
    }

    /// The compressed payload, if it should be.
    fn compress(&self, payload: &Payload) -> Result<Option<Payload>, CodecError> {
        let length = payload.encoded_len();
        // A payload that looks like one of ours must be wrapped, or it would be unwrapped in vain.
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
        // The one allocation and the one copy: the payload is written behind the nonce and
        // encrypted where it lies.
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
        // Where it lies, and checked before a byte of it is used.
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

/// The payload in these bytes. Of `Bytes` prost copies the data once, of a slice twice.
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

/// An id as the error tells it. It came with a payload, so it may be anything, of any length.
fn printable(id: &[u8]) -> String {
    let id = String::from_utf8_lossy(id);
    id.chars().take(64).flat_map(char::escape_debug).collect()
}
