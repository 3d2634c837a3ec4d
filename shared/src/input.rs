//! [`Input`], [`Inputs`] and [`Inputs4`]: arguments that arrive even when they do not decode.

#![deny(clippy::disallowed_macros)]
#![deny(clippy::disallowed_methods)]
#![deny(clippy::disallowed_types)]

use crate::{
    json::{decode_missing, decode_payload, encoding_error},
    size_limit::{MAX_INPUT, check_arguments},
};
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned, de::Error as _};
use std::slice;
use temporalio_common::{
    data_converters::{
        ErasedSerdePayloadConverter, GenericPayloadConverter, PayloadConversionError,
        SerializationContext, TemporalDeserializable, TemporalSerializable,
    },
    protos::temporal::api::common::v1::Payload,
};
use temporalio_sdk::{ApplicationFailure, SyncWorkflowContext, WorkflowContext, WorkflowResult};

/// Type of the application failure that reports bad input, for clients that tell failures apart.
pub const BAD_INPUT: &str = "BadInput";

/// The message quotes the offending value; a megabyte of it helps nobody.
const MAX_MESSAGE_CHARS: usize = 500;

/// A list of at most `N` items, for `#[serde(deserialize_with = "at_most::<_, _, N>")]`.
///
/// A workflow that does something for each of its items needs such a limit: the server terminates it
/// when its history has 51,200 events, after minutes of work that is lost.
///
/// # Errors
/// If the list has more items.
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

/// The argument of a workflow, a signal, an update or a query: the value, or why it did not decode.
///
/// The SDK decodes arguments before our code runs. If that fails in a workflow or a signal, it fails
/// the workflow *task*, which the server retries forever, and the client that sent the argument never
/// learns why. `Input` never fails to decode. It carries the error to our own code: [`Input::decode`]
/// fails the workflow, and the failure names the field.
///
/// It reads JSON as [`Json`](crate::Json) does, so it accepts what clients in other languages send. It
/// also refuses arguments of more than [`MAX_INPUT`](crate::MAX_INPUT) bytes in total: the server
/// accepts more, but what a workflow builds from them could be too large for the server. A client
/// and a workflow refuse to send such arguments, and a worker refuses to decode them.
///
/// Between the parts of one application, use plain types: for activities, their results and the
/// results of children. An old worker that receives what a newer version has sent then fails for now,
/// and a retry on a new worker succeeds.
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
///     pub async fn run(ctx: &mut WorkflowContext<Self>, text: Input<String>) -> WorkflowResult<String> {
///         let text = text.decode(ctx)?;
///         Ok(text)
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input<T>(Result<T, String>);

impl<T> Input<T> {
    /// Returns the value of a workflow's argument.
    ///
    /// # Errors
    /// If the argument did not decode. A client that has started the workflow learns about it: the
    /// workflow fails with a non-retryable failure of type [`BAD_INPUT`] that names the field. A child,
    /// a run that continues another one, and a run after a reset have their input from a worker. There
    /// the workflow task fails, and the next worker that can read the input goes on.
    pub fn decode<W>(self, ctx: &WorkflowContext<W>) -> WorkflowResult<T> {
        decode(self.0, ctx)
    }

    /// Returns the value of a message's argument: that of a signal, an update or a query.
    ///
    /// # Errors
    /// A non-retryable [`ApplicationFailure`] of type [`BAD_INPUT`] that names the field. Return it from
    /// an update or a query. For a signal, use [`Input::or_ignored`].
    #[allow(
        clippy::result_large_err,
        reason = "the SDK's own error type, by value, is what `?` takes"
    )]
    pub fn into_result(self) -> Result<T, ApplicationFailure> {
        self.0.map_err(bad_input)
    }

    /// Returns the value of a signal's argument, or `None` if the argument did not decode. In that case it logs a
    /// warning with the name of the signal and the reason.
    ///
    /// Nobody waits for the outcome of a signal, and the workflow must not fail because of one.
    pub fn or_ignored<W>(self, ctx: &SyncWorkflowContext<W>, signal: &str) -> Option<T> {
        match self.0 {
            Ok(value) => Some(value),
            Err(reason) => {
                if !ctx.is_replaying() {
                    let workflow_id = ctx.workflow_id();
                    tracing::warn!(workflow_id, "{signal} ignored: bad input: {reason}");
                }
                None
            }
        }
    }

    fn value(&self) -> Result<&T, PayloadConversionError> {
        self.0
            .as_ref()
            .map_err(|reason| encoding_error(reason.clone()))
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

    // Through the converter, which knows that `()` is no argument at all.
    fn to_payloads(
        &self,
        context: &SerializationContext<'_>,
    ) -> Result<Vec<Payload>, PayloadConversionError> {
        let payloads = context.converter.to_payloads(context, self.value()?)?;
        check_arguments(&payloads)?;
        Ok(payloads)
    }
}

