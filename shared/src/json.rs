//! JSON as clients and workers in other languages write it: [`Json`], for a payload of theirs.

use crate::{
    input::shorten,
    json_reader::{Node, Owned, decode},
    size_limit::check_arguments,
    text::printable,
};
use serde::{Serialize, de::DeserializeOwned};
use std::any::TypeId;
use temporalio_common::{
    data_converters::{
        ErasedSerdePayloadConverter, GenericPayloadConverter, PayloadConversionError,
        PayloadConverter, SerializationContext, SerializationContextData, TemporalDeserializable,
        TemporalSerializable,
    },
    protos::temporal::api::common::v1::Payload,
};

/// The argument or the result of an activity, if code in another language may send it.
///
/// The SDK decodes a plain `T`, and that is enough between Rust programs. It has three gaps that a
/// worker in another language meets, and `Json` closes them:
///
/// - Go and Java send no payload where there is no value. The SDK does not decode that as `None`, so
///   the workflow task fails forever. `Json` reads an absent payload as `null`, and `null` as `()`,
///   `None` or an empty list.
/// - The SDK refuses more arguments than the activity takes. Other SDKs ignore them, and so does
///   `Json`.
/// - The SDK reads a number as a double and loses digits silently, and takes a list for a struct.
///   `Json` refuses both. It leaves out fields that are `null`, as an `Option` and
///   `#[serde(default)]` expect.
///
/// If decoding fails, the SDK retries: an activity is attempted again, and a workflow that awaits a
/// result fails its workflow task. So nothing is lost when a new worker sends what an old worker
/// cannot read. The error names the field, or the encoding.
///
/// The JSON on the wire is that of `T`.
///
/// ```
/// use shared::Json;
/// use temporalio_macros::activities;
/// use temporalio_sdk::activities::{ActivityContext, ActivityError};
///
/// pub struct Prices;
///
/// #[activities]
/// impl Prices {
///     /// A worker in Go may run this activity, and return a nil pointer.
///     #[activity(name = "get_price")]
///     pub async fn get_price(
///         _ctx: ActivityContext,
///         item: String,
///     ) -> Result<Json<Option<u32>>, ActivityError> {
///         Ok(Json((item == "apple").then_some(599)))
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Json<T>(pub T);

impl<T> From<T> for Json<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

// Not serde's `Serialize`: a type that is serde's gets the SDK's own decoding.
impl<T: Serialize + 'static> TemporalSerializable for Json<T> {
    fn as_serde(&self) -> Result<&dyn erased_serde::Serialize, PayloadConversionError> {
        Ok(&self.0)
    }

    fn to_payload(
        &self,
        context: &SerializationContext<'_>,
    ) -> Result<Payload, PayloadConversionError> {
        context.converter.to_payload(context, &self.0)
    }

    fn to_payloads(
        &self,
        context: &SerializationContext<'_>,
    ) -> Result<Vec<Payload>, PayloadConversionError> {
        let payloads = context.converter.to_payloads(context, &self.0)?;
        check_arguments(&payloads)?;
        Ok(payloads)
    }
}

impl<T: DeserializeOwned + 'static> TemporalDeserializable for Json<T> {
    fn from_serde(
        converter: &dyn ErasedSerdePayloadConverter,
        context: &SerializationContext<'_>,
        payload: Payload,
    ) -> Result<Self, PayloadConversionError> {
        T::from_serde(converter, context, payload).map(Self)
    }

    fn from_payload(
        context: &SerializationContext<'_>,
        payload: Payload,
    ) -> Result<Self, PayloadConversionError> {
        Self::from_payloads(context, vec![payload])
    }

    fn from_payloads(
        context: &SerializationContext<'_>,
        payloads: Vec<Payload>,
    ) -> Result<Self, PayloadConversionError> {
        let payload = payloads.into_iter().next().unwrap_or_default();
        decode_payload(context, payload)
            .map(Self)
            .map_err(encoding_error)
    }
}

