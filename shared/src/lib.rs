//! What every worker and starter needs and no sample is about: connection, telemetry, shutdown, and
//! how results and errors are printed.
//!
//! A sample's `main` still shows the SDK's own `WorkerOptions`, `Worker::new` and
//! `start_workflow`; there is no framework here. What reaches into workflow code is [`Input`], and
//! [`Inputs`], [`Inputs3`] and [`Inputs4`] for two to four arguments: they turn input that does not decode
//! into a failed workflow; [`sleep`] and [`wait_up_to`], timers that a workflow can be cancelled in; [`handlers_finished`], a wait
//! for handlers before the end; [`OrCancelled`], which lets a cancelled workflow end as cancelled whatever
//! its activities return; [`child_id`], which fails the workflow if a child's id would be too long; and
//! [`child_result`], which passes a cancellation on to a child.
//! Activities that heartbeat use [`last_heartbeat`] and [`stopped`], and activities that must not repeat a
//! side effect use [`idempotency_key`]. [`Lock`] lets handlers run one at a time, and [`was_rejected`] tells a
//! starter whether an update was rejected or failed.
//! [`LogFields`] goes around workflow code, and says whose log lines these are. [`SizeLimit`] goes
//! around it too, and fails a workflow or an activity whose result is too large for the server.

#![warn(missing_docs)]

mod child_result;
mod config_file;
mod connection;
mod failure;
mod filled_failures;
mod foreign;
mod handlers_finished;
mod heartbeat;
mod idempotency;
mod ids;
mod input;
mod json;
mod json_reader;
mod lock;
mod or_cancelled;
mod output;
mod running;
mod runs;
mod settings;
mod signals;
mod size_limit;
mod sleep;
mod stack_trace;
mod telemetry;
mod text;
mod tls;
mod typed_failures;
mod update;
mod wait_up_to;
mod waiting;
mod worker;

pub use child_result::child_result;
pub use connection::{CONNECT_TIMEOUT, ConnectionArgs, is_loopback};
pub use failure::{MainError, MainResult, describe};
pub use filled_failures::{CHILD_ID_TAKEN, FAILURE_SOURCE, FilledFailures};
pub use foreign::{AbsentAsNull, AbsentResults, data_converter};
pub use handlers_finished::handlers_finished;
pub use heartbeat::{STOPPED, last_heartbeat, stopped};
pub use idempotency::idempotency_key;
pub use ids::{ID_TOO_LONG, MAX_ID_BYTES, check_id, child_id};
pub use input::{BAD_INPUT, Input, Inputs, Inputs3, Inputs4, at_most};
pub use json::{Json, JsonConverter};
pub use lock::{Lock, LockGuard};
pub use or_cancelled::OrCancelled;
pub use output::{StarterArgs, print_result, print_started};
pub use runs::histories;
pub use signals::{ShutdownSignals, Signal, end_on_signals};
pub use size_limit::{MAX_ERROR, MAX_INPUT, MAX_RESULT, SizeLimit, TOO_LARGE};
pub use sleep::sleep;
pub use stack_trace::{StackTraces, Traced};
pub use telemetry::{LogFields, LogFormat, init_logs, init_logs_as};
pub use text::printable;
pub use typed_failures::TypedFailures;
pub use update::was_rejected;
pub use wait_up_to::wait_up_to;
pub use waiting::warn_while_waiting;
pub use worker::{GRACEFUL_SHUTDOWN_PERIOD, SHUTDOWN_LIMIT, WorkerArgs, run_until_shutdown};
