//! Reads, checks and draws documents, without a server.

use dsl::document::Document;
use proptest::{collection, prelude::*, sample};
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub(crate) const SEQUENCE: &str = include_str!("../documents/sequence.yaml");
pub(crate) const PARALLEL: &str = include_str!("../documents/parallel.yaml");
pub(crate) const VERSION_1: &str = include_str!("../documents/version-1.json");

/// Returns the fault of a document in JSON.
fn fault(document: Value) -> String {
    match Document::try_from(document.clone()) {
        Ok(_) => panic!("no fault in {document}"),
        Err(fault) => fault,
    }
}

pub(crate) fn call(name: &str, arguments: &[&str], result: &str) -> Value {
    json!({"activity": {"name": name, "arguments": arguments, "result": result}})
}

fn call_with(arguments: Value) -> Value {
    json!({"activity": {"name": "activity1", "arguments": arguments}})
}

fn sequence(elements: &[Value]) -> Value {
    json!({"sequence": {"elements": elements}})
}

fn parallel(branches: &[Value]) -> Value {
    json!({"parallel": {"branches": branches}})
}

/// A sequence in a sequence, and so on, with an activity as the innermost of `depth` statements.
fn nested(depth: usize) -> Value {
    (1..depth).fold(call("activity1", &["a"], "b"), |inner, _| {
        sequence(&[inner])
    })
}

/// A document with the variable `a`.
pub(crate) fn with_a(root: Value) -> Value {
    json!({"version": 2, "variables": {"a": "x"}, "root": root})
}

/// Every fault is found in the whole document, and its message begins with the path to it.
#[test]
fn names_the_place_of_a_fault() {
    let good = || call("activity1", &["a"], "b");
    let keys = "a statement has exactly one of the keys activity, sequence and parallel";
    let cases = [
        (json!([]), "a list is no document"),
        (
            json!({"root": [null, {"elements": []}, null]}),
            "`root`: a list does not belong here",
        ),
        (
            with_a(sequence(&[
                json!({"activity": ["activity1", ["a"], null, null]}),
            ])),
            "`root.sequence.elements[0].activity`: a list does not belong here",
        ),
        (
            with_a(call_with(json!([["a"]]))),
            "`root.activity.arguments[0]`: a list does not belong here",
        ),
        (json!({"version": 2}), "missing field `root`"),
        (
            json!({"root": null}),
            "`root`: invalid type: null, expected an object with a statement",
        ),
        (json!({"root": {}}), &format!("`root`: {keys}")),
        (
            with_a(sequence(&[
                good(),
                good(),
                json!({"activity": {"name": "activity1"}, "sequence": {"elements": []}}),
            ])),
            &format!("`root.sequence.elements[2]`: {keys}"),
        ),
        (
            with_a(sequence(&[good(), json!({"wait": {"seconds": 1}})])),
            "`root.sequence.elements[1].wait`: unknown field `wait`, expected one of `activity`, `sequence`, `parallel`",
        ),
        (
            with_a(parallel(&[good(), json!({"activity": {"name": 7}})])),
            "`root.parallel.branches[1].activity.name`: invalid type: integer `7`, expected a string",
        ),
        (
            with_a(json!({"activity": {"name": "activity1", "argument": "a"}})),
            "`root.activity.argument`: unknown field `argument`, expected one of `name`, `arguments`, `result`, \
             `timeout_seconds`",
        ),
        (
            with_a(json!({"sequence": {"elements": null}})),
            "`root.sequence.elements`: invalid type: null, expected a sequence",
        ),
        (
            json!({"variables": {"a": 1}, "root": good()}),
            "`variables.a`: invalid type: integer `1`, expected a string",
        ),
        (
            with_a(sequence(&[
                good(),
                parallel(&[good(), sequence(&[call("activity9", &["a"], "b")])]),
            ])),
            "`root.sequence.elements[1].parallel.branches[1].sequence.elements[0].activity.name`: unknown activity \
             \"activity9\", choose one of activity1, activity2, activity3, activity4, activity5",
        ),
        (
            with_a(sequence(&[good(), call("activity3", &["a"], "c")])),
            "`root.sequence.elements[1].activity.arguments`: activity3 takes 2 arguments, and there are 1",
        ),
        (
            with_a(json!({"activity": {"name": "activity1"}})),
            "`root.activity.arguments`: activity1 takes 1 arguments, and there are 0",
        ),
        (
            with_a(call("activity3", &["a", "b"], "b")),
            "`root.activity.arguments[1]`: the variable \"b\" is not set before this activity",
        ),
        (
            with_a(sequence(&[call("activity1", &["b"], "c"), good()])),
            "`root.sequence.elements[0].activity.arguments[0]`: the variable \"b\" is not set before this activity",
        ),
        (
            with_a(parallel(&[good(), call("activity1", &["b"], "c")])),
            "`root.parallel.branches[1].activity.arguments[0]`: the variable \"b\" is not set before this activity",
        ),
        (
            json!({"variables": {"a": "x", "b": "y"}, "root": good()}),
            "`variables.b`: no activity takes this variable",
        ),
        (
            with_a(
                json!({"activity": {"name": "activity1", "arguments": ["a"], "timeout_seconds": 0}}),
            ),
            "`root.activity.timeout_seconds`: invalid value: integer `0`, expected a nonzero u32",
        ),
    ];
    for (document, expected) in cases {
        assert_eq!(fault(document), expected);
    }
}

