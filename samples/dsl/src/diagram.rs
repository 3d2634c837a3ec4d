//! Draws a document as a mermaid flowchart, which GitHub and many editors show.

use crate::document::{Activity, Document, Parallel, Sequence, Statement};

pub(crate) fn diagram(document: &Document) -> String {
    let mut drawing = Drawing {
        text: "flowchart TD\n".to_owned(),
        nodes: 0,
    };
    let names: Vec<&str> = document.variables.keys().map(String::as_str).collect();
    let start = drawing.node("([", &names.join(", "), "])");
    let last = drawing.statement(&document.root, start);
    let end = drawing.node("([", "end", "])");
    drawing.edge(last, end);
    drawing.text
}

struct Drawing {
    text: String,
    nodes: usize,
}

impl Drawing {
    /// Draws a statement after the node `from`, and returns its last node.
    fn statement(&mut self, statement: &Statement, from: usize) -> usize {
        match statement {
            Statement::Activity(activity) => {
                let call = self.node("[", &call(activity), "]");
                self.edge(from, call);
                call
            }
            Statement::Sequence(Sequence { elements }) => elements
                .iter()
                .fold(from, |last, element| self.statement(element, last)),
            Statement::Parallel(Parallel { branches }) => {
                let fork = self.node("{{", "parallel", "}}");
                self.edge(from, fork);
                let ends: Vec<usize> = branches
                    .iter()
                    .map(|branch| self.statement(branch, fork))
                    .collect();
                let join = self.node("{{", "all done", "}}");
                for end in ends {
                    self.edge(end, join);
                }
                join
            }
        }
    }

    fn node(&mut self, open: &str, label: &str, close: &str) -> usize {
        self.nodes += 1;
        let (number, label) = (self.nodes, escaped(label));
        self.text += &format!("    n{number}{open}\"{label}\"{close}\n");
        number
    }

    fn edge(&mut self, from: usize, to: usize) {
        self.text += &format!("    n{from} --> n{to}\n");
    }
}

/// The call as a line of code: `result = activity(argument)`.
fn call(activity: &Activity) -> String {
    let arguments: Vec<&str> = activity
        .arguments
        .iter()
        .flatten()
        .map(String::as_str)
        .collect();
    let call = format!("{}({})", activity.name, arguments.join(", "));
    match &activity.result {
        Some(result) => format!("{result} = {call}"),
        None => call,
    }
}

/// A name comes from a client, and must not become part of the diagram's code.
fn escaped(label: &str) -> String {
    let mut escaped = String::with_capacity(label.len());
    for character in label.chars() {
        match character {
            plain if plain.is_alphanumeric() || " ,_-=()".contains(plain) => escaped.push(plain),
            special => escaped += &format!("#{};", u32::from(special)),
        }
    }
    escaped
}
