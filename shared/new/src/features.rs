//! `shared` without the features that a sample does not ask for.

use anyhow::Context;
use proc_macro2::{Delimiter, TokenStream, TokenTree};
use regex::Regex;
use std::{collections::BTreeSet, ops::Range, path::Path};

/// What a project is without.
pub struct Unwanted {
    features: BTreeSet<String>,
    /// The modules that these features bring.
    modules: Vec<String>,
}

impl Unwanted {
    /// By what `lib.rs` has behind features, and those of them that are wanted.
    pub fn new(
        lib: &str,
        known: &BTreeSet<String>,
        wanted: &BTreeSet<String>,
    ) -> anyhow::Result<Self> {
        let behind = Regex::new(r#"(?m)^#\[cfg\(feature = "([a-z-]+)"\)\]\n(?:pub )?mod (\w+);"#)?;
        let modules = behind
            .captures_iter(lib)
            .filter(|found| !wanted.contains(&found[1]))
            .map(|found| found[2].to_owned());
        Ok(Self {
            modules: modules.collect(),
            features: known.difference(wanted).cloned().collect(),
        })
    }

    /// Whether a file, relative to `src`, belongs to such a module.
    pub fn has(&self, file: &Path) -> bool {
        self.modules
            .iter()
            .any(|module| file.starts_with(module) || file == Path::new(&format!("{module}.rs")))
    }

    /// The source without what such a feature brings, and without asking for it.
    pub fn without(&self, source: &str) -> anyhow::Result<String> {
        if !source.contains("feature = ") {
            return Ok(source.to_owned());
        }
        let mut cuts = Vec::new();
        self.walk(crate::names::tokens(source)?, &mut cuts);
        let mut kept = source.to_owned();
        for cut in cuts.into_iter().rev() {
            kept.replace_range(whole_lines(source, cut), "");
        }
        let left = self
            .features
            .iter()
            .find(|feature| kept.contains(&format!("feature = \"{feature}\"")));
        match left {
            None => Ok(kept),
            Some(feature) => Err(anyhow::anyhow!("cannot be taken without {feature}")),
        }
    }

    fn walk(&self, tokens: TokenStream, cuts: &mut Vec<Range<usize>>) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut index = 0;
        while let Some(token) = tokens.get(index) {
            let attributes = attributes(&tokens, index);
            if attributes == 0 {
                if let TokenTree::Group(group) = token {
                    self.walk(group.stream(), cuts);
                }
                index += 1;
                continue;
            }
            let all = &tokens[index..index + 2 * attributes];
            let pairs = all
                .chunks(2)
                .filter_map(|pair| Some((pair, self.holds(pair)?)));
            let pairs: Vec<_> = pairs.collect();
            index += 2 * attributes;
            if pairs.iter().any(|(_, holds)| !holds) {
                let end = end_of_item(&tokens, index);
                cuts.push(start(&all[0])..tokens[end - 1].span().byte_range().end);
                index = end;
            } else {
                cuts.extend(
                    pairs
                        .iter()
                        .map(|(pair, _)| start(&pair[0])..pair[1].span().byte_range().end),
                );
            }
        }
    }

    /// What a `cfg` comes to without these features; nothing if it does not ask for one.
    fn holds(&self, attribute: &[TokenTree]) -> Option<bool> {
        let text = attribute.get(1)?.to_string().replace(' ', "");
        let asked = text.strip_prefix("[cfg(")?.strip_suffix(")]")?;
        let feature = |asked: &str| {
            let feature = asked.strip_prefix("feature=\"")?.strip_suffix('"')?;
            self.features.contains(feature).then_some(())
        };
        match asked
            .strip_prefix("not(")
            .and_then(|not| not.strip_suffix(')'))
        {
            Some(asked) => feature(asked).map(|()| true),
            None => feature(asked).map(|()| false),
        }
    }
}

/// With the indentation before, and the end of the line.
fn whole_lines(source: &str, cut: Range<usize>) -> Range<usize> {
    let (before, after) = (&source[..cut.start], &source[cut.end..]);
    let indented = before.trim_end_matches(' ').len();
    if (indented == 0 || before[..indented].ends_with('\n')) && after.starts_with('\n') {
        indented..cut.end + 1
    } else {
        cut
    }
}

fn start(token: &TokenTree) -> usize {
    token.span().byte_range().start
}

/// How many outer attributes begin here; each is `#` and a group.
fn attributes(tokens: &[TokenTree], from: usize) -> usize {
    let pairs = tokens.get(from..).unwrap_or_default().chunks(2);
    pairs
        .take_while(|pair| match pair {
            [TokenTree::Punct(hash), TokenTree::Group(group)] => {
                hash.as_char() == '#' && group.delimiter() == Delimiter::Bracket
            }
            _ => false,
        })
        .count()
}

/// Where an item, a statement, a field or an arm ends that begins here: after a `;` or `,` of its own
/// or after its braces, unless these are within a `use` or a `let`.
fn end_of_item(tokens: &[TokenTree], from: usize) -> usize {
    let (mut depth, mut to_the_end) = (0_i32, false);
    for (index, token) in tokens.iter().enumerate().skip(from) {
        match token {
            TokenTree::Ident(word) => to_the_end |= *word == "use" || *word == "let",
            TokenTree::Punct(punct) => match punct.as_char() {
                ';' => return index + 1,
                ',' if depth <= 0 && !to_the_end => return index + 1,
                '<' => depth += 1,
                '>' => depth -= 1,
                _ => {}
            },
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace && !to_the_end => {
                return index + 1;
            }
            _ => {}
        }
    }
    tokens.len()
}

/// The features of a manifest.
pub fn known(manifest: &toml_edit::DocumentMut) -> anyhow::Result<BTreeSet<String>> {
    let features = manifest["features"].as_table().context("no features")?;
    Ok(features.iter().map(|(name, _)| name.to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Modules, imports, fields and statements go, with their comments; what stands in for them stays.
    #[test]
    fn items_go() -> anyhow::Result<()> {
        let features = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect();
        let lib = "#[cfg(feature = \"a\")]\npub mod x;\n#[cfg(feature = \"b\")]\nmod y;\n";
        let unwanted = Unwanted::new(lib, &features(&["a", "b"]), &features(&["b"]))?;
        assert!(unwanted.has(Path::new("x.rs")) && unwanted.has(Path::new("x/z.rs")));
        assert!(!unwanted.has(Path::new("y.rs")));
        let cases = [
            (lib, "#[cfg(feature = \"b\")]\nmod y;\n"),
            (
                "#[cfg(feature = \"a\")]\npub use x::{p, q};\nfn f() {}\n",
                "fn f() {}\n",
            ),
            (
                "struct S {\n    /// Why.\n    #[cfg(feature = \"a\")]\n    x: Map<A, B>,\n    y: u8,\n}\n",
                "struct S {\n    y: u8,\n}\n",
            ),
            (
                "fn f() {\n    #[cfg(feature = \"a\")]\n    let x = X { y: 1 };\n    g();\n}\n",
                "fn f() {\n    g();\n}\n",
            ),
            ("#[cfg(not(feature = \"a\"))]\nfn f() {}\n", "fn f() {}\n"),
        ];
        for (source, expected) in cases {
            assert_eq!(unwanted.without(source)?, expected);
        }
        let error = unwanted.without("#[cfg(any(feature = \"a\", unix))]\nfn f() {}\n");
        assert!(error.is_err(), "what it cannot decide is refused");
        Ok(())
    }
}
