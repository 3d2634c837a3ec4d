//! The workflow at each stage of one change, in the order of the deployments.
//!
//! In your own repository these are commits of one file. Here they are modules side by side, so that you can
//! run each of them, and `diff` shows what a stage changes.

pub mod incompatible;
pub mod v1_initial;
pub mod v2_patched;
pub mod v3_deprecated;
pub mod v4_removed;

/// Stage of the code that a worker runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Stage {
    /// Before the change: ships orders without a check
    Initial,
    /// Checks new orders before it ships them, but not the orders that `initial` began
    Patched,
    /// Checks all orders; orders that `patched` began continue
    Deprecated,
    /// Checks all orders, without any trace of the patch
    Removed,
    /// The change without a patch, a bug if orders of `initial` are open
    Incompatible,
}
