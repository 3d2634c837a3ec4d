//! Finds the faults that types cannot express. Without faults, nothing but an activity can fail.
//!
//! A stricter rule needs a new version of the language. Otherwise workflows that run documents that were allowed
//! when they started would fail at their next replay.

use crate::{
    activities::ACTIVITIES,
    document::{Activity, Document, Parallel, Sequence, Statement},
};
use std::collections::{BTreeMap, BTreeSet};

/// Maximum number of statements. A history has room for 51,200 events, and an activity needs about six.
pub(crate) const MAX_STATEMENTS: usize = 500;

/// Maximum depth of statements in statements. It is low because JSON may have 128 levels, and YAML 64.
pub(crate) const MAX_DEPTH: usize = 16;

/// Maximum size of all variables together, as JSON. Two of them as arguments are below the server's limit.
pub(crate) const MAX_VARIABLES: usize = 512 * 1024;

/// Checks the document as a whole.
pub(crate) fn check(document: &Document) -> Result<(), String> {
    let variables = &document.variables;
    check_size(variables).map_err(|reason| format!("`variables`: {reason}"))?;
    let mut check = Check {
        version: document.version,
        statements: 0,
    };
    let known = variables.keys().map(String::as_str).collect();
    let uses = check.statement(&document.root, "root", 1, &known)?;
    let unused = variables.keys().find(|name| !uses.takes.contains(&***name));
    match unused {
        Some(name) => Err(format!(
            "`variables.{name}`: no activity takes this variable"
        )),
        None => Ok(()),
    }
}

/// Checks the size of all variables.
pub(crate) fn check_size(variables: &BTreeMap<String, String>) -> Result<(), String> {
    let size = serde_json::to_string(variables).map_or(0, |json| json.len());
    match size > MAX_VARIABLES {
        true => Err(format!(
            "all variables together have {size} bytes, more than the limit of {MAX_VARIABLES}"
        )),
        false => Ok(()),
    }
}

/// Variables that a statement uses.
#[derive(Default)]
struct Uses<'a> {
    takes: BTreeSet<&'a str>,
    sets: BTreeSet<&'a str>,
}

impl<'a> Uses<'a> {
    fn extend(&mut self, other: Self) {
        self.takes.extend(other.takes);
        self.sets.extend(other.sets);
    }

    /// A variable that both use and at least one of them sets.
    fn contested(&self, other: &Self) -> Option<&'a str> {
        let by_other = other.takes.union(&other.sets);
        let mut set_here = by_other.filter(|name| self.sets.contains(**name));
        let mut set_there = other.sets.intersection(&self.takes);
        set_here.next().or_else(|| set_there.next()).copied()
    }
}

struct Check {
    version: u32,
    /// Number of statements so far.
    statements: usize,
}

impl Check {
    /// Checks a statement that finds the variables `known`.
    fn statement<'a>(
        &mut self,
        statement: &'a Statement,
        path: &str,
        depth: usize,
        known: &BTreeSet<&'a str>,
    ) -> Result<Uses<'a>, String> {
        self.statements += 1;
        if self.statements > MAX_STATEMENTS {
            return Err(format!("`{path}`: more than {MAX_STATEMENTS} statements"));
        }
        if depth > MAX_DEPTH {
            return Err(format!("`{path}`: more than {MAX_DEPTH} levels"));
        }
        match statement {
            Statement::Activity(activity) => {
                self.activity(activity, &format!("{path}.activity"), known)
            }
            Statement::Sequence(Sequence { elements }) => {
                let (mut known, mut uses) = (known.clone(), Uses::default());
                for (index, element) in elements.iter().enumerate() {
                    let path = format!("{path}.sequence.elements[{index}]");
                    let element = self.statement(element, &path, depth + 1, &known)?;
                    known.extend(&element.sets);
                    uses.extend(element);
                }
                Ok(uses)
            }
            Statement::Parallel(Parallel { branches }) => {
                let mut uses = Uses::default();
                for (index, branch) in branches.iter().enumerate() {
                    let path = format!("{path}.parallel.branches[{index}]");
                    // A branch does not know what the others set, because they may do so later.
                    let branch = self.statement(branch, &path, depth + 1, known)?;
                    // In version 1 the last one wins.
                    if let (2.., Some(name)) = (self.version, uses.contested(&branch)) {
                        return Err(format!(
                            "`{path}`: this branch and an earlier one use the variable {name:?}, and one of \
                             them sets it"
                        ));
                    }
                    uses.extend(branch);
                }
                Ok(uses)
            }
        }
    }

    fn activity<'a>(
        &self,
        activity: &'a Activity,
        path: &str,
        known: &BTreeSet<&'a str>,
    ) -> Result<Uses<'a>, String> {
        let name = &activity.name;
        let Some((_, takes)) = ACTIVITIES.iter().find(|(known, _)| known == name) else {
            let names = ACTIVITIES.map(|(name, _)| name).join(", ");
            return Err(format!(
                "`{path}.name`: unknown activity {name:?}, choose one of {names}"
            ));
        };
        let mut uses = Uses::default();
        for (index, argument) in activity.arguments.iter().flatten().enumerate() {
            if !known.contains(&**argument) {
                return Err(format!(
                    "`{path}.arguments[{index}]`: the variable {argument:?} is not set before this activity"
                ));
            }
            uses.takes.insert(argument);
        }
        let given = activity.arguments.iter().flatten().count();
        if given != *takes {
            return Err(format!(
                "`{path}.arguments`: {name} takes {takes} arguments, and there are {given}"
            ));
        }
        if self.version == 1 && activity.timeout_seconds.is_some() {
            return Err(format!(
                "`{path}.timeout_seconds`: version 1 has no such field, write `version: 2`"
            ));
        }
        uses.sets.extend(activity.result.as_deref());
        Ok(uses)
    }
}
