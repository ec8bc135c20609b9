//! Types whose JSON is not the JSON of their fields: what their `MarshalJSON` in Go writes.

use serde_json::Value;

use super::varint::{Field, Raw, Reader};
use super::{BodyFault, Place};

/// The schema message inside the `…Or…` types of apiextensions.
const SCHEMA: &str = "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1.JSONSchemaProps";

pub(super) enum Special {
    Time,
    MicroTime,
    Quantity,
    IntOrString,
    /// JSON text in field 1: `RawExtension`, `FieldsV1`, `JSON`.
    Raw,
    SchemaOrBool,
    SchemaOrArray,
    SchemaOrStrings,
    /// Named by the table, unknown here.
    Unknown,
}

impl Special {
    pub(super) fn named(of: &str) -> Self {
        match of {
            "k8s.io/apimachinery/pkg/apis/meta/v1.Time" => Special::Time,
            "k8s.io/apimachinery/pkg/apis/meta/v1.MicroTime" => Special::MicroTime,
            "k8s.io/apimachinery/pkg/api/resource.Quantity" => Special::Quantity,
            "k8s.io/apimachinery/pkg/util/intstr.IntOrString" => Special::IntOrString,
            "k8s.io/apimachinery/pkg/runtime.RawExtension"
            | "k8s.io/apimachinery/pkg/apis/meta/v1.FieldsV1"
            | "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1.JSON" => Special::Raw,
            "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1.JSONSchemaPropsOrBool" => Special::SchemaOrBool,
            "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1.JSONSchemaPropsOrArray" => Special::SchemaOrArray,
            "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1.JSONSchemaPropsOrStringArray" => {
                Special::SchemaOrStrings
            }
            _ => Special::Unknown,
        }
    }
}

