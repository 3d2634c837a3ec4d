//! Not a stage but the mistake: the check written into stage 1 as one edits ordinary code.
//!
//! It is stage 4, word for word, so nothing in it looks wrong. What is wrong is when it comes: while
//! orders of stage 1 are open. A review may miss that, a replay test does not.

pub use super::v4_removed::OrderWorkflow;