/// A payload converter that reads JSON as [`Json`] does, for a client that decodes many types.
///
/// It is not for a worker. The SDK has no way to combine it with its own converter, which alone knows
/// how many arguments there are, and which types such as `RawValue` and `MultiArgs2` need.
#[derive(Clone, Copy, Debug, Default)]
pub struct JsonConverter;

impl ErasedSerdePayloadConverter for JsonConverter {
    fn to_payload(
        &self,
        context: &SerializationContextData,
        value: &dyn erased_serde::Serialize,
    ) -> Result<Payload, PayloadConversionError> {
        match PayloadConverter::serde_json() {
            PayloadConverter::Serde(json) => json.to_payload(context, value),
            _ => Err(PayloadConversionError::WrongEncoding),
        }
    }

    fn from_payload(
        &self,
        _context: &SerializationContextData,
        payload: Payload,
    ) -> Result<Box<dyn erased_serde::Deserializer<'static>>, PayloadConversionError> {
        let node = Node::read(&payload).map_err(encoding_error)?;
        Ok(Box::new(<dyn erased_serde::Deserializer>::erase(Owned(
            node,
        ))))
    }
}

pub(crate) fn encoding_error(reason: String) -> PayloadConversionError {
    PayloadConversionError::EncodingError(reason.into())
}

/// Decodes a payload, or says why it does not decode.
pub(crate) fn decode_payload<T: DeserializeOwned + 'static>(
    context: &SerializationContext<'_>,
    payload: Payload,
) -> Result<T, String> {
    match Node::read(&payload) {
        Ok(node) => decode(&node),
        Err(_) if TypeId::of::<T>() == TypeId::of::<()>() => decode(&Node::Null),
        Err(reason) if is_json(&payload) => Err(reason),
        // Such as bytes, of which the converter makes a `Vec<u8>`.
        Err(reason) => match context.converter.from_payload(context, payload) {
            Ok(value) => Ok(value),
            Err(PayloadConversionError::EncodingError(error)) => Err(shorten(error)),
            Err(_) => Err(reason),
        },
    }
}

/// Decodes an argument that was not sent, or says that it is missing.
pub(crate) fn decode_missing<T: DeserializeOwned + 'static>() -> Result<T, String> {
    decode(&Node::Missing)
}

/// Says that a payload has this encoding, and what to do about it.
pub(crate) fn unreadable(encoding: &str) -> String {
    let advice = match encoding {
        "binary/encrypted" => "it is encrypted, so start this program with the key",
        "binary/plain" => "send JSON instead of bytes",
        "binary/protobuf" | "json/protobuf" => "send plain JSON instead of a protobuf message",
        _ => "send json/plain, or give this program the codec of the sender",
    };
    format!(
        "the payload's encoding is {}, which cannot be read here: {advice}",
        shorten(printable(encoding))
    )
}

/// The payload's encoding, or nothing if the payload is absent: the SDK makes one without any
/// metadata where other SDKs have sent none.
pub(crate) fn encoding(payload: &Payload) -> Option<String> {
    match payload.metadata.get("encoding") {
        Some(encoding) => Some(String::from_utf8_lossy(encoding).into_owned()),
        None if payload.data.is_empty() => None,
        None => Some("unknown".to_owned()),
    }
}

