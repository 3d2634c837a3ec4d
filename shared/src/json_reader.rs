//! Reads JSON into any type, by the rules of [`Json`](crate::Json).

use crate::{
    input::shorten,
    json::{encoding, unreadable},
};
use serde::{
    Deserialize, Deserializer,
    de::{
        self, DeserializeOwned, DeserializeSeed, EnumAccess, IntoDeserializer, Unexpected,
        VariantAccess, Visitor,
        value::{MapDeserializer, SeqDeserializer, StrDeserializer},
    },
    forward_to_deserialize_any,
};
use serde_json::value::RawValue;
use serde_path_to_error::{Path, Track};
use std::{any::TypeId, collections::BTreeMap, fmt};
use temporalio_common::protos::temporal::api::common::v1::Payload;

/// Depth of lists and objects that is too much, as it is for serde_json.
const TOO_DEEP: usize = 128;

/// A JSON value whose numbers have all their digits.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node {
    /// An argument that was not sent. Unlike `null` it is no list.
    Missing,
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Node>),
    Object(BTreeMap<String, Node>),
}

impl Node {
    /// Reads a payload, or says why it cannot.
    pub(crate) fn read(payload: &Payload) -> Result<Self, String> {
        match encoding(payload).as_deref() {
            None | Some("binary/null") => Ok(Self::Null),
            Some("json/plain") => serde_json::from_slice(&payload.data)
                .and_then(|json| Self::parse(json, 0))
                .map_err(|error| format!("not JSON: {error}")),
            Some(other) => Err(unreadable(other)),
        }
    }

    fn parse(json: &RawValue, depth: usize) -> serde_json::Result<Self> {
        if depth == TOO_DEEP {
            return Err(de::Error::custom("recursion limit exceeded"));
        }
        let json = json.get();
        Ok(match json.as_bytes().first() {
            Some(b'n') => Self::Null,
            Some(b't') => Self::Bool(true),
            Some(b'f') => Self::Bool(false),
            Some(b'"') => Self::Text(serde_json::from_str(json)?),
            Some(b'[') => {
                let items: Vec<&RawValue> = serde_json::from_str(json)?;
                let items = items.into_iter().map(|item| Self::parse(item, depth + 1));
                Self::List(items.collect::<Result<_, _>>()?)
            }
            Some(b'{') => {
                let fields: BTreeMap<String, &RawValue> = serde_json::from_str(json)?;
                let fields = fields
                    .into_iter()
                    .map(|(key, value)| Ok((key, Self::parse(value, depth + 1)?)));
                Self::Object(fields.collect::<serde_json::Result<_>>()?)
            }
            _ => Self::Number(json.to_owned()),
        })
    }

    /// Whether a field of this name is `null` anywhere.
    fn has_null(&self, field: &str) -> bool {
        match self {
            Self::List(items) => items.iter().any(|item| item.has_null(field)),
            Self::Object(fields) => {
                fields.get(field) == Some(&Self::Null)
                    || fields.values().any(|value| value.has_null(field))
            }
            _ => false,
        }
    }

    fn unexpected(&self) -> Unexpected<'_> {
        match self {
            Self::Missing | Self::Null => Unexpected::Unit,
            Self::Bool(value) => Unexpected::Bool(*value),
            Self::Number(text) => Unexpected::Other(text),
            Self::Text(text) => Unexpected::Str(text),
            Self::List(_) => Unexpected::Seq,
            Self::Object(_) => Unexpected::Map,
        }
    }
}

/// Decodes a value, or says why it does not decode, and where.
pub(crate) fn decode<T: DeserializeOwned + 'static>(node: &Node) -> Result<T, String> {
    // Other SDKs ignore a value where none is taken, whatever it is.
    let nothing = TypeId::of::<T>() == TypeId::of::<()>();
    let node = if nothing { &Node::Null } else { node };
    // A field that is `null` is left out, and one that is required is then missing. But a list may be
    // required and `null`: that is how Go writes an empty one. So what is missing is tried as `null`.
    let mut kept = Vec::new();
    let mut missing = None;
    loop {
        let reader = Reader { node, kept: &kept };
        let error = match serde_path_to_error::deserialize(reader) {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let reason = located(error.path(), error.inner());
        match (error.into_inner().cause, missing.take()) {
            (Cause::Missing(field), _) if !kept.contains(&field) && node.has_null(field) => {
                kept.push(field);
                missing = Some(reason);
            }
            (Cause::Null, Some(missing)) => return Err(missing),
            _ => return Err(reason),
        }
    }
}

