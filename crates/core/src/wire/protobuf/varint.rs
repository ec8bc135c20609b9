//! The protobuf wire: keys, varints, 64-bit and length-delimited values. Groups and 32-bit values do not occur in Kubernetes.

/// One field as it stands on the wire.
#[derive(Clone, Copy)]
pub(super) struct Field<'a> {
    pub(super) number: u32,
    pub(super) raw: Raw<'a>,
}

#[derive(Clone, Copy)]
pub(super) enum Raw<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
}

impl<'a> Raw<'a> {
    pub(super) const EMPTY: Raw<'static> = Raw::Bytes(&[]);

    pub(super) fn bytes(self) -> Option<&'a [u8]> {
        match self {
            Raw::Bytes(bytes) => Some(bytes),
            Raw::Varint(_) | Raw::Fixed64(_) => None,
        }
    }

    pub(super) fn varint(self) -> Option<u64> {
        match self {
            Raw::Varint(value) => Some(value),
            Raw::Bytes(_) | Raw::Fixed64(_) => None,
        }
    }

    pub(super) fn fixed64(self) -> Option<u64> {
        match self {
            Raw::Fixed64(bits) => Some(bits),
            Raw::Bytes(_) | Raw::Varint(_) => None,
        }
    }
}

/// The fields of one message in order; ends after the first fault.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    fn field(&mut self) -> Result<Field<'a>, String> {
        let key = self.varint()?;
        let number = u32::try_from(key >> 3).ok().filter(|n| (1..1 << 29).contains(n));
        let number = number.ok_or("has an impossible field number")?;
        let raw = match key & 7 {
            0 => Raw::Varint(self.varint()?),
            1 => Raw::Fixed64(self.fixed64()?),
            2 => Raw::Bytes(self.delimited()?),
            other => {
                return Err(format!(
                    "has wire type {other} in field {number}, which Kubernetes does not use"
                ));
            }
        };
        Ok(Field { number, raw })
    }

    /// Only the shortest form is accepted: every encoder of Kubernetes writes it, and a padded one hides from a comparison.
    fn varint(&mut self) -> Result<u64, String> {
        let mut value = 0_u64;
        for index in 0..10 {
            let Some((&byte, rest)) = self.rest.split_first() else {
                return Err("is cut short".into());
            };
            self.rest = rest;
            if index == 9 && byte > 1 {
                return Err("has a number of more than 64 bits".into());
            }
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                let padded = byte == 0 && index > 0;
                return if padded {
                    Err("has a padded number".into())
                } else {
                    Ok(value)
                };
            }
        }
        Err("has a number of more than 64 bits".into())
    }

    fn fixed64(&mut self) -> Result<u64, String> {
        let Some((bytes, rest)) = self.rest.split_first_chunk::<8>() else {
            return Err("is cut short".into());
        };
        self.rest = rest;
        Ok(u64::from_le_bytes(*bytes))
    }

    fn delimited(&mut self) -> Result<&'a [u8], String> {
        let len = usize::try_from(self.varint()?).map_err(|_| "is cut short")?;
        let Some((bytes, rest)) = self.rest.split_at_checked(len) else {
            return Err("is cut short".into());
        };
        self.rest = rest;
        Ok(bytes)
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<Field<'a>, String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}
