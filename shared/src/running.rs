//! The activities that run in this process, so that a worker can name them when it shuts down.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// How many activities [`running_activities`] names at most, because a worker can have thousands.
const NAMED: usize = 10;

/// Names by the order in which the activities started.
static RUNNING: Mutex<BTreeMap<u64, String>> = Mutex::new(BTreeMap::new());

fn lock() -> MutexGuard<'static, BTreeMap<u64, String>> {
    // No code panics while it holds the lock.
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An attempt of an activity that runs until this is dropped.
pub(crate) struct Running(u64);

impl Running {
    pub(crate) fn new(activity_type: &str, id: &str) -> Self {
        let name = format!("{activity_type} ({id})");
        let mut running = lock();
        let number = running.last_key_value().map_or(0, |(last, _)| last + 1);
        running.insert(number, name);
        Self(number)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        lock().remove(&self.0);
    }
}

/// Returns the type and the workflow id of each activity that runs now, oldest first; `None` if none
/// runs.
pub(crate) fn running_activities() -> Option<String> {
    let running = lock();
    if running.is_empty() {
        return None;
    }
    let named: Vec<&str> = running.values().take(NAMED).map(String::as_str).collect();
    let more = match running.len() - named.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Some(named.join(", ") + &more)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each activity from its begin to its end, oldest first, and ten at most.
    #[test]
    fn names_what_runs() {
        assert_eq!(running_activities(), None);
        let first = Running::new("ship", "order-0");
        let mut more: Vec<_> = (1..12)
            .map(|number| Running::new("bill", &format!("order-{number}")))
            .collect();
        let names = running_activities().unwrap_or_default();
        assert!(
            names.starts_with("ship (order-0), bill (order-1), "),
            "{names}"
        );
        assert!(names.ends_with(", bill (order-9) and 2 more"), "{names}");
        drop(first);
        more.truncate(2);
        let names = running_activities().unwrap_or_default();
        assert_eq!(names, "bill (order-1), bill (order-2)");
        drop(more);
        assert_eq!(running_activities(), None);
    }
}
