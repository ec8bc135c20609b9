//! Escapes within JSON strings (RFC 8259 section 7), byte by byte.

/// Between which bytes of an escape the reader stands.
#[derive(Default)]
pub(super) struct Escape {
    state: State,
    /// A high surrogate that waits for its other half.
    high: Option<u16>,
}

#[derive(Default, Clone, Copy)]
enum State {
    #[default]
    Outside,
    Backslash,
    Hex {
        left: u8,
        code: u16,
    },
}

/// At most two characters: a replacement for a lone surrogate, and the character itself.
pub(super) struct Unescaped {
    bytes: [u8; 8],
    len: usize,
}

impl Unescaped {
    const NOTHING: Self = Self { bytes: [0; 8], len: 0 };

    fn with(mut self, c: char) -> Self {
        self.len += c.encode_utf8(&mut self.bytes[self.len..]).len();
        self
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Escape {
    pub(super) fn is_open(&self) -> bool {
        !matches!(self.state, State::Outside)
    }

    pub(super) fn begin(&mut self) {
        self.state = State::Backslash;
    }

    /// Whether a surrogate was left alone; asked when no escape follows it. Go reads it as U+FFFD, so do we.
    pub(super) fn lone(&mut self) -> bool {
        self.high.take().is_some()
    }

    pub(super) fn take(&mut self, byte: u8) -> Result<Unescaped, &'static str> {
        match self.state {
            State::Outside => Ok(Unescaped::NOTHING),
            State::Backslash if byte == b'u' => {
                self.state = State::Hex { left: 4, code: 0 };
                Ok(Unescaped::NOTHING)
            }
            State::Backslash => {
                self.state = State::Outside;
                let c = simple(byte).ok_or("an unknown escape")?;
                Ok(self.after_lone().with(c))
            }
            State::Hex { left, code } => {
                let digit = char::from(byte)
                    .to_digit(16)
                    .ok_or("an escape without four hexadecimal digits")?;
                let code = code << 4 | digit as u16;
                if left > 1 {
                    self.state = State::Hex { left: left - 1, code };
                    return Ok(Unescaped::NOTHING);
                }
                self.state = State::Outside;
                Ok(self.unit(code))
            }
        }
    }

    fn after_lone(&mut self) -> Unescaped {
        match self.lone() {
            true => Unescaped::NOTHING.with(char::REPLACEMENT_CHARACTER),
            false => Unescaped::NOTHING,
        }
    }

    /// One UTF-16 code unit.
    fn unit(&mut self, code: u16) -> Unescaped {
        match (code, self.high) {
            (0xd800..0xdc00, _) => {
                let before = self.after_lone();
                self.high = Some(code);
                before
            }
            (0xdc00..0xe000, Some(high)) => {
                self.high = None;
                let both = char::decode_utf16([high, code]).next().and_then(Result::ok);
                Unescaped::NOTHING.with(both.unwrap_or(char::REPLACEMENT_CHARACTER))
            }
            (0xdc00..0xe000, None) => Unescaped::NOTHING.with(char::REPLACEMENT_CHARACTER),
            (_, _) => {
                let before = self.after_lone();
                before.with(char::from_u32(code.into()).unwrap_or(char::REPLACEMENT_CHARACTER))
            }
        }
    }
}

fn simple(byte: u8) -> Option<char> {
    match byte {
        b'"' | b'\\' | b'/' => Some(byte.into()),
        b'b' => Some('\u{8}'),
        b'f' => Some('\u{c}'),
        b'n' => Some('\n'),
        b'r' => Some('\r'),
        b't' => Some('\t'),
        _ => None,
    }
}
