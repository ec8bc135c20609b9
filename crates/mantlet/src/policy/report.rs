//! What a command has to say, and whether it is good news.

/// Text for standard output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    pub text: String,
    pub good: bool,
}

/// XML 1.0, 2.2 and 2.4: five characters are written as entities, and controls but tab and line ends cannot be written at all.
pub(crate) fn xml(text: &str) -> String {
    let mut written = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => written.push_str("&amp;"),
            '<' => written.push_str("&lt;"),
            '>' => written.push_str("&gt;"),
            '"' => written.push_str("&quot;"),
            '\'' => written.push_str("&apos;"),
            '\n' | '\r' | '\t' => written.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => written.push('\u{fffd}'),
            c => written.push(c),
        }
    }
    written
}
