//! Compares the JSON and the schema of the model with those that Pydantic 2.14 produces for this code:
//!
//! ```python
//! class MyModel(BaseModel):
//!     some_ip: IPv4Address
//!     some_date: datetime
//!     lease: Optional[timedelta] = None
//!     fee: Optional[Decimal] = None
//!     kind: Optional[Kind] = None
//!
//! TypeAdapter(Annotated[list[MyModel], Field(max_length=1000)]).json_schema()
//! ```

use regex::Regex;
use schemars::schema_for;
use serde_json::{Value, json};
use std::{collections::BTreeSet, process::Command};
use typed_payloads::models::MyModels;

/// JSON that Pydantic has written can be read, and is written again byte for byte.
#[test]
fn json_is_the_same_as_pydantics() -> anyhow::Result<()> {
    let cases = [
        r#"[]"#,
        r#"[{"some_ip":"127.0.0.1","some_date":"2000-01-02T03:04:05"}]"#,
        r#"[{"some_ip":"127.0.0.1","some_date":"0001-01-01T00:00:00"}]"#,
        r#"[{"some_ip":"127.0.0.1","some_date":"9999-12-31T23:59:59.999999"}]"#,
        r#"[{"some_ip":"127.0.0.1","some_date":"2000-01-02T03:04:05.500000"}]"#,
        r#"[{"some_ip":"127.0.0.1","some_date":"2000-01-02T03:04:05.000006","kind":"fixed"}]"#,
        r#"[{"some_ip":"127.0.0.1","some_date":"2000-01-02T03:04:05","lease":"PT0S"}]"#,
        r#"[{"some_ip":"127.0.0.1","some_date":"2000-01-02T03:04:05","lease":"PT1.5S"}]"#,
        r#"[{"some_ip":"127.0.0.1","some_date":"2000-01-02T03:04:05","lease":"P1DT12H"}]"#,
        r#"[{"some_ip":"127.0.0.1","some_date":"2000-01-02T03:04:05","lease":"P1Y1D"}]"#,
        r#"[{"some_ip":"127.0.0.1","some_date":"2000-01-02T03:04:05","fee":"12.50"}]"#,
        r#"[{"some_ip":"127.0.0.1","some_date":"2000-01-02T03:04:05","fee":"0.000001"}]"#,
        r#"[{"some_ip":"127.0.0.1","some_date":"2000-01-02T03:04:05","lease":"PT1H30M","fee":"0","kind":"leased"}]"#,
    ];
    for json in cases {
        let models: MyModels = serde_json::from_str(json)?;
        assert_eq!(serde_json::to_string(&models)?, json);
    }
    Ok(())
}

/// JSON from other clients can be read too: `null`, an unknown field, a number for a decimal, an exponent. It is
/// written in the form that Pydantic uses.
#[test]
fn reads_more_than_it_writes() -> anyhow::Result<()> {
    let with = |later: Value| -> anyhow::Result<Value> {
        let mut model = json!({"some_ip": "127.0.0.1", "some_date": "2000-01-02T03:04:05"});
        for (field, value) in later.as_object().into_iter().flatten() {
            model[field] = value.clone();
        }
        let models: MyModels = serde_json::from_value(json!([model]))?;
        let mut written = serde_json::to_value(models)?[0].take();
        if let Some(model) = written.as_object_mut() {
            model.retain(|field, _| !field.starts_with("some_"));
        }
        Ok(written)
    };
    assert_eq!(
        with(json!({"lease": null, "fee": null, "kind": null}))?,
        json!({})
    );
    assert_eq!(with(json!({"colour": "green"}))?, json!({}));
    assert_eq!(with(json!({"fee": 19.99}))?, json!({"fee": "19.99"}));
    assert_eq!(with(json!({"fee": "1E+3"}))?, json!({"fee": "1000"}));
    assert_eq!(with(json!({"fee": 1e3}))?, json!({"fee": "1000.0"}));
    assert_eq!(
        with(json!({"lease": "PT90M"}))?,
        json!({"lease": "PT1H30M"})
    );
    Ok(())
}