impl Place<'_> {
    pub(super) fn special(&self, special: Special, bytes: &[u8]) -> Result<Value, BodyFault> {
        match special {
            Special::Time => self.time(bytes, Precision::Seconds),
            Special::MicroTime => self.time(bytes, Precision::Micros),
            Special::Quantity => self.quantity(bytes),
            Special::IntOrString => self.int_or_string(bytes),
            Special::Raw => self.raw(bytes),
            Special::SchemaOrBool => self.schema_or_bool(bytes),
            Special::SchemaOrArray => self.schema_or_array(bytes),
            Special::SchemaOrStrings => self.schema_or_strings(bytes),
            Special::Unknown => Err(self.fault("has a type that is not in the field table; send JSON")),
        }
    }

    /// The fields 1 to N, each at most once.
    fn fields<'b, const N: usize>(&self, bytes: &'b [u8]) -> Result<[Option<Raw<'b>>; N], BodyFault> {
        let mut fields = [None; N];
        for field in Reader::new(bytes) {
            let Field { number, raw } = field.map_err(|what| self.fault(what))?;
            let slot = fields
                .get_mut(number as usize - 1)
                .ok_or_else(|| self.unknown_field(number))?;
            if slot.replace(raw).is_some() {
                return Err(self.fault(format_args!("has field {number} twice")));
            }
        }
        Ok(fields)
    }

    // Timestamp{1: seconds, 2: nanos}; no bytes at all is the zero time, null in JSON. Time drops nanos
    // (apimachinery pkg/apis/meta/v1/time_proto.go), MicroTime cuts them to microseconds.
    fn time(&self, bytes: &[u8], precision: Precision) -> Result<Value, BodyFault> {
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        let [seconds, nanos] = self.fields::<2>(bytes)?;
        let seconds = self.int64(seconds.unwrap_or(Raw::Varint(0)))?;
        let nanos = self.int32(nanos.unwrap_or(Raw::Varint(0)))?;
        if !(0..1_000_000_000).contains(&nanos) {
            return Err(self.fault("has nanoseconds outside of a second"));
        }
        if seconds == FIRST && nanos < 1000 {
            return Ok(Value::Null);
        }
        let civil = civil(seconds).ok_or_else(|| self.fault("is not between the years 1 and 9999"))?;
        Ok(Value::String(match precision {
            Precision::Seconds => format!("{civil}Z"),
            Precision::Micros => format!("{civil}.{:06}Z", nanos / 1000),
        }))
    }

    fn quantity(&self, bytes: &[u8]) -> Result<Value, BodyFault> {
        let [text] = self.fields::<1>(bytes)?;
        match self.text(text.unwrap_or(Raw::EMPTY))? {
            "" => Ok("0".into()),
            text => Ok(text.into()),
        }
    }

    // {1: type, 2: intVal, 3: strVal}; the half that the type does not name is not in the JSON either.
    fn int_or_string(&self, bytes: &[u8]) -> Result<Value, BodyFault> {
        let [which, int, text] = self.fields::<3>(bytes)?;
        match self.int64(which.unwrap_or(Raw::Varint(0)))? {
            0 => Ok(self.int32(int.unwrap_or(Raw::Varint(0)))?.into()),
            1 => Ok(self.text(text.unwrap_or(Raw::EMPTY))?.into()),
            _ => Err(self.fault("is neither a number nor text")),
        }
    }

    fn raw(&self, bytes: &[u8]) -> Result<Value, BodyFault> {
        let [raw] = self.fields::<1>(bytes)?;
        match self.bytes(raw.unwrap_or(Raw::EMPTY))? {
            [] => Ok(Value::Null),
            bytes => self.embedded(bytes),
        }
    }

    fn schema(&self, raw: Raw<'_>) -> Result<Value, BodyFault> {
        Ok(Value::Object(
            self.deeper()?.message(self.named(SCHEMA)?, self.bytes(raw)?)?,
        ))
    }

    fn schema_or_bool(&self, bytes: &[u8]) -> Result<Value, BodyFault> {
        let [allows, schema] = self.fields::<2>(bytes)?;
        match schema {
            Some(schema) => self.schema(schema),
            None => Ok(self.boolean(allows.unwrap_or(Raw::Varint(0)))?.into()),
        }
    }

    fn schema_or_array(&self, bytes: &[u8]) -> Result<Value, BodyFault> {
        let (one, many) = self.one_or_many(bytes)?;
        match (one, many.is_empty()) {
            (Some(one), true) => self.schema(one),
            (None, true) => Ok(Value::Null),
            (_, false) => many
                .into_iter()
                .map(|raw| self.schema(raw))
                .collect::<Result<_, _>>()
                .map(Value::Array),
        }
    }

    fn schema_or_strings(&self, bytes: &[u8]) -> Result<Value, BodyFault> {
        let (one, many) = self.one_or_many(bytes)?;
        match (one, many.is_empty()) {
            (Some(one), true) => self.schema(one),
            (None, true) => Ok(Value::Null),
            (_, false) => many
                .into_iter()
                .map(|raw| self.text(raw).map(Value::from))
                .collect::<Result<_, _>>()
                .map(Value::Array),
        }
    }

    fn one_or_many<'b>(&self, bytes: &'b [u8]) -> Result<(Option<Raw<'b>>, Vec<Raw<'b>>), BodyFault> {
        let (mut one, mut many) = (None, Vec::new());
        for field in Reader::new(bytes) {
            let Field { number, raw } = field.map_err(|what| self.fault(what))?;
            match number {
                1 if one.is_none() => one = Some(raw),
                1 => return Err(self.fault("has field 1 twice")),
                2 => many.push(raw),
                _ => return Err(self.unknown_field(number)),
            }
        }
        Ok((one, many))
    }
}

enum Precision {
    Seconds,
    Micros,
}

// Go's zero time; `IsZero` makes it null in JSON.
const FIRST: i64 = -62_135_596_800; // 0001-01-01T00:00:00Z

/// `2026-11-23T17:00:00` of seconds since 1970; none before the year 1, and none after 9999-12-30, where jiff ends.
fn civil(seconds: i64) -> Option<String> {
    let time = jiff::Timestamp::from_second(seconds)
        .ok()
        .filter(|_| seconds >= FIRST)?
        .to_string();
    time.strip_suffix('Z').map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::{FIRST, civil};

    #[test]
    fn times_are_written_as_go_writes_them() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00"),
            (951_782_400, "2000-02-29T00:00:00"),
            (-1, "1969-12-31T23:59:59"),
            (1_795_453_200, "2026-11-23T17:00:00"),
            (-62_135_596_800, "0001-01-01T00:00:00"),
            (253_402_207_200, "9999-12-30T22:00:00"),
        ] {
            assert_eq!(civil(seconds).as_deref(), Some(text));
        }
        assert_eq!(civil(FIRST - 1), None);
        assert_eq!(civil(i64::MIN), None);
    }
}
