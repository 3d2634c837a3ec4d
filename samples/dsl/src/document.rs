//! The document. A [`Document`] has been checked, wherever it comes from.

use crate::{check::check, diagram::diagram};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{collections::BTreeMap, num::NonZeroU32};

/// Newest version of the language.
pub const VERSION: u32 = 2;

/// A document without faults: `{"version":2,"variables":{"name":"Ada"},"root":…}`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(try_from = "Value")]
pub struct Document {
    /// Version of the language. It decides what a document may contain, and what it means.
    pub(crate) version: u32,
    /// Variables that are set at the beginning.
    pub(crate) variables: BTreeMap<String, String>,
    /// What to do.
    pub(crate) root: Statement,
}

/// A statement. On the wire: an object with one of the keys `activity`, `sequence` and `parallel`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", try_from = "StatementFields")]
pub(crate) enum Statement {
    /// Calls an activity.
    Activity(Activity),
    /// Executes one statement after the other.
    Sequence(Sequence),
    /// Executes statements at the same time.
    Parallel(Parallel),
}

/// A call: `{"name":"activity1","arguments":["name"],"result":"greeting"}`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields, expecting = "an object with a `name`")]
pub(crate) struct Activity {
    /// Activity type.
    pub(crate) name: String,
    /// Variables that the activity takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) arguments: Option<Vec<String>>,
    /// Variable that gets the result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) result: Option<String>,
    /// Time limit for one attempt. Since version 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) timeout_seconds: Option<NonZeroU32>,
}

/// Statements in order.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields, expecting = "an object with `elements`")]
pub(crate) struct Sequence {
    pub(crate) elements: Vec<Statement>,
}

/// Statements side by side.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields, expecting = "an object with `branches`")]
pub(crate) struct Parallel {
    pub(crate) branches: Vec<Statement>,
}

/// A document that has not been checked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with a `root`")]
struct DocumentFields {
    version: Option<u32>,
    variables: Option<BTreeMap<String, String>>,
    root: Statement,
}

/// A statement that may have none of the keys, or more than one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with a statement")]
struct StatementFields {
    activity: Option<Activity>,
    sequence: Option<Sequence>,
    parallel: Option<Parallel>,
}

impl Document {
    /// Reads a document from YAML or from JSON, because a JSON document is a YAML document, too.
    ///
    /// # Errors
    /// What is wrong, and where: the line if it is not YAML, and the path in the document otherwise.
    pub fn from_yaml(text: &str) -> Result<Self, String> {
        let value: Value = serde_saphyr::from_str(text)
            .map_err(|error| format!("not YAML: {}", error.without_snippet()))?;
        value.try_into()
    }

    /// Returns the document as a mermaid diagram.
    pub fn diagram(&self) -> String {
        diagram(self)
    }
}

impl TryFrom<Value> for Document {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        // Before the rest, which a newer version may have changed.
        match value.get("version") {
            None | Some(Value::Null) => {}
            Some(version) if version == 1 || version == VERSION => {}
            Some(version) => return Err(format!("`version`: {version} is unknown, write 1 or 2")),
        }
        only_known_lists(&value, "")?;
        let fields = serde_path_to_error::deserialize(value);
        let fields: DocumentFields = fields.map_err(|error| match error.path().to_string() {
            path if path == "." => error.into_inner().to_string(),
            path => format!("`{path}`: {}", error.into_inner()),
        })?;
        let document = Self {
            // The first documents had no version.
            version: fields.version.unwrap_or(1),
            variables: fields.variables.unwrap_or_default(),
            root: fields.root,
        };
        check(&document)?;
        Ok(document)
    }
}

/// Refuses a list where an object belongs. Serde would take its items for the fields, by position.
fn only_known_lists(value: &Value, path: &str) -> Result<(), String> {
    match value {
        Value::Array(_) if path.is_empty() => Err("a list is no document".to_owned()),
        Value::Array(_) => Err(format!("`{path}`: a list does not belong here")),
        Value::Object(fields) => fields.iter().try_for_each(|(name, field)| {
            let path = format!("{path}.{name}");
            let path = path.trim_start_matches('.');
            match (&**name, field) {
                ("arguments" | "branches" | "elements", Value::Array(items)) => {
                    let mut items = items.iter().enumerate();
                    items.try_for_each(|(index, item)| {
                        only_known_lists(item, &format!("{path}[{index}]"))
                    })
                }
                _ => only_known_lists(field, path),
            }
        }),
        _ => Ok(()),
    }
}

impl TryFrom<StatementFields> for Statement {
    type Error = &'static str;

    fn try_from(fields: StatementFields) -> Result<Self, &'static str> {
        match (fields.activity, fields.sequence, fields.parallel) {
            (Some(activity), None, None) => Ok(Self::Activity(activity)),
            (None, Some(sequence), None) => Ok(Self::Sequence(sequence)),
            (None, None, Some(parallel)) => Ok(Self::Parallel(parallel)),
            _ => Err("a statement has exactly one of the keys activity, sequence and parallel"),
        }
    }
}