fn is_json(payload: &Payload) -> bool {
    encoding(payload).as_deref() == Some("json/plain")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use serde_json::{Value, json};
    use std::{
        collections::{BTreeMap, HashMap},
        fmt::Debug,
        sync::Arc,
    };

    #[derive(Debug, Deserialize, PartialEq, Serialize)]
    struct Order {
        items: Vec<Item>,
        #[serde(default)]
        hold: bool,
        note: Option<String>,
    }

    #[derive(Debug, Deserialize, PartialEq, Serialize)]
    struct Item {
        amount: u32,
    }

    #[derive(Debug, Deserialize, PartialEq, Serialize)]
    struct Newtype(u8);

    #[derive(Debug, Deserialize, PartialEq, Serialize)]
    enum Choice {
        Unit,
        Newtype(Newtype),
        Tuple(u8, char),
        Struct { field: Option<Newtype> },
    }

    fn payload(encoding: &str, data: &str) -> Payload {
        Payload {
            metadata: HashMap::from([("encoding".to_owned(), encoding.as_bytes().to_vec())]),
            data: data.as_bytes().to_vec(),
            ..Default::default()
        }
    }

    fn json_payload(data: &str) -> Payload {
        payload("json/plain", data)
    }

    /// By the SDK's own payload converter, as in a worker, and by ours, as in a client.
    fn both<T>(payload: &Payload) -> [Result<T, String>; 2]
    where
        T: DeserializeOwned + 'static,
    {
        let own = PayloadConverter::Serde(Arc::new(JsonConverter));
        [PayloadConverter::default(), own].map(|converter| {
            let context = SerializationContext::new(&SerializationContextData::None, &converter);
            let decoded = converter.from_payload(&context, payload.clone());
            decoded.map(|Json(value)| value).map_err(|e| e.to_string())
        })
    }

    fn reads<T>(payload: &Payload, expected: T)
    where
        T: Debug + DeserializeOwned + PartialEq + 'static,
    {
        for decoded in both::<T>(payload) {
            assert_eq!(decoded.as_ref(), Ok(&expected), "{payload:?}");
        }
    }

    fn refuses<T: Debug + DeserializeOwned + 'static>(json: &str, reason: &str) {
        for decoded in both::<T>(&json_payload(json)) {
            assert_eq!(
                decoded.err(),
                Some(format!("Encoding error: {reason}")),
                "{json}"
            );
        }
    }

    /// Whatever serde can tell apart arrives as it was sent.
    #[test]
    fn carries_all_shapes() -> anyhow::Result<()> {
        fn carries<T>(value: T) -> anyhow::Result<()>
        where
            T: Debug + DeserializeOwned + PartialEq + Serialize + 'static,
        {
            reads(&json_payload(&serde_json::to_string(&value)?), value);
            Ok(())
        }
        carries(None::<u8>)?;
        carries(Some(Newtype(1)))?;
        carries((1, "two \u{1f980} \"".to_owned(), 3.5, u64::MAX, i64::MIN))?;
        carries(vec![
            Choice::Unit,
            Choice::Newtype(Newtype(0)),
            Choice::Tuple(1, 'a'),
            Choice::Struct { field: None },
            Choice::Struct {
                field: Some(Newtype(2)),
            },
        ])?;
        carries(BTreeMap::from([("key".to_owned(), vec![true])]))?;
        carries(BTreeMap::from([(7_u32, Choice::Unit)]))?;
        carries(json!({"list": [null, 1.5, -1, "a"], "object": {"null": null}}))
    }

    /// An absent payload, as Go and Java send it, and both ways to write `null` are the same: no value,
    /// or Go's empty list. A string or a struct is not absent.
    #[test]
    fn absent_is_null() {
        let absent = [
            Payload::default(),
            payload("binary/null", ""),
            json_payload("null"),
        ];
        for payload in &absent {
            reads(payload, ());
            reads(payload, None::<String>);
            reads(payload, Vec::<Item>::new());
            reads(payload, Value::Null);
            for error in both::<Order>(payload) {
                let error = error.err().unwrap_or_default();
                assert!(error.contains("null, expected struct Order"), "{error}");
            }
        }
    }

    /// A field that is `null` is left out, and a list that is `null` is empty, as Go writes it. A
    /// required field is missing then. Where `null` is a value, it stays.
    #[test]
    fn null_is_left_out() -> anyhow::Result<()> {
        let order = |items| Order {
            items,
            hold: false,
            note: None,
        };
        let json = r#"{"items":[{"amount":1}],"hold":null,"note":null}"#;
        reads(&json_payload(json), order(vec![Item { amount: 1 }]));
        refuses::<Order>(
            r#"{"items":[{"amount":null}]}"#,
            "`items[0]`: missing field `amount`",
        );
        let map = json_payload(r#"{"a":null,"b":1}"#);
        reads(&map, json!({"a": null, "b": 1}));
        let values = [("a".to_owned(), None), ("b".to_owned(), Some(1))];
        reads(&map, HashMap::from(values));

        // A converter cannot try again, so only the type itself reads a required list.
        let [list, _] = both(&json_payload(r#"{"items":null,"hold":null}"#));
        assert_eq!(list, Ok(order(vec![])));
        let [nothing, _] = both::<Order>(&json_payload(r#"{"hold":null}"#));
        assert!(nothing.is_err_and(|error| error.ends_with("missing field `items`")));
        Ok(())
    }

    /// An object is no list of its fields, at any level, nor is the content of a variant.
    #[test]
    fn refuses_a_list_for_an_object() {
        let reason = "invalid type: sequence, expected an object";
        refuses::<Order>("[[],false,null]", reason);
        refuses::<Order>(r#"{"items":[[1]]}"#, &format!("`items[0]`: {reason}"));
        refuses::<Choice>(r#"{"Struct":[null]}"#, &format!("`Struct`: {reason}"));
        reads(&json_payload(r#"[1,"a"]"#), (1, 'a'));
    }

    /// A number is read with all its digits, or refused. A double takes what a double can take.
    #[test]
    fn loses_no_digits() {
        for (number, expected) in [
            ("12.50", json!(12.5)),
            ("1E+3", json!(1000.0)),
            ("0.1", json!(0.1)),
            ("-0.000e7", json!(-0.0)),
            ("1234567890.12345", json!(1234567890.12345)),
            ("18446744073709551615", json!(u64::MAX)),
            ("100000000000000000000", json!(1e20)),
        ] {
            reads(&json_payload(number), expected);
        }
        for number in [
            "12345678901234567.89",
            "36893488147419103233",
            "-9223372036854775809",
            "0.10000000000000000001",
            "1e-400",
            "1e400",
            "1e99999999999",
        ] {
            let reason =
                format!("{number} has more digits than a double holds: send it as a string");
            let in_list = format!("`[0]`: {reason}");
            refuses::<Vec<Value>>(&format!("[{number}]"), &in_list);
            refuses::<Vec<u64>>(&format!("[{number}]"), &in_list);
            // Nobody reads it, so nothing is lost.
            let unknown = format!(r#"{{"amount":1,"unknown":{number}}}"#);
            reads(&json_payload(&unknown), Item { amount: 1 });
        }
        reads(&json_payload("12345678901234567.89"), 12345678901234568.0);
        reads(&json_payload("0.30000000000000004441"), 0.1 + 0.2);
        refuses::<f64>("1e400", "1e400 is out of range");
    }

    /// The path leads through lists, maps, options and enums; at the top there is none.
    #[test]
    fn names_the_path() {
        refuses::<BTreeMap<String, Vec<Choice>>>(
            r#"{"key":["Unit",{"Struct":{"field":-1}}]}"#,
            "`key[1].Struct.field`: invalid value: integer `-1`, expected u8",
        );
        refuses::<u8>(r#""one""#, "invalid type: string \"one\", expected u8");
        refuses::<Choice>(
            r#""Other""#,
            "unknown variant `Other`, expected one of `Unit`, `Newtype`, `Tuple`, `Struct`",
        );
    }

    /// An encoding that nobody here reads is named. Bytes keep their own.
    #[test]
    fn names_the_encoding() {
        let [worker, client] = both::<String>(&payload("binary/encrypted", "secret"));
        let reason = "Encoding error: the payload's encoding is binary/encrypted, which cannot be \
                      read here: it is encrypted, so start this program with the key";
        assert_eq!(
            (worker.err(), client.err()),
            (Some(reason.into()), Some(reason.into()))
        );
        let [bytes, _] = both(&payload("binary/plain", "abc"));
        assert_eq!(bytes, Ok(b"abc".to_vec()));
    }

    /// A nested document takes about as long to read as a flat one.
    #[test]
    fn depth_has_a_limit() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(
            both::<Value>(&json_payload(&nested(127)))
                .iter()
                .all(Result::is_ok)
        );
        for decoded in both::<Value>(&json_payload(&nested(129))) {
            assert!(decoded.is_err_and(|error| error.contains("recursion limit")));
        }
    }
}
