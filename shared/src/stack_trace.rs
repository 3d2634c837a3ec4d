//! Stack traces in failures. The SDK leaves them empty: a Rust error does not know where it was
//! made, unless somebody takes the trouble.

use crate::{AbsentAsNull, FilledFailures};
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

/// Where the sources of the standard library and of dependencies are.
const NOT_OURS: [&str; 4] = ["/rustc/", "/rustlib/", "/registry/src/", "/git/checkouts/"];

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

    /// The error itself.
    pub fn error(&self) -> &E {
        &self.error
    }
}

/// For `?`, which is then where the trace begins.
impl<E> From<E> for Traced<E> {
    fn from(error: E) -> Self {
        Self::new(error)
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
/// It leaves out what is not the project's own: the frames of the standard library, of tokio and
/// of the SDK, some fifty. It reads the backtrace of a [`Traced`] error; and that of an
/// `anyhow::Error`, which has one if the worker runs with `RUST_BACKTRACE=1` or
/// `RUST_LIB_BACKTRACE=1`.
pub struct StackTraces {
    crates: &'static [&'static str],
    inner: FilledFailures<DefaultFailureConverter>,
}

impl StackTraces {
    /// The project's own crates, by their names in code: `my_app`, not `my-app`. They tell its
    /// frames from others in a binary without debug information; with it, the files do.
    pub fn new(crates: &'static [&'static str]) -> Self {
        let inner = FilledFailures::default();
        Self { crates, inner }
    }

    /// Returns the data converter of [`data_converter`](crate::data_converter), with this in place of the
    /// SDK's failure converter.
    pub fn into_data_converter(self) -> DataConverter {
        let codec = AbsentAsNull(DefaultPayloadCodec);
        DataConverter::new(PayloadConverter::default(), self, codec)
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
        let ours = frames(backtrace).filter(|(symbol, location)| self.is_ours(symbol, *location));
        let lines: Vec<String> = ours
            .map(|(symbol, location)| line(symbol, location))
            .collect();
        Some(lines.join("\n"))
    }

    fn is_ours(&self, symbol: &str, location: Option<&str>) -> bool {
        let made_by_us = symbol.contains("stack_trace::Traced");
        let path = symbol.trim_start_matches('<');
        let krate = path.split("::").next().unwrap_or_default();
        !made_by_us
            && match location {
                Some(at) => {
                    at.contains(".rs:") && !NOT_OURS.iter().any(|folder| at.contains(folder))
                }
                None => self.crates.contains(&krate),
            }
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

/// `at greet (src/activities.rs:40)`; of the path no more than the crate's own, for the rest tells
/// about the machine it was built on.
fn line(symbol: &str, location: Option<&str>) -> String {
    // `{async_fn#0}` is how a binary with line tables alone calls the body of an `async fn`.
    let name = match symbol
        .strip_prefix('{')
        .and_then(|rest| rest.split_once('#'))
    {
        Some((kind, _)) => kind.replace('_', " "),
        None => symbol.trim_end_matches("::{{closure}}").to_owned(),
    };
    let place = location
        .and_then(|at| at.rsplit_once("src/"))
        .and_then(|(_, file_line_column)| file_line_column.rsplit_once(':'));
    match place {
        Some((file_line, _column)) => format!("at {name} (src/{file_line})"),
        None => format!("at {name}"),
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
        let first = lines.first().copied().unwrap_or_default();
        assert!(first.contains("fails (src/stack_trace.rs:"), "{lines:#?}");
        let ours = |line: &&str| line.contains("(src/stack_trace.rs:");
        assert!(lines.iter().all(ours), "{lines:#?}");
    }

    /// An error without a backtrace gives a failure without a stack trace.
    #[test]
    fn needs_a_backtrace() {
        let failure = convert(ApplicationFailure::new("no disk"), &["shared"]);
        assert_eq!((&*failure.message, &*failure.stack_trace), ("no disk", ""));
    }

    /// A backtrace as the standard library prints it, from binaries without debug information, with
    /// line tables alone, and with all.
    #[test]
    fn reads_frames() {
        let backtrace = "   0: <my_app::Thing>::new\n   \
             1: my_app::run::{{closure}}\n             at ./my-app/src/bin/worker.rs:12:34\n   \
             2: {async_fn#0}\n             at /home/me/my-app/src/lib.rs:5:6\n   \
             3: poll<u8>\n             at /rustc/5980/library/core/src/future.rs:1:9\n  \
             12: main\n";
        let converter = StackTraces::new(&["my_app"]);
        let read: Vec<String> = frames(backtrace)
            .filter(|(symbol, location)| converter.is_ours(symbol, *location))
            .map(|(symbol, location)| line(symbol, location))
            .collect();
        let expected = [
            "at <my_app::Thing>::new",
            "at my_app::run (src/bin/worker.rs:12)",
            "at async fn (src/lib.rs:5)",
        ];
        assert_eq!(read, expected);
    }

    /// What a stack trace costs: `cargo test -p shared --lib costs -- --ignored --nocapture`.
    #[test]
    #[ignore = "a measurement"]
    fn costs() {
        for _ in 0..3 {
            let start = std::time::Instant::now();
            let failure = fails();
            let made = start.elapsed();
            convert(failure, &["shared"]);
            println!("made {made:?}, written {:?}", start.elapsed() - made);
        }
    }
}
