//! A payload converter: JSON as ever, but errors name the path. This file needs none of the others,
//! so for the converter alone, copy it.

use erased_serde::Error;
use serde::{
    Deserializer,
    de::{Error as _, Visitor},
    forward_to_deserialize_any,
};
use serde_path_to_error::Track;
use std::sync::Arc;
use temporalio_common::{
    data_converters::{
        DataConverter, DefaultFailureConverter, DefaultPayloadCodec, ErasedSerdePayloadConverter,
        PayloadConversionError, PayloadConverter, SerializationContextData,
    },
    protos::temporal::api::common::v1::Payload,
};

/// For a client, so that it is told where in a result the wrong value is. Not for a worker: it
/// would take the place of the SDK's, which alone knows how many arguments there are.
pub fn data_converter() -> DataConverter {
    let payload_converter = match PayloadConverter::serde_json() {
        PayloadConverter::Serde(json) => PayloadConverter::Serde(Arc::new(JsonWithPaths(json))),
        other => other,
    };
    DataConverter::new(
        payload_converter,
        DefaultFailureConverter::default(),
        DefaultPayloadCodec,
    )
}

/// The SDK's own JSON, which has neither paths nor a public name.
struct JsonWithPaths(Arc<dyn ErasedSerdePayloadConverter>);

impl ErasedSerdePayloadConverter for JsonWithPaths {
    fn to_payload(
        &self,
        context: &SerializationContextData,
        value: &dyn erased_serde::Serialize,
    ) -> Result<Payload, PayloadConversionError> {
        self.0.to_payload(context, value)
    }

    fn from_payload(
        &self,
        context: &SerializationContextData,
        payload: Payload,
    ) -> Result<Box<dyn erased_serde::Deserializer<'static>>, PayloadConversionError> {
        let json = WithPaths(self.0.from_payload(context, payload)?);
        Ok(Box::new(<dyn erased_serde::Deserializer>::erase(json)))
    }
}

type Json = Box<dyn erased_serde::Deserializer<'static>>;

/// The SDK decodes after the converter has returned, so what it returns has to keep the path.
struct WithPaths(Json);

impl WithPaths {
    fn decode<T>(
        self,
        decode: impl FnOnce(serde_path_to_error::Deserializer<'_, '_, Json>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut track = Track::new();
        let json = serde_path_to_error::Deserializer::new(self.0, &mut track);
        decode(json).map_err(|error| match track.path().to_string().as_str() {
            "." => error,
            path => Error::custom(format_args!("`{path}`: {error}")),
        })
    }
}

// JSON says by itself what it is, so `any` does for all but what serde's visitors tell apart.
impl Deserializer<'static> for WithPaths {
    type Error = Error;

    fn deserialize_any<V: Visitor<'static>>(self, visitor: V) -> Result<V::Value, Error> {
        self.decode(|json| json.deserialize_any(visitor))
    }

    fn deserialize_option<V: Visitor<'static>>(self, visitor: V) -> Result<V::Value, Error> {
        self.decode(|json| json.deserialize_option(visitor))
    }

    fn deserialize_newtype_struct<V: Visitor<'static>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.decode(|json| json.deserialize_newtype_struct(name, visitor))
    }

    fn deserialize_enum<V: Visitor<'static>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.decode(|json| json.deserialize_enum(name, variants, visitor))
    }

    forward_to_deserialize_any! {
        <V: Visitor<'static>>
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::{Deserialize, Serialize};
    use std::{collections::BTreeMap, fmt::Debug};
    use temporalio_common::data_converters::{
        GenericPayloadConverter, SerializationContext, TemporalDeserializable, TemporalSerializable,
    };

    #[derive(Debug, Deserialize, PartialEq, Serialize)]
    struct Newtype(u8);

    #[derive(Debug, Deserialize, PartialEq, Serialize)]
    enum Choice {
        Unit,
        Tuple(u8, char),
        Struct { field: Option<Newtype> },
    }

    fn with<R>(use_it: impl FnOnce(&PayloadConverter, &SerializationContext<'_>) -> R) -> R {
        let converter = data_converter();
        let converter = converter.payload_converter();
        let context = SerializationContext::new(&SerializationContextData::None, converter);
        use_it(converter, &context)
    }

    fn round_trip<T>(value: T) -> anyhow::Result<()>
    where
        T: Debug + PartialEq + TemporalDeserializable + TemporalSerializable + 'static,
    {
        with(|converter, context| {
            let payload = converter.to_payload(context, &value)?;
            assert_eq!(converter.from_payload::<T>(context, payload)?, value);
            Ok(())
        })
    }

    /// Whatever serde can tell apart arrives as it was sent.
    #[test]
    fn carries_all_shapes() -> anyhow::Result<()> {
        round_trip(())?;
        round_trip(None::<u8>)?;
        round_trip(Some(Newtype(1)))?;
        round_trip(b"bytes".to_vec())?;
        round_trip((1, "two".to_owned(), 3.5, u64::MAX))?;
        round_trip(vec![
            Choice::Unit,
            Choice::Tuple(1, 'a'),
            Choice::Struct { field: None },
            Choice::Struct {
                field: Some(Newtype(2)),
            },
        ])?;
        round_trip(BTreeMap::from([("key".to_owned(), vec![true])]))
    }

    /// The path leads through lists, maps, options and enums; at the top there is none.
    #[test]
    fn names_the_path() -> anyhow::Result<()> {
        fn error<T: TemporalDeserializable + 'static>(json: serde_json::Value) -> String {
            with(|converter, context| {
                let error = match converter.to_payload(context, &json) {
                    Ok(payload) => converter.from_payload::<T>(context, payload).err(),
                    Err(error) => Some(error),
                };
                error.map(|error| error.to_string()).unwrap_or_default()
            })
        }
        assert_eq!(
            error::<BTreeMap<String, Vec<Choice>>>(
                serde_json::json!({"key": ["Unit", {"Struct": {"field": -1}}]})
            ),
            "Encoding error: `key[1].Struct.field`: invalid value: integer `-1`, expected u8"
        );
        assert_eq!(
            error::<u8>(serde_json::json!("one")),
            "Encoding error: invalid type: string \"one\", expected u8"
        );
        Ok(())
    }
}
