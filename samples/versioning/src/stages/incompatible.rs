//! Not a stage but a mistake: adds the check to stage 1 without a patch, as you would change ordinary code.
//!
//! The code is the same as stage 4, so nothing in it looks wrong. The time is wrong: it is deployed while orders
//! of stage 1 are open. A review may miss that, but a replay test does not.

pub use super::v4_removed::OrderWorkflow;
