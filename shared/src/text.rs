//! Makes text from outside safe to print in a terminal: ids, names and messages that anybody can choose.

/// Returns the text with its control characters escaped, as in `\u{1b}` or `\n`.
///
/// A terminal obeys control characters, so an id could recolour, overwrite or hide the text that
/// follows it. The same applies to characters that change the direction of the text.
///
/// ```
/// assert_eq!(shared::printable("a\u{1b}[31m b"), r"a\u{1b}[31m b");
/// ```
pub fn printable(text: &str) -> String {
    escaped(text, |c| c.escape_default().to_string())
}

/// Returns the text in one printable line: each run of white space becomes a single space.
pub(crate) fn one_line(text: &str) -> String {
    printable(&text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Returns JSON with the same meaning that is [`printable`]. serde_json escapes only the characters that
/// JSON requires, which leaves DEL and the C1 control characters.
pub(crate) fn printable_json(json: &str) -> String {
    // All of them are in strings, and have four hexadecimal digits.
    escaped(json, |c| format!("\\u{:04x}", u32::from(c)))
}

fn escaped(text: &str, escape: impl Fn(char) -> String) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match is_control(c) {
            true => escaped.push_str(&escape(c)),
            false => escaped.push(c),
        }
    }
    escaped
}

/// Whether a terminal obeys the character instead of showing it.
pub(crate) fn is_control(c: char) -> bool {
    // Quicker, and most of a long text is ASCII.
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    let changes_direction = ['\u{61c}', '\u{200e}', '\u{200f}'].contains(&c)
        || ('\u{202a}'..='\u{202e}').contains(&c)
        || ('\u{2066}'..='\u{2069}').contains(&c);
    let separates_lines = ['\u{2028}', '\u{2029}'].contains(&c);
    c.is_control() || changes_direction || separates_lines
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything that a terminal would obey is escaped, and everything else stays as it is.
    #[test]
    fn control_characters_are_escaped() {
        let cases = [
            ("Zoë/東京 100% 🦀 \\ \"'", "Zoë/東京 100% 🦀 \\ \"'"),
            ("a\r\n\tb", "a\\r\\n\\tb"),
            ("\u{1b}[2J\u{7}\0", "\\u{1b}[2J\\u{7}\\u{0}"),
            ("\u{7f}\u{9b}31m\u{85}", "\\u{7f}\\u{9b}31m\\u{85}"),
            ("a\u{202e}b\u{2066}", "a\\u{202e}b\\u{2066}"),
            ("a\u{2028}b", "a\\u{2028}b"),
        ];
        for (text, expected) in cases {
            assert_eq!(printable(text), expected);
            assert!(!printable(text).chars().any(is_control));
        }
        assert_eq!(one_line(" a\n\n b\u{1b}\tc "), "a b\\u{1b} c");
    }

    /// Printable JSON decodes to the same value.
    #[test]
    fn printable_json_means_the_same() -> anyhow::Result<()> {
        let text = "a\u{1b}\u{7f}\u{9b}31m\u{202e}\u{2028}\"\\é\n";
        let json = printable_json(&serde_json::to_string(text)?);
        assert!(!json.chars().any(is_control), "{json}");
        assert_eq!(serde_json::from_str::<String>(&json)?, text);
        Ok(())
    }
}
