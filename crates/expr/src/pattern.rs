//! Regular expressions as Kubernetes has them: RE2's syntax, read as Go reads it.
//!
//! In: a pattern. Out: it, compiled, with what a byte of text costs to search. Refuses: what Go refuses, what is too large once compiled, and `\B` and `\C`.
//!
//! The crate `regex` reads nearly the same syntax, but where the two differ they differ in silence: `\d` is any digit of Unicode there,
//! `[a&&b]` an intersection, `\<` the start of a word. So every pattern is spelled anew: what Go takes literally is written
//! as a code point, and `\d`, `\s` and `\w` as the ASCII classes they are.

use std::iter::Peekable;
use std::str::Chars;

use regex::{Regex, RegexBuilder};

/// Times that Go lets one thing be repeated.
const MAX_REPEAT: u32 = 1000;
/// Bytes a compiled pattern may take, and what each byte of text is charged then: an automaton in no cache looks at all of itself for each byte.
const SIZES: [(usize, u64); 4] = [(16 << 10, 8), (64 << 10, 32), (256 << 10, 128), (1 << 20, 512)];

/// A pattern that is compiled, and what searching a byte with it costs.
#[derive(Debug)]
pub(crate) struct Pattern {
    pub(crate) regex: Regex,
    pub(crate) per_byte: u64,
}

pub(crate) fn pattern(source: &str) -> Result<Pattern, String> {
    let spelled = spelled(source)?;
    for (size, per_byte) in SIZES {
        match RegexBuilder::new(&spelled)
            .size_limit(size)
            .dfa_size_limit(size)
            .build()
        {
            Ok(regex) => return Ok(Pattern { regex, per_byte }),
            Err(regex::Error::CompiledTooBig(_)) => {}
            Err(fault) => return Err(told(&fault)),
        }
    }
    Err("the pattern is too large once compiled".into())
}

fn told(fault: &regex::Error) -> String {
    let text = fault.to_string();
    let last = text.lines().last().unwrap_or("not a pattern");
    last.trim_start_matches("error: ").into()
}

fn spelled(source: &str) -> Result<String, String> {
    let mut read = Reader {
        rest: source.chars().peekable(),
        out: String::with_capacity(source.len() + 16),
    };
    read.all()?;
    Ok(read.out)
}

struct Reader<'s> {
    rest: Peekable<Chars<'s>>,
    out: String,
}