impl<T: DeserializeOwned + 'static> TemporalDeserializable for Input<T> {
    // For a serde converter of one's own, which may read another format.
    fn from_serde(
        converter: &dyn ErasedSerdePayloadConverter,
        context: &SerializationContext<'_>,
        payload: Payload,
    ) -> Result<Self, PayloadConversionError> {
        if let Err(reason) = check_arguments_size(slice::from_ref(&payload)) {
            return Ok(Self(Err(reason)));
        }
        let value = T::from_serde(converter, context, payload);
        Ok(Self(value.map_err(|error| match error {
            PayloadConversionError::EncodingError(error) => shorten(error),
            other => other.to_string(),
        })))
    }

    fn from_payload(
        context: &SerializationContext<'_>,
        payload: Payload,
    ) -> Result<Self, PayloadConversionError> {
        Self::from_payloads(context, vec![payload])
    }

    // The only method that sees how many arguments were sent.
    fn from_payloads(
        context: &SerializationContext<'_>,
        payloads: Vec<Payload>,
    ) -> Result<Self, PayloadConversionError> {
        if let Err(reason) = check_arguments_size(&payloads) {
            return Ok(Self(Err(reason)));
        }
        // Other SDKs ignore the arguments that a workflow does not take, so clients may send more.
        Ok(Self(match payloads.into_iter().next() {
            Some(payload) => decode_payload(context, payload),
            None => decode_missing(),
        }))
    }
}

