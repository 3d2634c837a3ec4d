//! What the stages have in common. The workflow itself is in [`crate::stages`], once a stage.

use serde::{Deserialize, Serialize};
use std::time::Duration;
use temporalio_sdk::ActivityOptions;

/// The workflow as a client sees it. Type, input, signal and result are the same at every stage, so
/// starters need not be deployed along.
pub use crate::stages::v2_patched::OrderWorkflow;

/// Names the change in the histories of the orders that have it. Never change it, and never use it
/// for another change: to a replay they would be one.
pub const FRAUD_CHECK: &str = "fraud-check";

/// The input of [`OrderWorkflow`]: `{"number":"A-17","cents":4200}`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Order {
    /// What the customer knows it by.
    pub number: String,
    /// What it costs.
    pub cents: u64,
}

/// The result of [`OrderWorkflow`].
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// What the carrier knows the parcel by.
    pub parcel: String,
}

/// Of both activities. Options may change without a patch: replay compares which activity comes when,
/// not its timeouts.
pub(crate) fn options() -> ActivityOptions {
    ActivityOptions::start_to_close_timeout(Duration::from_secs(5))
}