/// The published forms are read: without a version, and with `null` or nothing for what is optional. What one branch
/// sets is known after all branches.
#[test]
fn optional_fields_may_be_null() {
    let null = json!({"activity": {"name": "activity1", "arguments": ["a"], "result": null}, "sequence": null});
    let after = call("activity3", &["b", "c"], "d");
    let branches = parallel(&[
        call("activity1", &["a"], "b"),
        call("activity2", &["a"], "c"),
    ]);
    for document in [
        json!({"version": null, "variables": {"a": "x"}, "root": null_free(&null)}),
        with_a(null),
        with_a(sequence(&[branches, after])),
        json!({"variables": null, "root": sequence(&[])}),
        json!({"root": parallel(&[])}),
    ] {
        let read = Document::try_from(document.clone());
        assert!(read.is_ok(), "{document}: {read:?}");
    }
}

fn null_free(statement: &Value) -> Value {
    json!({"activity": statement["activity"]})
}

/// A document cannot be too deep or too long, nor its variables too large. At the limits it is accepted.
#[test]
fn has_limits() {
    let many = |count| {
        let calls: Vec<Value> = (1..count).map(|_| call("activity1", &["a"], "b")).collect();
        with_a(sequence(&calls))
    };
    let large = |bytes: usize| {
        // `{"a":""}` has eight bytes.
        json!({"variables": {"a": "x".repeat(bytes - 8)}, "root": call("activity1", &["a"], "b")})
    };
    for accepted in [with_a(nested(16)), many(500), large(512 * 1024)] {
        assert!(Document::try_from(accepted).is_ok());
    }
    let path = "root".to_owned() + &".sequence.elements[0]".repeat(16);
    assert_eq!(
        fault(with_a(nested(17))),
        format!("`{path}`: more than 16 levels")
    );
    let last = "`root.sequence.elements[499]`: more than 500 statements";
    assert_eq!(fault(many(501)), last);
    assert_eq!(
        fault(large(512 * 1024 + 1)),
        "`variables`: all variables together have 524289 bytes, more than the limit of 524288"
    );
}

/// In version 2, branches must not depend on which one is faster. In version 1 they may, as before. A newer version is
/// refused as such, whatever else it contains.
#[test]
fn versions_differ() {
    let race = "`root.parallel.branches[1]`: this branch and an earlier one use the variable";
    for (branches, name) in [
        (
            [
                call("activity1", &["a"], "b"),
                call("activity2", &["a"], "b"),
            ],
            "b",
        ),
        (
            [
                call("activity1", &["a"], "a"),
                call("activity2", &["a"], "b"),
            ],
            "a",
        ),
        (
            [
                call("activity1", &["a"], "b"),
                call("activity2", &["a"], "a"),
            ],
            "a",
        ),
    ] {
        let mut document = with_a(parallel(&branches));
        let expected = format!("{race} {name:?}, and one of them sets it");
        assert_eq!(fault(document.clone()), expected);
        for old in [json!(1), json!(null)] {
            document["version"] = old;
            assert!(Document::try_from(document.clone()).is_ok());
        }
    }
    let mut timeout = json!({"name": "activity1", "arguments": ["a"], "timeout_seconds": 1});
    let mut document = with_a(json!({"activity": timeout.take()}));
    assert!(Document::try_from(document.clone()).is_ok());
    document["version"] = json!(1);
    assert_eq!(
        fault(document),
        "`root.activity.timeout_seconds`: version 1 has no such field, write `version: 2`"
    );
    for version in [json!(3), json!(0), json!("2"), json!(2.0)] {
        let document = json!({"version": version, "program": [], "root": {"wait": 1}});
        let expected = format!("`version`: {version} is unknown, write 1 or 2");
        assert_eq!(fault(document), expected);
    }
}

/// YAML and JSON give the same document, and it survives the way to the worker.
#[test]
fn reads_yaml_and_json() -> anyhow::Result<()> {
    for text in [SEQUENCE, PARALLEL, VERSION_1] {
        let document = Document::from_yaml(text).map_err(anyhow::Error::msg)?;
        let json = serde_json::to_string_pretty(&document)?;
        assert_eq!(Document::from_yaml(&json).as_ref(), Ok(&document));
        assert_eq!(serde_json::from_str::<Document>(&json)?, document);
    }
    Ok(())
}

