//! [`Input`] and [`Inputs`]: arguments that arrive even when they do not decode.

use crate::size_limit::{MAX_INPUT, check_arguments};
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned, de::Error as _};
use std::slice;
use temporalio_common::{
    data_converters::{
        ErasedSerdePayloadConverter, GenericPayloadConverter, PayloadConversionError,
        SerializationContext, TemporalDeserializable, TemporalSerializable,
    },
    protos::temporal::api::common::v1::Payload,
};
use temporalio_sdk::ApplicationFailure;

/// Type of the application failure that [`Input::valid`] returns, for `non_retryable_error_types`
/// and for clients that tell failures apart.
pub const BAD_INPUT: &str = "BadInput";

/// The message quotes the offending value; a megabyte of it helps nobody.
const MAX_MESSAGE_CHARS: usize = 500;

/// A list of at most `N` items, for `#[serde(deserialize_with = "at_most::<_, _, N>")]`.
///
/// A workflow that does something for each of its items needs such a limit: the server terminates it
/// when its history has 51,200 events, after minutes of work that is lost.
///
/// # Errors
/// If it has more.
pub fn at_most<'de, D, T, const N: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let items = Vec::deserialize(deserializer)?;
    if items.len() > N {
        return Err(D::Error::custom(format!(
            "{} items, and at most {N} fit into one workflow's history",
            items.len()
        )));
    }
    Ok(items)
}

/// The argument of a workflow, a signal or an activity: the value, or why it did not decode.
///
/// The SDK decodes arguments before our code runs. If that fails in a workflow or a signal, it
/// fails the workflow *task*, which the server retries for ever: the workflow hangs, and nobody
/// is told. In an activity it is a retryable failure, for ever again. `Input` never fails to
/// decode. It carries the error to the first line of our own code, where [`Input::valid`] turns
/// it into a failure that ends the workflow at once and names the field.
///
/// It also refuses arguments of more than [`MAX_INPUT`](crate::MAX_INPUT) bytes in total: the server
/// accepts more, but what a workflow builds from them could be too large for the server. A client
/// and a workflow refuse to send such arguments, and a worker refuses to decode them.
///
/// The JSON on the wire is that of `T`, and starting stays type-safe: a client passes `value.into()`.
///
/// ```
/// use shared::Input;
/// use temporalio_macros::{workflow, workflow_methods};
/// use temporalio_sdk::{WorkflowContext, WorkflowResult};
///
/// #[workflow]
/// #[derive(Default)]
/// pub struct EchoWorkflow;
///
/// #[workflow_methods]
/// impl EchoWorkflow {
///     #[run]
///     pub async fn run(_ctx: &mut WorkflowContext<Self>, text: Input<String>) -> WorkflowResult<String> {
///         let text = text.valid()?;
///         Ok(text)
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input<T>(Result<T, String>);

impl<T> Input<T> {
    /// The value.
    ///
    /// # Errors
    /// A non-retryable [`ApplicationFailure`] of type [`BAD_INPUT`] whose message names the field.
    /// `?` works on it in workflows and in activities. In a signal handler, which has nobody to
    /// fail, match on it: the workflow goes on without the bad signal.
    #[allow(
        clippy::result_large_err,
        reason = "the SDK's own error type, by value, is what `?` takes"
    )]
    pub fn valid(self) -> Result<T, ApplicationFailure> {
        self.0.map_err(bad_input)
    }
}

impl<T> Input<T> {
    fn value(&self) -> Result<&T, PayloadConversionError> {
        self.0.as_ref().map_err(|reason| encoding_error(reason))
    }
}

impl<T> From<T> for Input<T> {
    fn from(value: T) -> Self {
        Self(Ok(value))
    }
}

impl From<&str> for Input<String> {
    fn from(value: &str) -> Self {
        Self(Ok(value.to_owned()))
    }
}

// Not serde's `Serialize`: a type that is serde's gets the SDK's blanket implementations, and
// with them the decoding that fails the task.
impl<T: Serialize + 'static> TemporalSerializable for Input<T> {
    fn as_serde(&self) -> Result<&dyn erased_serde::Serialize, PayloadConversionError> {
        Ok(self.value()?)
    }

    fn to_payload(
        &self,
        context: &SerializationContext<'_>,
    ) -> Result<Payload, PayloadConversionError> {
        context.converter.to_payload(context, self.value()?)
    }

    // By way of the converter, which knows that `()` is no argument at all.
    fn to_payloads(
        &self,
        context: &SerializationContext<'_>,
    ) -> Result<Vec<Payload>, PayloadConversionError> {
        let payloads = context.converter.to_payloads(context, self.value()?)?;
        check_arguments(size(&payloads))?;
        Ok(payloads)
    }
}