impl Reader<'_> {
    fn all(&mut self) -> Result<(), String> {
        // What a `*` straight after another would repeat: Go refuses that, the crate reads it.
        let mut repeated = false;
        while let Some(c) = self.rest.next() {
            let repeats = match c {
                '*' | '+' | '?' => Some(c.to_string()),
                '{' => self.counted()?,
                _ => None,
            };
            if let Some(operator) = repeats {
                if repeated {
                    return Err("a repetition is repeated".into());
                }
                self.out.push_str(&operator);
                if self.rest.next_if_eq(&'?').is_some() {
                    self.out.push('?');
                }
                repeated = true;
                continue;
            }
            repeated = false;
            match c {
                '\\' => self.escape()?,
                '[' => self.class()?,
                '(' => self.group()?,
                '^' | '$' | '.' | '|' | ')' => self.out.push(c),
                _ => literal(&mut self.out, c),
            }
        }
        Ok(())
    }

    /// `{2}`, `{2,}` or `{2,3}`; any other brace is a letter like others.
    fn counted(&mut self) -> Result<Option<String>, String> {
        let mut ahead = self.rest.clone();
        let mut body = String::new();
        loop {
            match ahead.next() {
                Some('}') => break,
                Some(c @ ('0'..='9' | ',')) => body.push(c),
                _ => return Ok(None),
            }
        }
        let (least, most) = body.split_once(',').unwrap_or((&body, &body));
        if least.is_empty() || most.contains(',') {
            return Ok(None);
        }
        // Go 1.26 `regexp/syntax`, parseInt: no leading zeros; such a brace is a letter too.
        if [least, most].iter().any(|n| n.len() > 1 && n.starts_with('0')) {
            return Ok(None);
        }
        let count = |n: &str| n.parse::<u32>().ok().filter(|n| *n <= MAX_REPEAT);
        let (from, to) = (count(least), if most.is_empty() { count(least) } else { count(most) });
        match (from, to) {
            (Some(from), Some(to)) if from <= to => {}
            _ => return Err(format!("a repetition goes from 0 to {MAX_REPEAT} times")),
        }
        self.rest = ahead;
        Ok(Some(format!("{{{body}}}")))
    }

    fn group(&mut self) -> Result<(), String> {
        self.out.push('(');
        if self.rest.next_if_eq(&'?').is_none() {
            return Ok(());
        }
        self.out.push('?');
        while let Some(c) = self.rest.next() {
            match c {
                'i' | 'm' | 's' | 'U' | '-' => self.out.push(c),
                ':' | ')' => {
                    self.out.push(c);
                    return Ok(());
                }
                'P' if self.out.ends_with('?') => self.out.push(c),
                '<' if self.out.ends_with('?') || self.out.ends_with("?P") => {
                    self.out.push(c);
                    return self.name();
                }
                _ => return Err("this kind of group is not known".into()),
            }
        }
        Err("a group has no end".into())
    }

    fn name(&mut self) -> Result<(), String> {
        for c in self.rest.by_ref() {
            self.out.push(c);
            match c {
                '>' => return Ok(()),
                '_' | '0'..='9' | 'a'..='z' | 'A'..='Z' => {}
                _ => break,
            }
        }
        Err("the name of a group has letters, digits and `_`".into())
    }

    fn escape(&mut self) -> Result<(), String> {
        match self.rest.peek() {
            Some('Q') => {
                self.rest.next();
                self.quoted();
                return Ok(());
            }
            Some('A' | 'z') => {
                self.out.push('\\');
                self.out.extend(self.rest.next());
                return Ok(());
            }
            Some('b') => {
                self.rest.next();
                self.out.push_str(r"(?-u:\b)");
                return Ok(());
            }
            Some(c @ ('B' | 'C')) => return Err(format!("`\\{c}` is not offered here")),
            _ => {}
        }
        if let Some(set) = self.set()? {
            self.out.push_str(&set);
            return Ok(());
        }
        let c = self.escaped()?;
        literal(&mut self.out, c);
        Ok(())
    }

    /// `\Q..\E`, to the end if nothing ends it.
    fn quoted(&mut self) {
        while let Some(c) = self.rest.next() {
            if c == '\\' && self.rest.next_if_eq(&'E').is_some() {
                return;
            }
            literal(&mut self.out, c);
        }
    }

    /// The classes that stand for themselves in and out of brackets.
    fn set(&mut self) -> Result<Option<String>, String> {
        let ascii = match self.rest.peek() {
            Some('d') => "[0-9]",
            Some('D') => "[^0-9]",
            Some('s') => r"[\t\n\f\r ]",
            Some('S') => r"[^\t\n\f\r ]",
            Some('w') => "[0-9A-Za-z_]",
            Some('W') => "[^0-9A-Za-z_]",
            Some('p' | 'P') => return self.unicode().map(Some),
            _ => return Ok(None),
        };
        self.rest.next();
        Ok(Some(ascii.into()))
    }

    fn unicode(&mut self) -> Result<String, String> {
        let mut negated = self.rest.next() == Some('P');
        let mut name = String::new();
        match self.rest.next() {
            Some('{') => loop {
                match self.rest.next() {
                    Some('}') => break,
                    Some('^') if name.is_empty() => negated = !negated,
                    Some(c) if c.is_ascii_alphanumeric() || c == '_' => name.push(c),
                    _ => return Err("the name of a class has no end".into()),
                }
            },
            Some(c) if c.is_ascii_alphabetic() => name.push(c),
            _ => return Err("a class of Unicode wants a name".into()),
        }
        // Go knows the short names of general categories and the names of scripts, `Any` besides.
        Ok(format!(r"\{}{{{name}}}", if negated { 'P' } else { 'p' }))
    }

    /// One character that is written with a backslash, which was read.
    fn escaped(&mut self) -> Result<char, String> {
        let bad = || "an escape is not known".to_owned();
        let c = self.rest.next().ok_or_else(bad)?;
        Ok(match c {
            'a' => '\x07',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\x0b',
            'x' => self.hex().ok_or_else(bad)?,
            // A single digit but 0 would be a reference to what a group found, which RE2 has not.
            '1'..='7' if !self.rest.peek().is_some_and(|c| matches!(c, '0'..='7')) => return Err(bad()),
            '0'..='7' => {
                let mut code = c.to_digit(8).unwrap_or(0);
                for _ in 0..2 {
                    let next = self.rest.next_if(|c| matches!(c, '0'..='7'));
                    let Some(digit) = next.and_then(|c| c.to_digit(8)) else {
                        break;
                    };
                    code = code * 8 + digit;
                }
                char::from_u32(code).ok_or_else(bad)?
            }
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => c,
            _ => return Err(bad()),
        })
    }

    fn hex(&mut self) -> Option<char> {
        let mut digits = String::new();
        if self.rest.next_if_eq(&'{').is_some() {
            loop {
                match self.rest.next()? {
                    '}' => break,
                    c if c.is_ascii_hexdigit() && digits.len() < 8 => digits.push(c),
                    _ => return None,
                }
            }
        } else {
            digits.push(self.rest.next_if(char::is_ascii_hexdigit)?);
            digits.push(self.rest.next_if(char::is_ascii_hexdigit)?);
        }
        char::from_u32(u32::from_str_radix(&digits, 16).ok()?)
    }

    fn class(&mut self) -> Result<(), String> {
        self.out.push('[');
        if self.rest.next_if_eq(&'^').is_some() {
            self.out.push('^');
        }
        let mut first = true;
        loop {
            match self.rest.peek() {
                None => return Err("a class has no end".into()),
                Some(']') if !first => {
                    self.rest.next();
                    self.out.push(']');
                    return Ok(());
                }
                Some(_) => self.member()?,
            }
            first = false;
        }
    }

    /// A named class, a set, a character or a range.
    fn member(&mut self) -> Result<(), String> {
        if let Some(named) = self.posix()? {
            self.out.push_str(&named);
            return Ok(());
        }
        let mut after = self.rest.clone();
        if after.next() == Some('\\') && matches!(after.peek(), Some('d' | 'D' | 's' | 'S' | 'w' | 'W' | 'p' | 'P')) {
            self.rest.next();
            let set = self.set()?.unwrap_or_default();
            self.out.push_str(&set);
            return Ok(());
        }
        let low = self.one()?;
        literal(&mut self.out, low);
        let mut ahead = self.rest.clone();
        if ahead.next() == Some('-') && ahead.peek().is_some_and(|c| *c != ']') {
            self.rest = ahead;
            let high = self.one()?;
            if high < low {
                return Err("a range of characters ends before it begins".into());
            }
            self.out.push('-');
            literal(&mut self.out, high);
        }
        Ok(())
    }

    fn one(&mut self) -> Result<char, String> {
        match self.rest.next() {
            Some('\\') => self.escaped(),
            Some(c) => Ok(c),
            None => Err("a class has no end".into()),
        }
    }

    fn posix(&mut self) -> Result<Option<String>, String> {
        let mut ahead = self.rest.clone();
        if ahead.next() != Some('[') || ahead.next() != Some(':') {
            return Ok(None);
        }
        let mut name = String::new();
        while let Some(c) = ahead.next() {
            if c == ':' && ahead.peek() == Some(&']') {
                ahead.next();
                if !POSIX.contains(&name.strip_prefix('^').unwrap_or(&name)) {
                    return Err("a class between `[:` and `:]` is not known".into());
                }
                self.rest = ahead;
                return Ok(Some(format!("[:{name}:]")));
            }
            name.push(c);
        }
        Ok(None)
    }
}