/// Defines an argument list of which clients may leave out all but the first.
macro_rules! inputs {
    ($(#[$doc:meta])* $name:ident, $($T:ident $value:ident $position:literal),+) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name<A, $($T),+>(Result<(A, $(Option<$T>),+), String>);

        impl<A, $($T),+> $name<A, $($T),+> {
            /// Returns the values, those after the first if they were sent.
            ///
            /// # Errors
            /// As [`Input::decode`]. The message says which argument it is about.
            pub fn decode<W>(
                self,
                ctx: &WorkflowContext<W>,
            ) -> WorkflowResult<(A, $(Option<$T>),+)> {
                decode(self.0, ctx)
            }
        }

        impl<A, $($T),+> From<(A, $(Option<$T>),+)> for $name<A, $($T),+> {
            fn from(values: (A, $(Option<$T>),+)) -> Self {
                Self(Ok(values))
            }
        }

        impl<A: Serialize + 'static, $($T: Serialize + 'static),+> TemporalSerializable
            for $name<A, $($T),+>
        {
            fn to_payloads(
                &self,
                context: &SerializationContext<'_>,
            ) -> Result<Vec<Payload>, PayloadConversionError> {
                let values = self.0.as_ref();
                let (first, $($value),+) =
                    values.map_err(|reason| encoding_error(reason.clone()))?;
                let mut payloads = vec![context.converter.to_payload(context, first)?];
                let mut sent = payloads.len();
                $(
                    payloads.push(context.converter.to_payload(context, $value)?);
                    if $value.is_some() {
                        sent = payloads.len();
                    }
                )+
                // Left out rather than null, except before an argument that is sent: a worker in
                // another language may take fewer arguments.
                payloads.truncate(sent);
                check_arguments(&payloads)?;
                Ok(payloads)
            }
        }

        impl<A, $($T),+> TemporalDeserializable for $name<A, $($T),+>
        where
            A: DeserializeOwned + 'static,
            $($T: DeserializeOwned + 'static),+
        {
            fn from_payloads(
                context: &SerializationContext<'_>,
                payloads: Vec<Payload>,
            ) -> Result<Self, PayloadConversionError> {
                if let Err(reason) = check_arguments_size(&payloads) {
                    return Ok(Self(Err(reason)));
                }
                let mut payloads = payloads.into_iter();
                let first = match payloads.next() {
                    Some(payload) => decode_payload(context, payload),
                    None => decode_missing(),
                };
                $(
                    let $value = match payloads.next() {
                        Some(payload) => decode_payload::<Option<$T>>(context, payload),
                        None => Ok(None),
                    };
                )+
                let at = |position: u8| move |reason| format!("argument {position}: {reason}");
                Ok(Self(first.map_err(at(1)).and_then(|first| {
                    Ok((first, $($value.map_err(at($position))?),+))
                })))
            }
        }
    };
}

inputs! {
    /// Two arguments of a workflow, of which clients may leave out the second.
    ///
    /// Prefer one struct with an `Option` field, and use this where clients already send a second argument:
    /// the SDK's `MultiArgs2` needs both, so a client that sends one would hang the workflow. `null` means
    /// left out, as it does in other SDKs.
    ///
    /// A client passes `(first, None).into()`, which goes out as one argument, or
    /// `(first, Some(second)).into()`. It needs the SDK's own payload converter: a serde converter sends
    /// only one argument.
    ///
    /// ```
    /// # use shared::Inputs;
    /// # use temporalio_macros::{workflow, workflow_methods};
    /// # use temporalio_sdk::{WorkflowContext, WorkflowResult};
    /// # #[workflow]
    /// # #[derive(Default)]
    /// # pub struct PollWorkflow;
    /// # #[workflow_methods]
    /// # impl PollWorkflow {
    /// #[run]
    /// pub async fn run(
    ///     ctx: &mut WorkflowContext<Self>,
    ///     arguments: Inputs<String, u64>,
    /// ) -> WorkflowResult<String> {
    ///     let (name, seconds) = arguments.decode(ctx)?;
    ///     Ok(format!("{name} every {} s", seconds.unwrap_or(60)))
    /// }
    /// # }
    /// ```
    Inputs, B second 2
}

inputs! {
    /// Three arguments of a workflow, of which clients may leave out all but the first.
    ///
    /// Works as [`Inputs4`].
    Inputs3, B second 2, C third 3
}

inputs! {
    /// Four arguments of a workflow, of which clients may leave out all but the first.
    ///
    /// Works as [`Inputs`]. A client passes `(first, None, None, None).into()`, which goes out as one
    /// argument. `null` goes out for an argument that is left out before one that is not.
    Inputs4, B second 2, C third 3, D fourth 4
}

fn decode<T, W>(decoded: Result<T, String>, ctx: &WorkflowContext<W>) -> WorkflowResult<T> {
    let reason = match decoded {
        Ok(value) => return Ok(value),
        Err(reason) => reason,
    };
    let run = ctx.info();
    // A reset copies the first event, and with it the id of the first run.
    let from_a_client = run.parent().is_none() && run.first_execution_run_id() == run.run_id();
    Err(match from_a_client {
        true => bad_input(reason).into(),
        // The SDK fails the workflow task because of such an error.
        false => encoding_error(format!("bad input: {reason}")).into(),
    })
}

fn bad_input(reason: String) -> ApplicationFailure {
    ApplicationFailure::builder(format!("bad input: {reason}"))
        .type_name(BAD_INPUT.to_owned())
        .non_retryable(true)
        .build()
}

/// Checks the arguments before they are decoded.
pub(crate) fn check_arguments_size(payloads: &[Payload]) -> Result<(), String> {
    match size(payloads) {
        size if size <= MAX_INPUT => Ok(()),
        size => Err(format!("{size} bytes, more than the limit of {MAX_INPUT}")),
    }
}

pub(crate) fn size(payloads: &[Payload]) -> usize {
    payloads.iter().map(|payload| payload.data.len()).sum()
}

pub(crate) fn shorten(message: impl std::fmt::Display) -> String {
    let message = message.to_string();
    match message.char_indices().nth(MAX_MESSAGE_CHARS) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message,
    }
}