impl<T: DeserializeOwned + 'static> TemporalDeserializable for Input<T> {
    fn from_serde(
        converter: &dyn ErasedSerdePayloadConverter,
        context: &SerializationContext<'_>,
        payload: Payload,
    ) -> Result<Self, PayloadConversionError> {
        if let Err(reason) = check_size(slice::from_ref(&payload)) {
            return Ok(Self(Err(reason)));
        }
        Ok(Self(match converter.from_payload(context.data, payload) {
            Ok(deserializer) => serde_path_to_error::deserialize(deserializer).map_err(reason),
            Err(error) => Err(conversion_reason(error)),
        }))
    }

    fn from_payload(
        context: &SerializationContext<'_>,
        payload: Payload,
    ) -> Result<Self, PayloadConversionError> {
        Self::from_payloads(context, vec![payload])
    }

    // The only method that sees how many arguments were sent: none is not one that is null.
    fn from_payloads(
        context: &SerializationContext<'_>,
        mut payloads: Vec<Payload>,
    ) -> Result<Self, PayloadConversionError> {
        if let Err(reason) = check_size(&payloads) {
            return Ok(Self(Err(reason)));
        }
        let takes_none = std::any::TypeId::of::<T>() == std::any::TypeId::of::<()>();
        Ok(Self(match (payloads.len(), takes_none) {
            (1, _) if is_json(&payloads[0]) => json(&payloads[0].data),
            (1, _) | (0, true) => context
                .converter
                .from_payloads::<T>(context, std::mem::take(&mut payloads))
                .map_err(conversion_reason),
            (0, false) => Err("the argument is missing".to_owned()),
            (n, true) => Err(format!("takes no argument, got {n}")),
            (n, false) => Err(format!("takes one argument, got {n}")),
        }))
    }
}

/// As [`Input`], for a workflow of which clients send one argument, or a second one too.
///
/// That is how a workflow gets options after clients are about that know nothing of them. The
/// SDK's `MultiArgs2` decodes two arguments and nothing else: one alone would hang the workflow.
///
/// A client passes `(first, None).into()`, which goes out as one argument, or
/// `(first, Some(second)).into()`. It needs the SDK's own payload converter: one that is serde's
/// alone knows of no second argument.
///
/// ```
/// use shared::Inputs;
///
/// let alone: Inputs<String, u32> = ("World".to_owned(), None).into();
/// assert_eq!(alone.valid()?, ("World".to_owned(), None));
/// # Ok::<(), temporalio_sdk::ApplicationFailure>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inputs<A, B>(Result<(A, Option<B>), String>);

impl<A, B> Inputs<A, B> {
    /// The values, the second if there is one.
    ///
    /// # Errors
    /// As [`Input::valid`]; the message says which argument it is about.
    #[allow(
        clippy::result_large_err,
        reason = "the SDK's own error type, by value, is what `?` takes"
    )]
    pub fn valid(self) -> Result<(A, Option<B>), ApplicationFailure> {
        self.0.map_err(bad_input)
    }
}

impl<A, B> From<(A, Option<B>)> for Inputs<A, B> {
    fn from(values: (A, Option<B>)) -> Self {
        Self(Ok(values))
    }
}

impl<A: Serialize + 'static, B: Serialize + 'static> TemporalSerializable for Inputs<A, B> {
    fn to_payloads(
        &self,
        context: &SerializationContext<'_>,
    ) -> Result<Vec<Payload>, PayloadConversionError> {
        let values = self.0.as_ref();
        let (first, second) = values.map_err(|reason| encoding_error(reason))?;
        let mut payloads = vec![context.converter.to_payload(context, first)?];
        // Left out rather than null: a worker of another language may take one argument alone.
        if let Some(second) = second {
            payloads.push(context.converter.to_payload(context, second)?);
        }
        check_arguments(size(&payloads))?;
        Ok(payloads)
    }
}

