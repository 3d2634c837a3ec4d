//! The workflow as it was at each stage of one change, in the order in which they are deployed.
//!
//! In a repository of your own there is one file, and these are its commits. Here they lie side by
//! side so that each can be run: `diff` shows what a stage changes.

pub mod incompatible;
pub mod v1_initial;
pub mod v2_patched;
pub mod v3_deprecated;
pub mod v4_removed;

/// Which code a worker runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Stage {
    /// Before the change: orders are shipped unchecked
    Initial,
    /// New orders are checked first, those under way are not
    Patched,
    /// All orders are checked; those that `patched` began go on
    Deprecated,
    /// As if it had always been so
    Removed,
    /// The change with no patch, a bug if orders are under way
    Incompatible,
}