#[cfg(test)]
#[allow(
    clippy::disallowed_types,
    reason = "the metadata of a payload is a HashMap"
)]
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

    /// An argument that is missing is bad input, unless it is optional. Further arguments are ignored, as
    /// in other SDKs.
    #[test]
    fn counts_the_arguments() {
        assert_eq!(
            decode::<Order>(vec![]).unwrap_err(),
            "the argument is missing"
        );
        let one = || payload("json/plain", "1");
        assert_eq!(decode(vec![]), Ok(None::<u32>));
        for absent in [decode::<Vec<u32>>(vec![]).err(), decode_inputs(&[]).err()] {
            assert!(absent.is_some_and(|reason| reason.ends_with("the argument is missing")));
        }
        assert_eq!(decode(vec![one(), one()]), Ok(1));
        assert_eq!(decode(vec![one(), one()]), Ok(()));
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

    /// A workflow without arguments takes none, `null` or anything else, as in other SDKs.
    #[test]
    fn unit_takes_anything() {
        let encoded = [
            payload("binary/null", ""),
            payload("json/plain", "null"),
            payload("json/plain", r#"{"a":1}"#),
            payload("json/plain", "no JSON"),
            payload("x/y", "1"),
            Payload::default(),
        ];
        assert_eq!(decode::<()>(vec![]), Ok(()));
        for payload in encoded {
            assert_eq!(decode::<()>(vec![payload]), Ok(()));
        }
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
        for (encoding, advice) in [
            ("x/y", "codec"),
            ("binary/encrypted", "key"),
            ("binary/plain", "JSON instead of bytes"),
            ("json/protobuf", "protobuf"),
        ] {
            let error = decode::<String>(vec![payload(encoding, "1")]).unwrap_err();
            assert!(
                error.contains(encoding) && error.contains(advice),
                "{error}"
            );
        }
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
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

    /// One argument or two, of which the second may be `null`. A bad one is named by its place and its
    /// field.
    #[test]
    fn takes_one_argument_or_two() {
        let (name, order) = (r#""a""#, r#"{"items":[{"amount":3}]}"#);
        for arguments in [&[name][..], &[name, "null"], &[name, "null", "7"]] {
            assert_eq!(decode_inputs(arguments), Ok(("a".to_owned(), None)));
        }
        let items = vec![Item { amount: 3 }];
        assert_eq!(
            decode_inputs(&[name, order]),
            Ok(("a".to_owned(), Some(Order { items })))
        );
        let cases: [(&[&str], &str); 5] = [
            (&[], "argument 1: the argument is missing"),
            (&["7"], "argument 1: invalid type: integer `7`"),
            (&["null"], "argument 1: invalid type: null"),
            (&["7", order], "argument 1: invalid type: integer `7`"),
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

    /// Of four arguments, those at the end are left out, and those before another are `null`. Both decode as absent.
    #[test]
    fn later_arguments_may_be_absent() -> anyhow::Result<()> {
        type Four = Inputs4<String, Vec<u32>, bool, Item>;
        let converter = PayloadConverter::default();
        let context = SerializationContext::new(&SerializationContextData::None, &converter);
        let a = || "a".to_owned();
        let item = || Some(Item { amount: 3 });
        let cases: [(Four, &[&str]); 4] = [
            ((a(), None, None, None).into(), &[r#""a""#]),
            (
                (a(), None, Some(false), None).into(),
                &[r#""a""#, "null", "false"],
            ),
            (
                (a(), None, None, item()).into(),
                &[r#""a""#, "null", "null", r#"{"amount":3}"#],
            ),
            (
                (a(), Some(vec![7]), Some(true), item()).into(),
                &[r#""a""#, "[7]", "true", r#"{"amount":3}"#],
            ),
        ];
        for (arguments, json) in cases {
            let payloads = converter.to_payloads(&context, &arguments)?;
            // The SDK writes `null` in an encoding of its own.
            let sent = json.iter().map(|json| match *json {
                "null" => payload("binary/null", ""),
                json => payload("json/plain", json),
            });
            assert_eq!(payloads, sent.collect::<Vec<_>>());
            assert_eq!(
                converter.from_payloads::<Four>(&context, payloads)?,
                arguments
            );
        }
        let wrong = [r#""a""#, "null", "null", "7"].map(|json| payload("json/plain", json));
        let Inputs4(wrong) = converter.from_payloads::<Four>(&context, wrong.to_vec())?;
        let reason = "argument 4: invalid type: integer `7`, expected struct Item";
        assert_eq!(wrong.unwrap_err(), reason);
        Ok(())
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
        let wrong = decode(r#"{"items":[{"amount":[]}]}"#).unwrap_err();
        assert_eq!(wrong, "invalid type: sequence, expected u32");
    }
}
