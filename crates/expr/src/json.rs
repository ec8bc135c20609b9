//! Values that are cheap to clone: JSON bound by reference, and what expressions build.
//!
//! CEL clones a value whenever it binds or stores one, deeply for maps. A [`Node`] clones by counting a reference.
//! A JSON node builds one level when it is first looked into, so an expression that reads `object.spec.replicas`
//! never touches `object.metadata.managedFields`.
//!
//! The interpreter knows its own lists, maps and strings by `as_builtin`; a node answers with the level it built, so
//! that every library function, `==` included, sees an ordinary value on either side.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use cel::ExecutionError;
use cel::common::traits::{self, Adder, Comparer, Container, Indexer, Iterable, Sizer, Zeroer};
use cel::common::types::{CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt, Type};
use cel::common::value::{Builtin, BuiltinRef, CowVal, Val};
use serde_json::Value;

/// The CEL value of `value`: numbers are `int` if they fit, else `uint`, else `double`, so that
/// `object.spec.replicas + 1` and `type(x) == int` say what Kubernetes users expect.
pub(crate) fn bind<'v>(value: &'v Value) -> Box<dyn Val + 'v> {
    match value {
        Value::Null => Box::new(CelNull),
        Value::Bool(b) => Box::new(CelBool::from(*b)),
        Value::String(s) => Box::new(CelString::from(s.as_str())),
        Value::Number(n) => match (n.as_i64(), n.as_u64()) {
            (Some(i), _) => Box::new(CelInt::from(i)),
            (None, Some(u)) => Box::new(CelUInt::from(u)),
            (None, None) => Box::new(CelDouble::from(n.as_f64().unwrap_or(f64::NAN))),
        },
        Value::Array(_) | Value::Object(_) => Box::new(Node::new(Content::Json(value, OnceLock::new()))),
    }
}

/// Makes a value that an expression built cheap to clone.
pub(crate) fn share<'b, 'v>(value: CowVal<'b, 'v>) -> CowVal<'b, 'v> {
    if mark(value.as_ref()).is_some() {
        return value;
    }
    match value.as_builtin() {
        BuiltinRef::List(_) | BuiltinRef::Map(_) => {}
        BuiltinRef::String(s) if s.as_borrowed().is_none() => {}
        _ => return value,
    }
    let content = match value.into_owned().into_builtin() {
        Some(Builtin::List(list)) => Level::List(list),
        Some(Builtin::Map(map)) => Level::map(map),
        Some(Builtin::String(text)) => Level::Text(text),
        // Ruled out above; null makes whatever uses it an error.
        _ => return CowVal::owned(CelNull),
    };
    CowVal::owned(Node::new(Content::Made(content)))
}

/// What it costs to clone `value`.
pub(crate) fn clone_weight(value: &dyn Val) -> u64 {
    if mark(value).is_some() {
        return 1;
    }
    match value.as_builtin() {
        BuiltinRef::String(s) if s.as_borrowed().is_some() => 1,
        _ => sum(value, clone_weight),
    }
}

/// What it costs to read `value` to its last byte. A shared value remembers it, so what an expression doubles
/// thirty times is counted, not walked, thirty times.
pub(crate) fn full_weight(value: &dyn Val) -> u64 {
    match mark(value) {
        Some(mark) => *mark.weight.get_or_init(|| sum(value, full_weight)),
        None => sum(value, full_weight),
    }
}

fn sum(value: &dyn Val, part: fn(&dyn Val) -> u64) -> u64 {
    let parts = match value.as_builtin() {
        BuiltinRef::String(s) => s.inner().len() as u64,
        BuiltinRef::Bytes(b) => b.inner().len() as u64,
        BuiltinRef::List(list) => list
            .inner()
            .iter()
            .fold(0u64, |n, v| n.saturating_add(part(v.as_ref()))),
        BuiltinRef::Map(map) => map.inner().iter().fold(0u64, |n, (k, v)| {
            n.saturating_add(part(k.inner())).saturating_add(part(v.as_ref()))
        }),
        BuiltinRef::Optional(o) => o.option().map_or(0, part),
        _ => 0,
    };
    parts.saturating_add(8)
}

/// Whether `value` nests no deeper than `levels`; the rest of the crate recurses over values freely because of this.
pub(crate) fn nests_within(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(items) => levels > 0 && items.iter().all(|v| nests_within(v, levels - 1)),
        Value::Object(fields) => levels > 0 && fields.values().all(|v| nests_within(v, levels - 1)),
        _ => true,
    }
}