/// The error, and the path to where it is.
fn located(path: &Path, error: &Error) -> String {
    match path.to_string().as_str() {
        "." => shorten(error),
        path => shorten(format_args!("`{path}`: {error}")),
    }
}

/// Why a value does not decode.
#[derive(Debug)]
struct Error {
    message: String,
    cause: Cause,
}

#[derive(Debug)]
enum Cause {
    /// A required field is missing.
    Missing(&'static str),
    /// There is `null`, and no type that takes it.
    Null,
    Other,
}

impl de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self {
            message: message.to_string(),
            cause: Cause::Other,
        }
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        match found {
            Unexpected::Unit => Self {
                message: format!("invalid type: null, expected {expected}"),
                cause: Cause::Null,
            },
            found => Self::custom(format_args!("invalid type: {found}, expected {expected}")),
        }
    }

    fn missing_field(field: &'static str) -> Self {
        Self {
            message: format!("missing field `{field}`"),
            cause: Cause::Missing(field),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// Reads a value of any type from a node.
#[derive(Clone, Copy)]
struct Reader<'a> {
    node: &'a Node,
    /// Fields of structs that are not left out, even if they are `null`.
    kept: &'a [&'static str],
}

impl<'a> Reader<'a> {
    fn of(self, node: &'a Node) -> Self {
        Self { node, ..self }
    }

    fn list<'de, V: Visitor<'de>>(self, items: &[Node], visitor: V) -> Result<V::Value, Error> {
        let mut items = SeqDeserializer::new(items.iter().map(|item| self.of(item)));
        let value = visitor.visit_seq(&mut items)?;
        items.end()?;
        Ok(value)
    }

    fn object<'de, V: Visitor<'de>>(
        self,
        fields: impl Iterator<Item = (&'a String, &'a Node)>,
        visitor: V,
    ) -> Result<V::Value, Error> {
        let fields = fields.map(|(key, value)| (Key(key), self.of(value)));
        let mut fields = MapDeserializer::new(fields);
        let value = visitor.visit_map(&mut fields)?;
        fields.end()?;
        Ok(value)
    }
}

