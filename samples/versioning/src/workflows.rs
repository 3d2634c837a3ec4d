//! The types and options that all stages share. The workflow itself is in [`crate::stages`], once per stage.

use serde::{Deserialize, Serialize};
use std::time::Duration;
use temporalio_sdk::ActivityOptions;

/// The workflow as a client sees it. Type, input, signal and result are the same at every stage, so a change
/// does not require new starters.
pub use crate::stages::v2_patched::OrderWorkflow;

/// Name of the change, which the histories of checked orders contain. Never change it, and never use it for
/// another change, because a replay could not distinguish the two.
pub const FRAUD_CHECK: &str = "fraud-check";

/// The input of [`OrderWorkflow`]: `{"number":"A-17","cents":4200}`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Order {
    /// Order number.
    pub number: String,
    /// Price in cents.
    pub cents: u64,
}

/// The result of [`OrderWorkflow`].
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Parcel number of the carrier.
    pub parcel: String,
}

/// Returns the options of both activities. You can change options without a patch, because a replay compares
/// the activities and their order, not their timeouts.
pub(crate) fn options() -> ActivityOptions {
    ActivityOptions::start_to_close_timeout(Duration::from_secs(5))
}