/// The JSON of a value, or the name of the type that has none.
pub(crate) fn to_json(value: &dyn Val) -> Result<Value, String> {
    match value.as_builtin() {
        BuiltinRef::String(s) => return Ok(Value::String(s.inner().to_owned())),
        BuiltinRef::List(list) => return list.inner().iter().map(|v| to_json(v.as_ref())).collect(),
        BuiltinRef::Map(map) => {
            let mut fields = serde_json::Map::new();
            for (key, value) in map.inner() {
                fields.insert(key_text(key), to_json(value.as_ref())?);
            }
            return Ok(Value::Object(fields));
        }
        _ => {}
    }
    let number = if let Some(i) = value.downcast_ref::<CelInt>() {
        Some(Value::from(*i.inner()))
    } else if let Some(u) = value.downcast_ref::<CelUInt>() {
        Some(Value::from(*u.inner()))
    } else if let Some(d) = value.downcast_ref::<CelDouble>() {
        // JSON has neither NaN nor infinity, and null would read as "not set".
        serde_json::Number::from_f64(*d.inner()).map(Value::Number)
    } else if let Some(b) = value.downcast_ref::<CelBool>() {
        Some(Value::Bool(*b.inner()))
    } else {
        value.downcast_ref::<CelNull>().map(|_| Value::Null)
    };
    number.ok_or_else(|| value.get_type().name().to_owned())
}

fn key_text(key: &CelMapKey<'_>) -> String {
    match key {
        CelMapKey::Bool(b) => b.inner().to_string(),
        CelMapKey::Int(i) => i.inner().to_string(),
        CelMapKey::UInt(u) => u.inner().to_string(),
        CelMapKey::String(s) => s.inner().to_owned(),
    }
}

fn mark(value: &dyn Val) -> Option<&Mark> {
    value.as_any()?.downcast_ref::<Mark>()
}

struct Node<'v>(Arc<Shared<'v>>);

struct Shared<'v> {
    content: Content<'v>,
    mark: Mark,
}

/// What tells a node from the interpreter's own values, which answer `as_any` with themselves or nothing.
#[derive(Default)]
struct Mark {
    weight: OnceLock<u64>,
}

enum Content<'v> {
    Json(&'v Value, OnceLock<Level<'v>>),
    Made(Level<'v>),
}