impl<A, B> TemporalDeserializable for Inputs<A, B>
where
    A: DeserializeOwned + 'static,
    B: DeserializeOwned + 'static,
{
    fn from_payloads(
        context: &SerializationContext<'_>,
        mut payloads: Vec<Payload>,
    ) -> Result<Self, PayloadConversionError> {
        if let Err(reason) = check_size(&payloads) {
            return Ok(Self(Err(reason)));
        }
        let second = match payloads.len() {
            1 => None,
            2 => payloads.pop(),
            n => {
                return Ok(Self(Err(format!("takes one or two arguments, got {n}"))));
            }
        };
        let first = Input::<A>::from_payloads(context, payloads)?.0;
        let second = match second {
            Some(payload) => Input::<B>::from_payload(context, payload)?.0.map(Some),
            None => Ok(None),
        };
        Ok(Self(match (first, second) {
            (Ok(first), Ok(second)) => Ok((first, second)),
            (Err(reason), _) => Err(format!("argument 1: {reason}")),
            (_, Err(reason)) => Err(format!("argument 2: {reason}")),
        }))
    }
}

fn bad_input(reason: String) -> ApplicationFailure {
    ApplicationFailure::builder(format!("bad input: {reason}"))
        .type_name(BAD_INPUT.to_owned())
        .non_retryable(true)
        .build()
}

/// Checks the arguments before they are decoded.
fn check_size(payloads: &[Payload]) -> Result<(), String> {
    match size(payloads) {
        size if size <= MAX_INPUT => Ok(()),
        size => Err(format!("{size} bytes, more than the limit of {MAX_INPUT}")),
    }
}

fn size(payloads: &[Payload]) -> usize {
    payloads.iter().map(|payload| payload.data.len()).sum()
}

fn encoding_error(reason: &str) -> PayloadConversionError {
    PayloadConversionError::EncodingError(reason.into())
}

fn is_json(payload: &Payload) -> bool {
    payload
        .metadata
        .get("encoding")
        .is_some_and(|e| e == b"json/plain")
}

/// By way of `Value`, as the SDK does: errors then tell the field and not the column.
fn json<T: DeserializeOwned>(data: &[u8]) -> Result<T, String> {
    let value: serde_json::Value =
        serde_json::from_slice(data).map_err(|error| format!("not JSON: {error}"))?;
    serde_path_to_error::deserialize(value).map_err(reason)
}

fn reason<E: std::fmt::Display>(error: serde_path_to_error::Error<E>) -> String {
    let path = error.path().to_string();
    match path.as_str() {
        "." => shorten(error.inner()),
        path => shorten(format_args!("`{path}`: {}", error.inner())),
    }
}

fn conversion_reason(error: PayloadConversionError) -> String {
    match error {
        PayloadConversionError::EncodingError(inner) => shorten(inner),
        _ => "its payload is in an encoding that does not fit the type".to_owned(),
    }
}