impl IntoDeserializer<'_, Error> for Reader<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.node {
            Node::Missing => Err(de::Error::custom("the argument is missing")),
            Node::Null => visitor.visit_unit(),
            Node::Bool(value) => visitor.visit_bool(*value),
            Node::Number(text) => number(text, visitor),
            Node::Text(text) => visitor.visit_str(text),
            Node::List(items) => self.list(items, visitor),
            Node::Object(fields) => self.object(fields.iter(), visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.node {
            Node::Missing | Node::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.node {
            Node::Null => self.list(&[], visitor),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.node {
            Node::Object(fields) => {
                let given = |(key, value): &(&String, &Node)| {
                    **value != Node::Null || self.kept.contains(&key.as_str())
                };
                self.object(fields.iter().filter(given), visitor)
            }
            // Serde would take its items for the fields, by position.
            Node::List(_) => Err(de::Error::invalid_type(Unexpected::Seq, &"an object")),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.node {
            Node::Text(variant) => visitor.visit_enum(StrDeserializer::new(variant)),
            Node::Object(fields) if fields.len() == 1 => match fields.iter().next() {
                Some((variant, content)) => visitor.visit_enum(Variant {
                    variant,
                    content: self.of(content),
                }),
                None => self.deserialize_any(visitor),
            },
            Node::Missing => self.deserialize_any(visitor),
            other => Err(de::Error::invalid_type(
                other.unexpected(),
                &"a string, or an object with a single key",
            )),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let Node::Number(text) = self.node else {
            return self.deserialize_any(visitor);
        };
        match text.parse() {
            // A double is what the type asks for, so this is no loss.
            Ok(value) if f64::is_finite(value) => visitor.visit_f64(value),
            _ => Err(de::Error::custom(format_args!("{text} is out of range"))),
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_f64(visitor)
    }

    // A field that nobody reads may have any number.
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 char str string bytes byte_buf unit unit_struct
        tuple tuple_struct map identifier
    }
}

/// A number, unless a double would be another one.
fn number<'de, V: Visitor<'de>>(text: &str, visitor: V) -> Result<V::Value, Error> {
    if let Ok(value) = text.parse() {
        return visitor.visit_u64(value);
    }
    if let Ok(value) = text.parse() {
        return visitor.visit_i64(value);
    }
    match text.parse::<f64>() {
        Ok(value) if digits(text).is_some() && digits(text) == digits(&format!("{value:e}")) => {
            visitor.visit_f64(value)
        }
        _ => Err(de::Error::custom(format_args!(
            "{} has more digits than a double holds: send it as a string",
            shorten(text)
        ))),
    }
}

/// The digits of a number from the first to the last that is not 0, and the power of ten of the last;
/// without its sign.
fn digits(number: &str) -> Option<(String, i64)> {
    let number = number.trim_start_matches('-');
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let significant = all.trim_start_matches('0').trim_end_matches('0');
    if significant.is_empty() {
        return Some((String::new(), 0));
    }
    let zeros = all.len() - all.trim_end_matches('0').len();
    let exponent = exponent.parse::<i32>().ok()?;
    let power = i64::from(exponent) - fraction.len() as i64 + zeros as i64;
    Some((significant.to_owned(), power))
}

/// The key of an object; for a map also one that is a number.
struct Key<'a>(&'a str);

impl IntoDeserializer<'_, Error> for Key<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

macro_rules! numbers_as_keys {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match serde_json::from_str::<serde_json::Number>(self.0) {
                Ok(_) => number(self.0, visitor),
                Err(_) => visitor.visit_str(self.0),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Key<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_str(self.0)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_enum(StrDeserializer::new(self.0))
    }

    numbers_as_keys! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
    }

    forward_to_deserialize_any! {
        bool i128 u128 f32 f64 char str string bytes byte_buf option unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

/// A variant of an enum that has content.
struct Variant<'a> {
    variant: &'a str,
    content: Reader<'a>,
}

impl<'de, 'a> EnumAccess<'de> for Variant<'a> {
    type Error = Error;
    type Variant = Reader<'a>;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Reader<'a>), Error> {
        let variant = seed.deserialize(StrDeserializer::new(self.variant))?;
        Ok((variant, self.content))
    }
}

impl<'de> VariantAccess<'de> for Reader<'_> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        Deserialize::deserialize(self)
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_any(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_struct("", fields, visitor)
    }
}

/// A node for the SDK, which decodes after the converter has returned. Its errors have the path, so it
/// has to keep track.
pub(crate) struct Owned(pub(crate) Node);

impl Owned {
    fn decode<T>(
        self,
        decode: impl FnOnce(serde_path_to_error::Deserializer<'_, '_, Reader<'_>>) -> Result<T, Error>,
    ) -> Result<T, erased_serde::Error> {
        let mut track = Track::new();
        let reader = Reader {
            node: &self.0,
            kept: &[],
        };
        let decoded = decode(serde_path_to_error::Deserializer::new(reader, &mut track));
        decoded.map_err(|error| de::Error::custom(located(&track.path(), &error)))
    }
}

// JSON says by itself what it is, so `any` does for all but what `Reader` tells apart.
impl Deserializer<'static> for Owned {
    type Error = erased_serde::Error;

    fn deserialize_any<V: Visitor<'static>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        self.decode(|json| json.deserialize_any(visitor))
    }

    fn deserialize_option<V: Visitor<'static>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        self.decode(|json| json.deserialize_option(visitor))
    }

    fn deserialize_seq<V: Visitor<'static>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        self.decode(|json| json.deserialize_seq(visitor))
    }

    fn deserialize_f64<V: Visitor<'static>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        self.decode(|json| json.deserialize_f64(visitor))
    }

    fn deserialize_f32<V: Visitor<'static>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        self.decode(|json| json.deserialize_f32(visitor))
    }

    fn deserialize_newtype_struct<V: Visitor<'static>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.decode(|json| json.deserialize_newtype_struct(name, visitor))
    }

    fn deserialize_struct<V: Visitor<'static>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.decode(|json| json.deserialize_struct(name, fields, visitor))
    }

    fn deserialize_enum<V: Visitor<'static>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.decode(|json| json.deserialize_enum(name, variants, visitor))
    }

    // Other SDKs ignore a result where none is expected.
    fn deserialize_unit<V: Visitor<'static>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        <V: Visitor<'static>>
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 char str string bytes byte_buf unit_struct
        tuple tuple_struct map identifier ignored_any
    }
}