enum Level<'v> {
    List(CelList<'v>),
    Map(CelMap<'v>, OnceLock<Vec<CelMapKey<'v>>>),
    Text(CelString<'v>),
}

impl<'v> Level<'v> {
    fn map(map: CelMap<'v>) -> Level<'v> {
        Level::Map(map, OnceLock::new())
    }

    fn of(value: &'v Value) -> Level<'v> {
        match value {
            Value::Object(fields) => {
                let entry = |(k, v): (&'v String, &'v Value)| (CelMapKey::from(k.as_str()), bind(v));
                Level::map(CelMap::from(fields.iter().map(entry).collect::<HashMap<_, _>>()))
            }
            Value::Array(items) => Level::List(CelList::from(items.iter().map(bind).collect::<Vec<_>>())),
            Value::String(text) => Level::Text(CelString::from(text.as_str())),
            Value::Null | Value::Bool(_) | Value::Number(_) => Level::List(CelList::default()),
        }
    }

    fn value(&self) -> &(dyn Val + 'v) {
        match self {
            Level::List(list) => list,
            Level::Map(map, _) => map,
            Level::Text(text) => text,
        }
    }
}

impl<'v> Node<'v> {
    fn new(content: Content<'v>) -> Node<'v> {
        Node(Arc::new(Shared {
            content,
            mark: Mark::default(),
        }))
    }

    fn level(&self) -> &Level<'v> {
        match &self.0.content {
            Content::Json(value, level) => level.get_or_init(|| Level::of(value)),
            Content::Made(level) => level,
        }
    }

    fn value(&self) -> &(dyn Val + 'v) {
        self.level().value()
    }
}

impl fmt::Debug for Node<'_> {
    // Never the content: the interpreter puts Debug text into some of its errors.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Node")
    }
}

impl<'v> Val for Node<'v> {
    fn get_type(&self) -> &Type {
        match &self.0.content {
            Content::Json(Value::Array(_), _) => CelList::cel_type(),
            Content::Json(Value::Object(_), _) => CelMap::cel_type(),
            Content::Json(..) | Content::Made(_) => self.value().get_type(),
        }
    }
    fn cel_type() -> &'static Type {
        // Only the overload macros ask, and no overload is declared for a node.
        CelMap::cel_type()
    }
    fn as_adder<'b, 'w>(&'b self) -> Option<&'b (dyn Adder + 'w)>
    where
        Self: 'w,
    {
        self.value().as_adder()
    }
    fn as_comparer(&self) -> Option<&dyn Comparer> {
        self.value().as_comparer()
    }
    fn as_container(&self) -> Option<&dyn Container> {
        self.value().as_container()
    }
    fn as_indexer<'b, 'w>(&'b self) -> Option<&'b (dyn Indexer + 'w)>
    where
        Self: 'w,
    {
        self.value().as_indexer()
    }
    fn into_indexer<'w>(self: Box<Self>) -> Option<Box<dyn Indexer + 'w>>
    where
        Self: 'w,
    {
        match self.value().as_indexer() {
            Some(_) => Some(self),
            None => None,
        }
    }
    fn as_iterable<'b, 'w>(&'b self) -> Option<&'b (dyn Iterable + 'w)>
    where
        Self: 'w,
    {
        match self.level() {
            Level::Map(..) => Some(self),
            Level::List(list) => list.as_iterable(),
            Level::Text(_) => None,
        }
    }
    fn as_sizer(&self) -> Option<&dyn Sizer> {
        self.value().as_sizer()
    }
    fn as_zeroer(&self) -> Option<&dyn Zeroer> {
        self.value().as_zeroer()
    }
    fn equals(&self, other: &dyn Val) -> bool {
        self.value().equals(other)
    }
    fn clone_as_boxed<'w>(&self) -> Box<dyn Val + 'w>
    where
        Self: 'w,
    {
        Box::new(Node(Arc::clone(&self.0)))
    }
    fn as_any(&self) -> Option<&dyn Any> {
        Some(&self.0.mark)
    }
    fn as_builtin<'b, 'w>(&'b self) -> BuiltinRef<'b, 'w>
    where
        Self: 'w,
    {
        self.value().as_builtin()
    }
    fn into_builtin<'w>(self: Box<Self>) -> Option<Builtin<'w>>
    where
        Self: 'w,
    {
        Some(match self.level() {
            Level::List(list) => Builtin::List(list.clone()),
            Level::Map(map, _) => Builtin::Map(map.clone()),
            Level::Text(text) => Builtin::String(text.clone()),
        })
    }
}

impl<'v> Indexer for Node<'v> {
    fn get<'b, 'w>(&'b self, index: &dyn Val) -> Result<CowVal<'b, 'w>, ExecutionError>
    where
        Self: 'w,
    {
        match self.value().as_indexer() {
            Some(indexer) => indexer.get(index),
            None => Err(ExecutionError::no_such_overload(
                "_[_]",
                vec![self.get_type().name().to_owned()],
            )),
        }
    }
    fn steal<'w>(self: Box<Self>, index: &dyn Val) -> Result<Box<dyn Val + 'w>, ExecutionError>
    where
        Self: 'w,
    {
        self.get(index).map(CowVal::into_owned)
    }
}

impl<'v> Iterable for Node<'v> {
    // Keys in order: `HashMap` shuffles them in each process, and a decision must not depend on that.
    fn iter<'b, 'w>(&'b self) -> Box<dyn traits::Iterator<'b, 'w> + 'b>
    where
        Self: 'w,
    {
        let keys: &'b [CelMapKey<'v>] = match self.level() {
            Level::Map(map, keys) => keys.get_or_init(|| sorted(map)),
            Level::List(_) | Level::Text(_) => &[],
        };
        Box::new(Keys(keys.iter()))
    }
}

fn sorted<'v>(map: &CelMap<'v>) -> Vec<CelMapKey<'v>> {
    let mut keys: Vec<_> = map.inner().keys().cloned().collect();
    keys.sort_unstable();
    keys
}

struct Keys<'b, 'v>(std::slice::Iter<'b, CelMapKey<'v>>);

impl<'b, 'v: 'w, 'w> traits::Iterator<'b, 'w> for Keys<'b, 'v> {
    fn next(&mut self) -> Option<&'b (dyn Val + 'w)> {
        self.0.next().map(|key| key.inner() as &(dyn Val + 'w))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_node_equals_what_the_interpreter_builds_from_either_side() {
        let json = json!([1, "a", {"b": [true, null]}]);
        let node = bind(&json);
        let built = Level::of(&json);
        assert!(node.equals(built.value()));
        assert!(built.value().equals(node.as_ref()));
    }

    #[test]
    fn cloning_json_is_cheap_and_reading_it_is_not() {
        let json = json!({"a": "x".repeat(1000)});
        let node = bind(&json);
        assert_eq!(clone_weight(node.as_ref()), 1);
        assert!(full_weight(node.as_ref()) > 1000);
    }

    #[test]
    fn looking_at_a_field_builds_only_the_levels_above_it() {
        let json = json!({"spec": {"replicas": 3}, "metadata": {"managedFields": [1, 2, 3]}});
        let node = Node::new(Content::Json(&json, OnceLock::new()));
        let spec = node.get(&CelString::from("spec"));
        assert!(spec.is_ok_and(|s| matches!(s, CowVal::Borrowed(_))));
        let Level::Map(map, _) = node.level() else {
            panic!("a map")
        };
        let rest = map
            .inner()
            .get(&CelMapKey::from("metadata"))
            .map(|v| mark(v.as_ref()).is_some());
        assert_eq!(rest, Some(true));
    }

    #[test]
    fn nesting_is_measured_exactly() {
        assert!(nests_within(&json!([[1]]), 2));
        assert!(!nests_within(&json!([[[1]]]), 2));
    }

    #[test]
    fn nan_has_no_json() {
        assert_eq!(to_json(&CelDouble::from(f64::NAN)), Err("double".into()));
    }
}