/// A text that is not YAML is refused with its line. So is one that would need much more memory than its size.
#[test]
fn refuses_bad_yaml() {
    let bomb: String = (1..30).fold("a0: &a0 [x, x]\n".to_owned(), |text, level| {
        let last = level - 1;
        format!("{text}a{level}: &a{level} [*a{last}, *a{last}]\n")
    });
    let cases = [
        ("root: [", "not YAML: "),
        ("root:\n\t- a", "not YAML: "),
        ("a: 1\na: 2", "not YAML: "),
        (&bomb, "not YAML: "),
        (&"[".repeat(100_000), "not YAML: "),
        ("", "invalid type: null, expected an object with a `root`"),
        (
            "root: { activity: { name: activity9 } }",
            "`root.activity.name`: unknown activity",
        ),
    ];
    for (text, reason) in cases {
        let start: String = text.chars().take(40).collect();
        let read = Document::from_yaml(text);
        let fault = read.expect_err(&start);
        assert!(fault.starts_with(reason), "{start}: {fault}");
        assert_eq!(fault.lines().count(), 1, "{fault}");
    }
}

/// The README shows the diagram of a document.
#[test]
fn draws_the_diagram_of_the_readme() -> anyhow::Result<()> {
    let document = Document::from_yaml(PARALLEL).map_err(anyhow::Error::msg)?;
    let block = format!("```mermaid\n{}```\n", document.diagram());
    let readme = include_str!("../README.md");
    assert!(readme.contains(&block), "{block}");
    Ok(())
}

/// A name cannot become part of the diagram's code.
#[test]
fn names_are_escaped_in_the_diagram() -> anyhow::Result<()> {
    let name = "a\"]\n    x --> y;<b>`#é";
    let root = json!({"activity": {"name": "activity1", "arguments": [name]}});
    let document = json!({"variables": {name: "x"}, "root": root});
    let document = Document::try_from(document).map_err(anyhow::Error::msg)?;
    let escaped = "a#34;#93;#10;    x --#62; y#59;#60;b#62;#96;#35;é";
    assert_eq!(
        document.diagram(),
        format!(
            "flowchart TD\n    n1([\"{escaped}\"])\n    n2[\"activity1({escaped})\"]\n    n1 --> n2\n    \
             n3([\"end\"])\n    n2 --> n3\n"
        )
    );
    Ok(())
}

/// Generates statements with few variables, so that many of them use the same.
fn statements() -> impl Strategy<Value = Value> {
    let names = || sample::select(vec!["a", "b", "c"]);
    let activity = (names(), names(), names()).prop_map(|(one, two, result)| match one < two {
        true => call("activity1", &[one], result),
        false => call("activity3", &[one, two], result),
    });
    activity.prop_recursive(3, 8, 3, |inner| {
        let inner = || collection::vec(inner.clone(), 0..4);
        prop_oneof![
            inner().prop_map(|elements| sequence(&elements)),
            inner().prop_map(|branches| parallel(&branches)),
        ]
    })
}

/// Executes a statement, and its branches one after the other, forwards or backwards.
fn execute(
    statement: &Value,
    backwards: bool,
    variables: &mut BTreeMap<String, String>,
) -> Result<(), String> {
    let list = |list: &Value| list.as_array().cloned().unwrap_or_default();
    let activity = &statement["activity"];
    if activity.is_object() {
        let mut text = activity["name"].to_string();
        for argument in list(&activity["arguments"]) {
            let name = argument.as_str().unwrap_or_default();
            text += variables.get(name).ok_or_else(|| format!("no {name}"))?;
        }
        variables.insert(activity["result"].as_str().unwrap_or_default().into(), text);
    }
    let elements = list(&statement["sequence"]["elements"]);
    let mut branches = list(&statement["parallel"]["branches"]);
    if backwards {
        branches.reverse();
    }
    for inner in elements.iter().chain(&branches) {
        execute(inner, backwards, variables)?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Whatever the document, if it is accepted, each activity finds its variables. In version 2, the result does not
    /// depend on the order of the branches.
    #[test]
    fn an_accepted_document_can_run(root in statements(), version in 1..=2) {
        let uses = root.to_string();
        let variables: BTreeMap<String, String> = ["a", "b"]
            .into_iter()
            .filter(|name| uses.contains(&format!("{name:?}")))
            .map(|name| (name.to_owned(), name.to_owned()))
            .collect();
        let document = json!({"version": version, "variables": variables, "root": root});
        if Document::try_from(document).is_ok() {
            let (mut forwards, mut backwards) = (variables.clone(), variables);
            execute(&root, false, &mut forwards).map_err(TestCaseError::fail)?;
            execute(&root, true, &mut backwards).map_err(TestCaseError::fail)?;
            if version == 2 {
                prop_assert_eq!(forwards, backwards);
            }
        }
    }
}