pub(crate) fn shorten(message: impl std::fmt::Display) -> String {
    let message = message.to_string();
    match message.char_indices().nth(MAX_MESSAGE_CHARS) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use std::collections::HashMap;
    use temporalio_common::data_converters::{PayloadConverter, SerializationContextData};

    #[derive(Debug, Deserialize, PartialEq, Serialize)]
    struct Order {
        items: Vec<Item>,
    }

    #[derive(Debug, Deserialize, PartialEq, Serialize)]
    struct Item {
        amount: u32,
    }

    fn payload(encoding: &str, data: &str) -> Payload {
        Payload {
            metadata: HashMap::from([("encoding".to_owned(), encoding.as_bytes().to_vec())]),
            data: data.as_bytes().to_vec(),
            ..Default::default()
        }
    }

    fn decode<T: DeserializeOwned + 'static>(payloads: Vec<Payload>) -> Result<T, String> {
        let converter = PayloadConverter::default();
        let context = SerializationContext::new(&SerializationContextData::None, &converter);
        match converter.from_payloads(&context, payloads) {
            Ok(Input(value)) => value,
            Err(error) => panic!("it fails to decode: {error}"),
        }
    }

    fn decode_json<T: DeserializeOwned + 'static>(data: &str) -> Result<T, String> {
        decode(vec![payload("json/plain", data)])
    }

    fn decode_inputs(arguments: &[&str]) -> Result<(String, Option<Order>), String> {
        let converter = PayloadConverter::default();
        let context = SerializationContext::new(&SerializationContextData::None, &converter);
        let payloads = arguments.iter().map(|json| payload("json/plain", json));
        match converter.from_payloads(&context, payloads.collect()) {
            Ok(Inputs(values)) => values,
            Err(error) => panic!("it fails to decode: {error}"),
        }
    }

    /// The wire carries the JSON of `T` and nothing of the wrapper.
    #[test]
    fn encodes_as_the_value_itself() -> anyhow::Result<()> {
        let converter = PayloadConverter::default();
        let context = SerializationContext::new(&SerializationContextData::None, &converter);
        let order = || Order {
            items: vec![Item { amount: 3 }],
        };
        let payloads = converter.to_payloads(&context, &Input::from(order()))?;
        let json = r#"{"items":[{"amount":3}]}"#;
        assert_eq!(payloads, [payload("json/plain", json)]);
        assert_eq!(decode(payloads), Ok(order()));
        assert_eq!(converter.to_payloads(&context, &Input::from(()))?, []);
        Ok(())
    }

    /// A wrong type, a missing field and a negative number each name the field.
    #[test]
    fn names_the_field() {
        let wrong = decode_json::<Order>(r#"{"items":[{"amount":1},{"amount":"two"}]}"#);
        assert_eq!(
            wrong.unwrap_err(),
            r#"`items[1].amount`: invalid type: string "two", expected u32"#
        );
        let missing = decode_json::<Order>(r#"{"items":[{}]}"#);
        assert_eq!(missing.unwrap_err(), "`items[0]`: missing field `amount`");
        let negative = decode_json::<Order>(r#"{"items":[{"amount":-1}]}"#);
        assert!(
            negative
                .unwrap_err()
                .starts_with("`items[0].amount`: invalid value")
        );
    }

    /// The wrong number of arguments is bad input too.
    #[test]
    fn counts_the_arguments() {
        assert_eq!(
            decode::<Order>(vec![]).unwrap_err(),
            "the argument is missing"
        );
        let one = || payload("json/plain", "1");
        assert_eq!(
            decode::<u32>(vec![one(), one()]).unwrap_err(),
            "takes one argument, got 2"
        );
        assert_eq!(
            decode::<()>(vec![one(), one()]).unwrap_err(),
            "takes no argument, got 2"
        );
        assert_eq!(
            decode::<Option<u32>>(vec![]).unwrap_err(),
            "the argument is missing"
        );
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Few(#[serde(deserialize_with = "at_most::<_, _, 3>")] Vec<u32>);

    /// A list of exactly the limit is accepted, and one item more is refused.
    #[test]
    fn limits_the_number_of_items() {
        assert_eq!(decode_json("[1,2,3]"), Ok(Few(vec![1, 2, 3])));
        assert_eq!(
            decode_json::<Few>("[1,2,3,4]").unwrap_err(),
            "4 items, and at most 3 fit into one workflow's history"
        );
    }

    /// A workflow without arguments takes none or `null`, as other SDKs send it, and nothing else.
    #[test]
    fn unit_takes_nothing() {
        assert_eq!(decode::<()>(vec![]), Ok(()));
        assert_eq!(decode::<()>(vec![payload("binary/null", "")]), Ok(()));
        assert_eq!(decode_json::<()>("null"), Ok(()));
        assert!(
            decode_json::<()>(r#""surprise""#)
                .unwrap_err()
                .contains("surprise")
        );
    }

    /// Text that is no JSON, bytes that are no UTF-8, an encoding nobody knows: reasons, not panics.
    #[test]
    fn survives_garbage() {
        assert!(
            decode_json::<String>(r#"{"items":"#)
                .unwrap_err()
                .starts_with("not JSON: EOF")
        );
        let bytes = Payload {
            data: vec![b'"', 0xff, b'"'],
            ..payload("json/plain", "")
        };
        assert!(
            decode::<String>(vec![bytes])
                .unwrap_err()
                .starts_with("not JSON: invalid unicode")
        );
        assert_eq!(
            decode::<String>(vec![payload("x/y", "1")]).unwrap_err(),
            "its payload is in an encoding that does not fit the type"
        );
        assert_eq!(
            decode::<String>(vec![Payload::default()]).unwrap_err(),
            "its payload is in an encoding that does not fit the type"
        );
        let deep = "[".repeat(100_000);
        assert!(
            decode_json::<Order>(&deep)
                .unwrap_err()
                .contains("recursion limit")
        );
    }

    /// A megabyte where a number belongs does not come back as a megabyte of error.
    #[test]
    fn shortens_what_it_quotes() {
        let message = decode_json::<u32>(&format!("\"{}\"", "ä".repeat(1 << 19))).unwrap_err();
        assert_eq!(message.chars().count(), MAX_MESSAGE_CHARS + 1);
        assert!(message.ends_with('…'));
    }

    /// Arguments are refused above the limit, with and without a converter of one's own, and before
    /// anything is decoded. A result, which the SDK encodes as one payload, has a limit of its own.
    #[test]
    fn limits_the_size() -> anyhow::Result<()> {
        let text = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
        let reason = "1572865 bytes, more than the limit of 1572864";
        assert!(decode_json::<String>(&text(MAX_INPUT)).is_ok());
        let garbage = "x".repeat(MAX_INPUT + 1);
        for too_large in [text(MAX_INPUT + 1), garbage] {
            assert_eq!(decode_json::<String>(&too_large).unwrap_err(), reason);
        }
        let half = text(MAX_INPUT / 2);
        assert!(decode_inputs(&[&half, &half]).is_err_and(|error| error.contains("argument 2")));
        let more = text(MAX_INPUT / 2 + 1);
        assert_eq!(decode_inputs(&[&half, &more]).unwrap_err(), reason);

        let converter = PayloadConverter::serde_json();
        let context = SerializationContext::new(&SerializationContextData::None, &converter);
        let too_large = payload("json/plain", &text(MAX_INPUT + 1));
        let Input(decoded) = converter.from_payload::<Input<String>>(&context, too_large)?;
        assert_eq!(decoded.unwrap_err(), reason);

        let converter = PayloadConverter::default();
        let context = SerializationContext::new(&SerializationContextData::None, &converter);
        let input = |bytes: usize| Input::from("x".repeat(bytes - 2));
        assert!(converter.to_payloads(&context, &input(MAX_INPUT)).is_ok());
        assert!(
            converter
                .to_payloads(&context, &input(MAX_INPUT + 1))
                .is_err()
        );
        assert!(
            converter
                .to_payload(&context, &input(MAX_INPUT + 1))
                .is_ok()
        );
        Ok(())
    }

    /// Bytes keep their own encoding.
    #[test]
    fn leaves_other_encodings_to_the_converter() {
        assert_eq!(
            decode::<Vec<u8>>(vec![payload("binary/plain", "abc")]),
            Ok(b"abc".to_vec())
        );
    }

    /// The second argument is sent when there is one, and nothing in its place when there is none.
    #[test]
    fn sends_one_argument_or_two() -> anyhow::Result<()> {
        let converter = PayloadConverter::default();
        let context = SerializationContext::new(&SerializationContextData::None, &converter);
        let encode = |second: Option<u32>| {
            converter.to_payloads(&context, &Inputs::from(("a".to_owned(), second)))
        };
        let first = || payload("json/plain", r#""a""#);
        assert_eq!(encode(None)?, [first()]);
        assert_eq!(encode(Some(7))?, [first(), payload("json/plain", "7")]);
        Ok(())
    }

    /// One argument or two; a bad one is told by its place and its field.
    #[test]
    fn takes_one_argument_or_two() {
        let (name, order) = (r#""a""#, r#"{"items":[{"amount":3}]}"#);
        assert_eq!(decode_inputs(&[name]), Ok(("a".to_owned(), None)));
        let items = vec![Item { amount: 3 }];
        assert_eq!(
            decode_inputs(&[name, order]),
            Ok(("a".to_owned(), Some(Order { items })))
        );
        let cases: [(&[&str], &str); 7] = [
            (&[], "takes one or two arguments, got 0"),
            (&[name, order, name], "takes one or two arguments, got 3"),
            (&["7"], "argument 1: invalid type: integer `7`"),
            (&["null"], "argument 1: invalid type: null"),
            (&["7", order], "argument 1: invalid type: integer `7`"),
            (&[name, "null"], "argument 2: invalid type: null"),
            (
                &[name, r#"{"items":[{"amount":-1}]}"#],
                "argument 2: `items[0].amount`: invalid value",
            ),
        ];
        for (arguments, reason) in cases {
            let error = decode_inputs(arguments).unwrap_err();
            assert!(error.starts_with(reason), "{error}");
        }
    }

    /// A converter of one's own that is serde's alone decodes through `from_serde`.
    #[test]
    fn works_behind_a_custom_converter() {
        let converter = PayloadConverter::serde_json();
        let context = SerializationContext::new(&SerializationContextData::None, &converter);
        let decode = |json: &str| {
            let payloads = vec![payload("json/plain", json)];
            match converter.from_payloads(&context, payloads) {
                Ok(Input(value)) => value,
                Err(error) => panic!("it fails to decode: {error}"),
            }
        };
        assert_eq!(decode(r#"{"items":[]}"#), Ok(Order { items: vec![] }));
        assert!(
            decode(r#"{"items":[{"amount":[]}]}"#)
                .unwrap_err()
                .starts_with("`items[0].amount`")
        );
    }
}