const POSIX: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "word",
    "xdigit",
];

/// A character that means itself, in or out of a class.
fn literal(out: &mut String, c: char) {
    if c.is_ascii_alphanumeric() || !c.is_ascii() {
        out.push(c);
    } else {
        out.push_str(&format!("\\x{{{:X}}}", u32::from(c)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_go_and_the_crate_read_differently_is_read_as_go_does() {
        for (source, text, found) in [
            (r"^\d$", "٣", false),
            (r"^\d$", "3", true),
            (r"^\w+$", "ä", false),
            (r"^\s$", "\u{a0}", false),
            (r"^[\d-z]+$", "3-z", true),
            (r"^[a&&b]+$", "&a", true),
            (r"^[[a]+$", "[a", true),
            (r"^[a~~b-]+$", "~-", true),
            (r"^\<b\>$", "<b>", true),
            (r"^a{,2}$", "a{,2}", true),
            (r"^a{x$", "a{x", true),
            (r"^\Qa.b\E.$", "a.bc", true),
            (r"^\Qa.b\E$", "axb", false),
            (r"^\07\x41\x{42}$", "\x07AB", true),
            (r"^[]a]+$", "]a", true),
            (r"^[^]a]$", "b", true),
            (r"^[[:^alpha:][:digit:]]$", "7", true),
            (r"^[[:]$", ":", true),
            (r"\bä\b", "ä", false),
            ("(?i)^STRASSE$", "strasse", true),
        ] {
            let pattern = pattern(source).map(|p| p.regex.is_match(text));
            assert_eq!(pattern, Ok(found), "{source} on {text}");
        }
    }

    #[test]
    fn what_go_refuses_is_refused() {
        for source in [
            "(",
            ")",
            "[",
            "a**",
            "a{2}{3}",
            "a{1001}",
            "a{2,1}",
            r"\1",
            r"\8",
            r"\u0041",
            r"\Z",
            "(?x)a",
            "(?=a)",
            "(?<!a)",
            r"[\b]",
            r"[z-a]",
            r"\B",
            r"\C",
            "*a",
            r"\",
            r"[[:nope:]]",
            r"\pX",
            "(?P=a)",
            "(?<a-b>c)",
        ] {
            assert!(pattern(source).is_err(), "{source}");
        }
    }

    #[test]
    fn a_larger_pattern_costs_more_to_search() {
        let cost = |source: &str| pattern(source).map(|p| p.per_byte).unwrap_or(0);
        assert_eq!(cost("^registry[.]example[.]com/"), 8);
        assert!(cost(r"\p{L}{1,5}") > 8);
        assert!(pattern(r"((((\w{0,999}){0,9}){0,9}){0,9})").is_err());
    }
}
