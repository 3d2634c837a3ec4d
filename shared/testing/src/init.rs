//! Allows an `#[init]` that only moves values, and refuses any other.
//!
//! The SDK calls `#[init]` from the worker's own loop, so a panic in there ends the worker with all its
//! workflows, and the task goes to the next worker. A panic in `run` fails only the workflow's own task.
//! Without `#[init]`, the state starts as `Default`, and a signal that arrives before the first line of
//! `run` finds it like that.
//!
//! Whether an `#[init]` can panic shows in its source: its body must be a struct whose fields are the
//! argument or parts of it, constants, `None`, `Some(…)` of those, `Vec::new()` and the like without
//! arguments, and `Default::default()`. `let` may take the argument apart before. Everything else belongs
//! in `run`.

use anyhow::{Context, bail, ensure};
use std::{
    fs,
    path::{Path, PathBuf},
};
use syn::{
    Block, Expr, ExprCall, ImplItem, ItemImpl, Local, LocalInit, Stmt, Type,
    visit::{self, Visit},
};
use temporalio_sdk::WorkflowDefinitions;

/// Checks the `#[init]` of these workflows in the sources of the package under test, whose folder is the
/// current one.
///
/// # Errors
/// If an `#[init]` does more than move values, or is in another package.
pub(crate) fn check(workflows: &WorkflowDefinitions) -> anyhow::Result<()> {
    let registered: Vec<&str> = workflows
        .workflow_definitions()
        .filter(|workflow| workflow.has_init)
        .map(|workflow| workflow.workflow_type.as_str())
        .collect();
    if registered.is_empty() {
        return Ok(());
    }
    let mut found = 0;
    for file in ["src", "tests"].iter().flat_map(rust_files) {
        let source = fs::read_to_string(&file)?;
        for init in inits(&source).with_context(|| format!("cannot parse {}", file.display()))? {
            ensure!(
                init.only_moves,
                "{}: the `#[init]` of {} does more than move values, and a panic in it would end the \
                 whole worker; do the rest in `run`",
                file.display(),
                init.workflow
            );
            found += 1;
        }
    }
    if found < registered.len() {
        bail!(
            "cannot find the `#[init]` of {} in the sources of this package; define the workflow where it \
             is tested",
            registered.join(", ")
        );
    }
    Ok(())
}

/// Returns the Rust files in a folder and below. Empty if there is no such folder.
fn rust_files(folder: impl AsRef<Path>) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let files = entries.map(|entry| entry.path()).flat_map(|path| {
        if path.is_dir() {
            rust_files(path)
        } else {
            vec![path]
        }
    });
    let rust = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "rs");
    files.filter(rust).collect()
}

/// An `#[init]` in a source file.
struct Init {
    workflow: String,
    only_moves: bool,
}

fn inits(source: &str) -> anyhow::Result<Vec<Init>> {
    let mut found = Found(Vec::new());
    // Most files have none.
    if source.contains("#[init]") {
        found.visit_file(&syn::parse_file(source)?);
    }
    Ok(found.0)
}

struct Found(Vec<Init>);

impl Visit<'_> for Found {
    fn visit_item_impl(&mut self, item: &ItemImpl) {
        for function in &item.items {
            if let ImplItem::Fn(function) = function
                && function
                    .attrs
                    .iter()
                    .any(|attr| attr.path().is_ident("init"))
            {
                self.0.push(Init {
                    workflow: name(&item.self_ty),
                    only_moves: only_moves(&function.block),
                });
            }
        }
        visit::visit_item_impl(self, item);
    }
}

fn name(of: &Type) -> String {
    let last = match of {
        Type::Path(path) => path.path.segments.last(),
        _ => None,
    };
    last.map_or("a workflow".to_owned(), |last| last.ident.to_string())
}

fn only_moves(body: &Block) -> bool {
    let takes_apart = |statement: &Stmt| {
        matches!(
            statement,
            Stmt::Local(Local { init: Some(LocalInit { expr, diverge: None, .. }), .. }) if moves(expr)
        )
    };
    match body.stmts.split_last() {
        Some((Stmt::Expr(state, None), before)) => moves(state) && before.iter().all(takes_apart),
        _ => false,
    }
}

fn moves(value: &Expr) -> bool {
    match value {
        Expr::Lit(_) | Expr::Path(_) => true,
        Expr::Field(field) => moves(&field.base),
        Expr::Tuple(tuple) => tuple.elems.iter().all(moves),
        Expr::Struct(state) => {
            let rest = state.rest.as_deref();
            state.fields.iter().all(|field| moves(&field.expr)) && rest.is_none_or(moves)
        }
        Expr::Call(call) => constructs(call) && call.args.iter().all(moves),
        _ => false,
    }
}

/// Whether it is `Some(…)` or another tuple, or a `new()` or `default()` without arguments.
fn constructs(call: &ExprCall) -> bool {
    let Expr::Path(function) = &*call.func else {
        return false;
    };
    let last = function.path.segments.last();
    let name = last.map_or(String::new(), |last| last.ident.to_string());
    name.starts_with(char::is_uppercase)
        || (call.args.is_empty() && ["default", "new"].contains(&&*name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(body: &str) -> anyhow::Result<bool> {
        let source = format!(
            "mod inner {{ #[workflow_methods] impl a::Orders {{ #[init] \
             fn new(_ctx: &WorkflowContextView, input: Input) -> Self {{ {body} }} \
             #[run] async fn run() {{ panic!() }} }} }}"
        );
        let inits = inits(&source)?;
        let [init] = &inits[..] else {
            bail!("{} found", inits.len());
        };
        assert_eq!(init.workflow, "Orders");
        Ok(init.only_moves)
    }

    /// An `#[init]` that only moves values is allowed. Everything that could panic is not.
    #[test]
    fn only_what_moves() -> anyhow::Result<()> {
        for body in [
            "Self { input }",
            "Self { input, pending: Vec::new(), limit: LIMIT, last: None, done: 0 }",
            "Self { name: input.order.name, at: Some(input.at), ..Self::default() }",
            "let Input { name, at } = input; Self { name, at, rest: Default::default() }",
            "Self(input)",
        ] {
            assert!(allowed(body)?, "{body}");
        }
        for body in [
            "panic!()",
            "todo!()",
            "Self { name: input.into_result().unwrap() }",
            "Self { name: input.name.clone() }",
            "Self { first: input.names[0] }",
            "Self { each: input.sum / input.count }",
            "Self { pattern: Regex::new(input.pattern) }",
            "Self { name: name_of(input) }",
            "check(&input); Self { input }",
            "let Some(name) = input.name else { panic!() }; Self { name }",
            "if input.is_empty() { panic!() } Self { input }",
            "",
        ] {
            assert!(!allowed(body)?, "{body}");
        }
        Ok(())
    }
}