/// A fee that matches the schema's pattern is read exactly, and any other fee is refused. A fee with more digits than a
/// `Decimal` can hold is refused too, because it would be rounded.
#[test]
fn fees_fit_the_schema() -> anyhow::Result<()> {
    let schema = serde_json::to_value(schema_for!(MyModels))?;
    let pattern = &schema["$defs"]["MyModel"]["properties"]["fee"]["pattern"];
    let pattern = Regex::new(pattern.as_str().unwrap_or_default())?;
    let read = |fee: &str| -> Result<Value, String> {
        let model =
            json!([{"some_ip": "127.0.0.1", "some_date": "2000-01-02T03:04:05", "fee": fee}]);
        let models: Result<MyModels, _> = serde_json::from_value(model);
        let models = models.map_err(|error| error.to_string())?;
        serde_json::to_value(models)
            .map(|models| models[0]["fee"].clone())
            .map_err(|error| error.to_string())
    };
    for (fee, exact) in [
        ("12.50", "12.50"),
        ("+5", "5"),
        ("007", "7"),
        ("1E+3", "1000"),
        ("1.5e-3", "0.0015"),
        ("12345678901234567.89", "12345678901234567.89"),
        (
            "0.1234567890123456789012345678",
            "0.1234567890123456789012345678",
        ),
    ] {
        assert!(pattern.is_match(fee), "{fee}");
        assert_eq!(read(fee), Ok(json!(exact)));
    }
    for fee in [
        "", "-", "1_000", ".5", "5.", "1e", "1e1.5", "NaN", "1,5", "0x1", " 1",
    ] {
        assert!(!pattern.is_match(fee), "{fee}");
        assert_eq!(read(fee), Err(format!("{fee} is not like 12.50")));
    }
    for fee in [
        "0.12345678901234567890123456789",
        "79228162514264337593543950336",
        "1e29",
    ] {
        assert!(pattern.is_match(fee), "{fee}");
        let reason = format!("{fee} is out of range: ");
        assert!(read(fee).is_err_and(|error| error.starts_with(&reason)));
    }
    Ok(())
}

/// Returns what a client needs to know about a field: its types, its format and its values.
fn facts(root: &Value, schema: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (keyword, value) in schema.as_object().into_iter().flatten() {
        match (keyword.as_str(), value) {
            ("$ref", Value::String(name)) => {
                let target = root.pointer(name.trim_start_matches('#'));
                found.extend(facts(root, target.unwrap_or(&Value::Null)));
            }
            ("anyOf" | "oneOf", Value::Array(choices)) => {
                found.extend(choices.iter().flat_map(|choice| facts(root, choice)));
            }
            ("type" | "enum", Value::Array(values)) => {
                found.extend(values.iter().map(Value::to_string));
            }
            ("type" | "format" | "const", value) => {
                found.insert(value.to_string());
            }
            _ => {}
        }
    }
    found
}

/// The schema says the same as Pydantic's, except about the time zone: in JSON Schema a `date-time` has one, which this
/// model rejects.
#[test]
fn schema_is_the_same_as_pydantics() -> anyhow::Result<()> {
    let ours = serde_json::to_value(schema_for!(MyModels))?;
    let pydantics: Value = serde_json::from_str(
        &include_str!("pydantic-schema.json").replace("date-time", "partial-date-time"),
    )?;
    for keyword in ["type", "items", "maxItems"] {
        assert_eq!(ours[keyword], pydantics[keyword], "{keyword}");
    }
    let (ours_model, pydantics_model) = (&ours["$defs"]["MyModel"], &pydantics["$defs"]["MyModel"]);
    assert_eq!(ours_model["required"], pydantics_model["required"]);
    for field in ["some_ip", "some_date", "lease", "fee", "kind"] {
        let (ours_field, pydantics_field) = (
            &ours_model["properties"][field],
            &pydantics_model["properties"][field],
        );
        let expected = facts(&pydantics, pydantics_field);
        assert!(!expected.is_empty(), "{field}");
        assert_eq!(facts(&ours, ours_field), expected, "{field}");
    }
    Ok(())
}

/// The starter prints the schema as its result, without a server.
#[test]
fn starter_prints_the_schema() -> anyhow::Result<()> {
    let output = Command::new(env!("CARGO_BIN_EXE_typed-payloads-starter"))
        .args(["--address", "nowhere.invalid:7233", "--schema"])
        .output()?;
    let stdout = String::from_utf8(output.stdout)?;
    assert_eq!(stdout.lines().count(), 1, "{stdout}");
    let schema = stdout.strip_prefix("result: ").unwrap_or_default();
    let schema: Value = serde_json::from_str(schema)?;
    assert_eq!(schema, serde_json::to_value(schema_for!(MyModels))?);
    Ok(())
}
