//! Stack traces in failures. The SDK leaves them empty: a Rust error does not know where it was
//! made, unless somebody takes the trouble.

use std::{backtrace::Backtrace, error::Error, fmt};
use temporalio_common::{
    data_converters::{
        DataConverter, DefaultFailureConverter, DefaultPayloadCodec, FailureConverter,
        PayloadConversionError, PayloadConverter, SerializationContextData,
    },
    error::{IncomingError, OutgoingActivityError, OutgoingError, OutgoingWorkflowError},
    protos::temporal::api::failure::v1::Failure,
};

/// What anyhow writes between an error and its backtrace in `{:?}`, and [`Traced`] too.
const HEADING: &str = "Stack backtrace:\n";

/// An error that knows where it was made, for [`StackTraces`] to read.
///
/// Taking the backtrace costs some microseconds, whatever `RUST_BACKTRACE` says; its symbols are
/// looked up only when it is written into a failure.
pub struct Traced<E> {
    error: E,
    backtrace: Backtrace,
}

impl<E> Traced<E> {
    /// The error, made here and now.
    pub fn new(error: E) -> Self {
        let backtrace = Backtrace::force_capture();
        Self { error, backtrace }
    }
}

impl<E: fmt::Display> fmt::Debug for Traced<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n\n{HEADING}{}", self.error, self.backtrace)
    }
}

impl<E: fmt::Display> fmt::Display for Traced<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<E: Error> Error for Traced<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}

/// A failure converter that fills the stack trace of application failures.
///
/// It writes the frames of the given crates alone: around them lie some fifty of tokio, the SDK
/// and the standard library. It reads the backtrace of a [`Traced`] error; and that of an
/// `anyhow::Error`, which has one if the worker runs with `RUST_BACKTRACE=1` or
/// `RUST_LIB_BACKTRACE=1`.
pub struct StackTraces {
    crates: &'static [&'static str],
    inner: DefaultFailureConverter,
}

impl StackTraces {
    /// Frames of these crates, by their names in code: `my_app`, not `my-app`.
    pub fn new(crates: &'static [&'static str]) -> Self {
        let inner = DefaultFailureConverter::default();
        Self { crates, inner }
    }

    /// The SDK's data converter, with this in place of its failure converter.
    pub fn into_data_converter(self) -> DataConverter {
        DataConverter::new(PayloadConverter::default(), self, DefaultPayloadCodec)
    }

    fn of(&self, error: &OutgoingError) -> Option<String> {
        let (OutgoingError::Activity(OutgoingActivityError::Application(failure))
        | OutgoingError::Workflow(OutgoingWorkflowError::Application(failure))) = error
        else {
            // Another's failure, passed on, brings its own.
            return None;
        };
        let debug = format!("{:?}", failure.source_error());
        let (_, backtrace) = debug.split_once(HEADING)?;
        let mut frames: Vec<String> = frames(backtrace)
            .filter(|(symbol, _)| self.is_ours(symbol))
            .map(|(symbol, location)| frame(symbol, location))
            .collect();
        // An `async fn` stands there twice, as itself and as the future it made.
        frames.dedup();
        Some(frames.join("\n"))
    }

    fn is_ours(&self, symbol: &str) -> bool {
        let path = symbol.trim_start_matches('<');
        let krate = path.split("::").next().unwrap_or_default();
        // What the SDK's macros generate in our crate, around our function.
        self.crates.contains(&krate) && !symbol.contains(" as temporalio_")
    }
}

impl FailureConverter for StackTraces {
    fn to_failure(
        &self,
        error: OutgoingError,
        payload_converter: &PayloadConverter,
        context: &SerializationContextData,
    ) -> Failure {
        let stack_trace = self.of(&error);
        let mut failure = self.inner.to_failure(error, payload_converter, context);
        if let Some(stack_trace) = stack_trace {
            failure.stack_trace = stack_trace;
        }
        failure
    }

    fn to_error(
        &self,
        failure: Failure,
        payload_converter: &PayloadConverter,
        context: &SerializationContextData,
    ) -> Result<IncomingError, PayloadConversionError> {
        self.inner.to_error(failure, payload_converter, context)
    }
}

/// The frames of a backtrace as the standard library prints it: a line `  3: symbol` each, and
/// `     at file:line:column` below where debug information tells.
fn frames(backtrace: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    let mut lines = backtrace.lines().map(str::trim_start).peekable();
    std::iter::from_fn(move || {
        let symbol = lines.find_map(|line| Some(line.split_once(": ")?.1))?;
        let location = lines.next_if(|line| line.starts_with("at "));
        Some((symbol, location))
    })
}

/// `at my_app::activities::greet (src/activities.rs:40)`; of the path no more than the crate's
/// own, for the rest tells about the machine it was built on.
fn frame(symbol: &str, location: Option<&str>) -> String {
    let symbol = symbol.trim_end_matches("::{{closure}}");
    let place = location
        .and_then(|at| at.rsplit_once("src/"))
        .and_then(|(_, file_line_column)| file_line_column.rsplit_once(':'));
    match place {
        Some((file_line, _column)) => format!("at {symbol} (src/{file_line})"),
        None => format!("at {symbol}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use temporalio_sdk::ApplicationFailure;

    #[inline(never)]
    fn fails() -> ApplicationFailure {
        ApplicationFailure::new(Traced::new(std::io::Error::other("no disk")))
    }

    fn convert(failure: ApplicationFailure, crates: &'static [&'static str]) -> Failure {
        let error = OutgoingActivityError::Application(Box::new(failure)).into();
        let context = SerializationContextData::None;
        StackTraces::new(crates).to_failure(error, &PayloadConverter::default(), &context)
    }

    /// The trace begins where the error was made, names file and line, and holds nothing of the
    /// standard library's.
    #[test]
    fn traces_our_frames() {
        let failure = convert(fails(), &["shared"]);
        assert_eq!(failure.message, "no disk");
        let lines: Vec<&str> = failure.stack_trace.lines().collect();
        let made = lines.iter().position(|line| {
            line.starts_with("at shared::stack_trace::tests::fails (src/stack_trace.rs:")
        });
        assert!(made.is_some_and(|n| n <= 1), "{}", failure.stack_trace);
        assert!(
            lines.iter().all(|line| line.contains("shared::")),
            "{}",
            failure.stack_trace
        );
        assert_eq!(convert(fails(), &["another"]).stack_trace, "");
    }

    /// An error without a backtrace gives a failure without a stack trace.
    #[test]
    fn needs_a_backtrace() {
        let failure = convert(ApplicationFailure::new("no disk"), &["shared"]);
        assert_eq!((&*failure.message, &*failure.stack_trace), ("no disk", ""));
    }

    /// A backtrace as the standard library prints it, with locations and without.
    #[test]
    fn reads_frames() {
        let backtrace = "   0: <my_app::Thing>::new\n   1: my_app::run::{{closure}}\n             at ./samples/my-app/src/bin/worker.rs:12:34\n  12: main\n";
        let read: Vec<String> = frames(backtrace).map(|(s, l)| frame(s, l)).collect();
        assert_eq!(
            read,
            [
                "at <my_app::Thing>::new",
                "at my_app::run (src/bin/worker.rs:12)",
                "at main"
            ]
        );
    }
}
