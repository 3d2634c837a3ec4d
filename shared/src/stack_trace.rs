//! Stack traces in failures. The SDK leaves them empty, because a Rust error does not record where it was created.

use crate::{AbsentAsNull, FilledFailures, TypedFailures, typed_failures::of_handler};
use std::{backtrace::Backtrace, error::Error, fmt};
use temporalio_common::{
    data_converters::{
        DataConverter, DefaultPayloadCodec, FailureConverter, PayloadConversionError,
        PayloadConverter, SerializationContextData,
    },
    error::{IncomingError, OutgoingActivityError, OutgoingError, OutgoingWorkflowError},
    protos::temporal::api::failure::v1::Failure,
};

/// Text between an error and its backtrace in the `{:?}` output of anyhow, and of [`Traced`].
const HEADING: &str = "Stack backtrace:\n";

/// Parts of paths to the sources of the standard library and of dependencies.
const NOT_OURS: [&str; 4] = ["/rustc/", "/rustlib/", "/registry/src/", "/git/checkouts/"];

/// An error with a backtrace of the place where it was created, which [`StackTraces`] reads.
///
/// The backtrace costs some microseconds, and does not depend on `RUST_BACKTRACE`. Its symbols are resolved only when
/// it is written into a failure.
pub struct Traced<E> {
    error: E,
    backtrace: Backtrace,
}

impl<E> Traced<E> {
    /// Creates the error, with the current backtrace.
    pub fn new(error: E) -> Self {
        let backtrace = Backtrace::force_capture();
        Self { error, backtrace }
    }

    /// Returns the error itself.
    pub fn error(&self) -> &E {
        &self.error
    }
}

/// For `?`. The trace then begins at the `?`.
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
/// It leaves out the frames of the standard library, of tokio and of the SDK, which are some fifty. It reads the
/// backtrace of a [`Traced`] error, and that of an `anyhow::Error`, which has one if the worker runs with
/// `RUST_BACKTRACE=1` or `RUST_LIB_BACKTRACE=1`.
pub struct StackTraces {
    crates: &'static [&'static str],
    inner: FilledFailures<TypedFailures>,
}

impl StackTraces {
    /// Names of the project's own crates, as in code: `my_app`, not `my-app`. They identify the project's frames in a
    /// binary without debug information. With debug information, the file names do.
    pub fn new(crates: &'static [&'static str]) -> Self {
        let inner = FilledFailures::default();
        Self { crates, inner }
    }

    /// Returns the data converter of [`data_converter`](crate::data_converter), with this failure converter instead of
    /// the SDK's.
    pub fn into_data_converter(self) -> DataConverter {
        let codec = AbsentAsNull(DefaultPayloadCodec);
        DataConverter::new(PayloadConverter::default(), self, codec)
    }

    fn of(&self, error: &OutgoingError) -> Option<String> {
        let (OutgoingError::Activity(OutgoingActivityError::Application(failure))
        | OutgoingError::Workflow(OutgoingWorkflowError::Application(failure))) = error
        else {
            // A failure that is passed on has its own stack trace.
            return None;
        };
        let failure = of_handler(failure).unwrap_or(failure);
        let debug = format!("{:?}", failure.source_error());
        let (_, backtrace) = debug.split_once(HEADING)?;
        Some(self.stack_trace(backtrace))
    }

    fn stack_trace(&self, backtrace: &str) -> String {
        let frames: Vec<_> = frames(backtrace).collect();
        // What follows the SDK's last frame is the code that runs the worker. The backtrace of a panic has nothing
        // else: the SDK makes the error where it catches the panic.
        let end = frames
            .iter()
            .rposition(|(symbol, location)| is_sdk(symbol, *location))
            .unwrap_or(frames.len());
        let lines: Vec<String> = frames[..end]
            .iter()
            .filter(|(symbol, location)| self.is_ours(symbol, *location))
            .map(|(symbol, location)| line(symbol, *location))
            .collect();
        lines.join("\n")
    }

    fn is_ours(&self, symbol: &str, location: Option<&str>) -> bool {
        let made_by_us = symbol.contains("stack_trace::Traced");
        !made_by_us
            && match location {
                Some(at) => {
                    at.contains(".rs:") && !NOT_OURS.iter().any(|folder| at.contains(folder))
                }
                None => self.crates.contains(&crate_of(symbol)),
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

/// Returns the name of the crate in a symbol that has it.
fn crate_of(symbol: &str) -> &str {
    let path = symbol.trim_start_matches('<');
    path.split("::").next().unwrap_or_default()
}

fn is_sdk(symbol: &str, location: Option<&str>) -> bool {
    match location {
        Some(at) => at.contains("/temporalio-sdk-") || at.contains("/temporalio-sdk/"),
        None => crate_of(symbol) == "temporalio_sdk",
    }
}

/// Parses the frames of a backtrace as the standard library prints it. Each has a line `  3: symbol` and, with debug
/// information, a line `     at file:line:column` below.
fn frames(backtrace: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    let mut lines = backtrace.lines().map(str::trim_start).peekable();
    std::iter::from_fn(move || {
        let symbol = lines.find_map(|line| Some(line.split_once(": ")?.1))?;
        let location = lines.next_if(|line| line.starts_with("at "));
        Some((symbol, location))
    })
}

/// Formats a frame, such as `at greet (src/activities.rs:40)`. The path is relative to the crate, because the rest would
/// show details of the build machine.
fn line(symbol: &str, location: Option<&str>) -> String {
    // `{async_fn#0}` is the name for the body of an `async fn` in a binary that has only line tables.
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

    /// The trace begins where the error was created, has file and line, and contains no frames of the standard library.
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

    /// An error without a backtrace becomes a failure without a stack trace.
    #[test]
    fn needs_a_backtrace() {
        let failure = convert(ApplicationFailure::new("no disk"), &["shared"]);
        assert_eq!((&*failure.message, &*failure.stack_trace), ("no disk", ""));
    }

    /// Backtraces as the standard library prints them, from binaries without debug information, with line tables only,
    /// and with full debug information.
    #[test]
    fn reads_frames() {
        let backtrace = "   0: <my_app::Thing>::new\n   \
             1: my_app::run::{{closure}}\n             at ./my-app/src/bin/worker.rs:12:34\n   \
             2: {async_fn#0}\n             at /home/me/my-app/src/lib.rs:5:6\n   \
             3: poll<u8>\n             at /rustc/5980/library/core/src/future.rs:1:9\n  \
             12: main\n";
        let expected = "at <my_app::Thing>::new\n\
            at my_app::run (src/bin/worker.rs:12)\n\
            at async fn (src/lib.rs:5)";
        let converter = StackTraces::new(&["my_app"]);
        assert_eq!(converter.stack_trace(backtrace), expected);

        // The SDK runs that code, and `main` runs the SDK.
        for sdk in [
            "<temporalio_sdk::Worker>::run",
            "run\n             at /registry/src/index/temporalio-sdk-1.1.1/src/lib.rs:7:8",
        ] {
            let backtrace = format!("{backtrace}  13: {sdk}\n  14: my_app::main\n");
            assert_eq!(converter.stack_trace(&backtrace), expected);
        }
    }

    /// Measures the cost of a stack trace: `cargo test -p shared --lib costs -- --ignored --nocapture`.
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
