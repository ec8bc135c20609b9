//! The functions an expression may call, what each costs, and those of the library that had to be replaced.
//!
//! Replaced are the functions whose result or work is a product of their arguments (`replace`, `join`, `indexOf`
//! are quadratic or worse in the library) and `matches`, which compiles its pattern at each call there.
//! Left out: `lists.range`, which makes as many elements as an argument says.

use std::sync::{Arc, LazyLock};

use cel::common::types::{CelBool, CelDouble, CelInt, CelList, CelString, DYN_TYPE, Kind, LIST_TYPE, Type};
use cel::common::value::{CowVal, StaticVal, Val};
use cel::{DeclarationError, Env, ExecutionError, extensions};
use regex::{Regex, RegexBuilder};

use crate::json::{clone_weight, full_weight, share};
use crate::meter::Meter;
use crate::types::Ty::{self, *};

/// A function as the checker and the guard see it.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) name: &'static str,
    /// The receiver's type, for `x.name(..)`.
    pub(crate) on: Option<Ty>,
    pub(crate) args: &'static [Ty],
    /// How many of the last arguments may be left out.
    pub(crate) optional: usize,
    pub(crate) result: Ty,
    pub(crate) cost: Cost,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cost {
    Free,
    /// Reads the texts it is given.
    Text,
    /// Reads all of a list, once, or about as often as sorting does, or once per element.
    List,
    Sort,
    Pairs,
    /// Keeps a copy of its argument.
    Keep,
    /// Reads the text it is given; a double is written as Go writes it first.
    Shown,
    /// Replaced by a function of ours that is given the meter.
    Own,
}

const fn global(name: &'static str, args: &'static [Ty], result: Ty, cost: Cost) -> Function {
    Function {
        name,
        on: None,
        args,
        optional: 0,
        result,
        cost,
    }
}

const fn member(on: Ty, name: &'static str, args: &'static [Ty], result: Ty, cost: Cost) -> Function {
    Function {
        name,
        on: Some(on),
        args,
        optional: 0,
        result,
        cost,
    }
}

const fn longer(mut function: Function, optional: usize) -> Function {
    function.optional = optional;
    function
}

pub(crate) static FUNCTIONS: &[Function] = &[
    global("size", &[Any], Int, Cost::Text),
    global("type", &[Any], Type, Cost::Free),
    global("dyn", &[Any], Any, Cost::Free),
    global("bool", &[Any], Bool, Cost::Text),
    global("int", &[Any], Int, Cost::Text),
    global("uint", &[Any], Uint, Cost::Text),
    global("double", &[Any], Double, Cost::Text),
    global("string", &[Any], Text, Cost::Shown),
    global("bytes", &[Any], Bytes, Cost::Text),
    global("timestamp", &[Any], Timestamp, Cost::Text),
    global("duration", &[Any], Duration, Cost::Text),
    global("matches", &[Text, Text], Bool, Cost::Own),
    global("optional.of", &[Any], Optional, Cost::Keep),
    global("optional.ofNonZeroValue", &[Any], Optional, Cost::Keep),
    global("optional.none", &[], Optional, Cost::Free),
    member(Any, "size", &[], Int, Cost::Text),
    member(Text, "contains", &[Text], Bool, Cost::Text),
    member(Text, "startsWith", &[Text], Bool, Cost::Text),
    member(Text, "endsWith", &[Text], Bool, Cost::Text),
    member(Text, "matches", &[Text], Bool, Cost::Own),
    member(Text, "charAt", &[Int], Text, Cost::Text),
    longer(member(Text, "indexOf", &[Text, Int], Int, Cost::Own), 1),
    longer(member(Text, "lastIndexOf", &[Text, Int], Int, Cost::Own), 1),
    member(Text, "lowerAscii", &[], Text, Cost::Text),
    member(Text, "upperAscii", &[], Text, Cost::Text),
    member(Text, "trim", &[], Text, Cost::Text),
    longer(member(Text, "replace", &[Text, Text, Int], Text, Cost::Own), 1),
    longer(member(Text, "split", &[Text, Int], List, Cost::Own), 1),
    longer(member(Text, "substring", &[Int, Int], Text, Cost::Text), 1),
    member(Text, "reverse", &[], Text, Cost::List),
    member(Text, "format", &[List], Text, Cost::List),
    longer(member(List, "join", &[Text], Text, Cost::Own), 1),
    member(List, "slice", &[Int, Int], List, Cost::List),
    longer(member(List, "flatten", &[Int], List, Cost::List), 1),
    member(List, "distinct", &[], List, Cost::Pairs),
    member(List, "reverse", &[], List, Cost::List),
    member(List, "sort", &[], List, Cost::Sort),
    member(Optional, "hasValue", &[], Bool, Cost::Free),
    member(Optional, "value", &[], Any, Cost::Free),
    member(Optional, "or", &[Optional], Optional, Cost::Free),
    member(Optional, "orValue", &[Any], Any, Cost::Free),
    longer(member(Timestamp, "getFullYear", &[Text], Int, Cost::Free), 1),
    longer(member(Timestamp, "getMonth", &[Text], Int, Cost::Free), 1),
    longer(member(Timestamp, "getDate", &[Text], Int, Cost::Free), 1),
    longer(member(Timestamp, "getDayOfMonth", &[Text], Int, Cost::Free), 1),
    longer(member(Timestamp, "getDayOfWeek", &[Text], Int, Cost::Free), 1),
    longer(member(Timestamp, "getDayOfYear", &[Text], Int, Cost::Free), 1),
    // Durations have these four as well.
    longer(member(Any, "getHours", &[Text], Int, Cost::Free), 1),
    longer(member(Any, "getMinutes", &[Text], Int, Cost::Free), 1),
    longer(member(Any, "getSeconds", &[Text], Int, Cost::Free), 1),
    longer(member(Any, "getMilliseconds", &[Text], Int, Cost::Free), 1),
];

/// Kubernetes' own CEL libraries, so that a fault can say that it is not a typo.
pub(crate) static LATER: &[&str] = &[
    "quantity",
    "isQuantity",
    "ip",
    "isIP",
    "cidr",
    "isCIDR",
    "url",
    "isURL",
    "semver",
    "isSemver",
    "find",
    "findAll",
    "sum",
    "min",
    "max",
    "isSorted",
    "sortBy",
    "transformList",
    "transformMap",
    "transformMapEntry",
    "allowed",
    "check",
    "group",
    "serviceAccount",
    "containsIP",
    "containsCIDR",
    "isGreaterThan",
    "isLessThan",
    "compareTo",
    "asInteger",
    "asApproximateFloat",
    "getScheme",
    "getHost",
    "getHostname",
    "getPort",
    "getEscapedPath",
    "getQuery",
];

/// Bytes a pattern that is not a literal may have: it is compiled at each call.
pub(crate) const MAX_PATTERN: usize = 256;
/// Bytes a compiled pattern may take.
const PATTERN_SIZE: usize = 1 << 20;
/// What compiling a pattern is charged, and what each byte searched is.
const COMPILING: u64 = 256 << 10;
const SEARCHING: u64 = 8;
/// What the pieces of a `split` take beyond their text.
const PIECE: u64 = 64;

pub(crate) fn pattern(source: &str) -> Result<Regex, String> {
    RegexBuilder::new(source)
        .size_limit(PATTERN_SIZE)
        .dfa_size_limit(PATTERN_SIZE)
        .build()
        .map_err(|fault| match fault {
            regex::Error::CompiledTooBig(_) => "the pattern is too large once compiled".into(),
            fault => fault
                .to_string()
                .lines()
                .last()
                .unwrap_or("not a pattern")
                .trim_start_matches("error: ")
                .into(),
        })
}

/// A pattern compiled when its expression was, bound as a variable.
#[derive(Debug, Clone)]
pub(crate) struct Compiled(pub(crate) Arc<Regex>);

static COMPILED: Type = Type::new_unspecified_type("pattern");

impl Val for Compiled {
    fn get_type(&self) -> &Type {
        &COMPILED
    }
    fn cel_type() -> &'static Type {
        &COMPILED
    }
    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(self.clone())
    }
    fn as_any(&self) -> Option<&dyn std::any::Any> {
        Some(self)
    }
}

impl StaticVal for Compiled {}

pub(crate) static LIBRARY: LazyLock<Arc<Env>> = LazyLock::new(|| {
    #[expect(
        clippy::expect_used,
        reason = "declares constants; every test of this crate passes here"
    )]
    Arc::new(library().expect("no name is declared twice"))
});

fn library() -> Result<Env, DeclarationError> {
    let mut env = Env::stdlib();
    env.add_extension(extensions::strings)?;
    env.add_extension(extensions::lists)?;
    let mut own = |name: &str, args: usize, op| {
        env.add_overload(
            name,
            &format!("{name}/{args}"),
            (0..=args).map(|_| DYN_TYPE).collect(),
            op,
        )
    };
    own("@spread", 1, spread)?;
    own("@share", 1, keep)?;
    own("@text", 1, text)?;
    own("@shown", 1, shown)?;
    own("@scan", 1, scan)?;
    own("@sort", 1, sort)?;
    own("@pairs", 1, pairs)?;
    own("@haystack", 1, haystack)?;
    own("@index", 1, index)?;
    own("@matches", 2, matches)?;
    own("@indexOf", 2, index_of)?;
    own("@indexOf", 3, index_of)?;
    own("@lastIndexOf", 2, last_index_of)?;
    own("@lastIndexOf", 3, last_index_of)?;
    own("@replace", 3, replace)?;
    own("@replace", 4, replace)?;
    own("@split", 2, split)?;
    own("@split", 3, split)?;
    own("@join", 1, join)?;
    own("@join", 2, join)?;
    Ok(env)
}

type Args<'b, 'v> = Vec<CowVal<'b, 'v>>;
type Answer<'b, 'v> = Result<CowVal<'b, 'v>, ExecutionError>;

/// Takes the meter off the front; what is left are the arguments as written, receiver first.
fn charged<'b, 'v>(mut args: Args<'b, 'v>) -> Result<(Meter, Args<'b, 'v>), ExecutionError> {
    if args.is_empty() {
        return Err(refused("no meter"));
    }
    let meter = args
        .remove(0)
        .downcast_ref::<Meter>()
        .cloned()
        .ok_or_else(|| refused("no meter"))?;
    Ok((meter, args))
}

/// Charges for one value and hands it on.
fn pass<'b, 'v>(args: Args<'b, 'v>, weigh: fn(&dyn Val) -> u64) -> Answer<'b, 'v> {
    let (meter, mut args) = charged(args)?;
    let value = args.pop().ok_or_else(|| refused("no value"))?;
    meter.weight(weigh(value.as_ref()))?;
    Ok(value)
}

/// What a comprehension goes over: each element is a step, and each is cloned once.
// The step is taken here and not in `loop_cond`: there it would hide the shape by which the interpreter knows that
// `map` and `filter` only append, and would make both quadratic. A list left early has paid for its rest.
fn spread<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    let (meter, mut args) = charged(args)?;
    let value = share(args.pop().ok_or_else(|| refused("no value"))?);
    if let Some(sizer) = value.as_sizer() {
        meter.steps(u64::try_from(*sizer.size().inner()).unwrap_or(u64::MAX))?;
    }
    if let Some(items) = value.as_iterable() {
        let mut items = items.iter();
        while let Some(item) = items.next() {
            meter.weight(clone_weight(item))?;
        }
    }
    Ok(value)
}

fn keep<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    pass(args, clone_weight).map(share)
}

fn text<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    pass(args, text_weight)
}

/// cel-go (`common/types/double.go`) writes a double with `%g`. A user's name may be made of one, so it must come out the same.
fn shown<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    let value = pass(args, text_weight)?;
    match value.downcast_ref::<CelDouble>() {
        Some(double) => Ok(CowVal::owned(CelString::from(in_go(*double.inner())))),
        None => Ok(value),
    }
}

/// Go `strconv`, format 'g' with the fewest digits: an exponent, of two digits at least, below -4 and from 6 on.
fn in_go(double: f64) -> String {
    if double.is_infinite() {
        return if double > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{double:e}");
    let Some((digits, Ok(exponent))) = scientific.split_once('e').map(|(d, e)| (d, e.parse::<i32>())) else {
        return double.to_string();
    };
    match exponent {
        -4..6 => double.to_string(),
        _ => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.abs())
        }
    }
}

fn text_weight(value: &dyn Val) -> u64 {
    match value.get_type().kind() {
        Kind::String | Kind::Bytes => full_weight(value),
        _ => 8,
    }
}

fn scan<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    pass(args, full_weight)
}

fn sort<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    pass(args, |value| full_weight(value).saturating_mul(16))
}

fn pairs<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    pass(args, |value| {
        let elements = value
            .as_sizer()
            .map_or(1, |s| u64::try_from(*s.size().inner()).unwrap_or(u64::MAX));
        full_weight(value).saturating_mul(elements)
    })
}

/// The right side of `in`: a list is searched, a map is asked.
fn haystack<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    pass(args, |value| {
        if value.get_type().kind() == Kind::Map {
            8
        } else {
            full_weight(value)
        }
    })
}

/// An index that is not a literal. The interpreter copies a whole list into the error about an index that is none.
fn index<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    let value = pass(args, text_weight)?;
    match value.get_type().kind() {
        Kind::Int | Kind::UInt | Kind::String | Kind::Boolean => Ok(value),
        _ => Err(refused(&format!("{} is no index", value.get_type().name()))),
    }
}

fn matches<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    let (meter, args) = charged(args)?;
    let subject = string("matches", &args, 0)?;
    meter.weight((subject.len() as u64).saturating_mul(SEARCHING).saturating_add(8))?;
    if let Some(compiled) = args.get(1).and_then(|v| v.downcast_ref::<Compiled>()) {
        return Ok(CowVal::owned(CelBool::from(compiled.0.is_match(subject))));
    }
    let source = string("matches", &args, 1)?;
    if source.len() > MAX_PATTERN {
        return Err(refused(&format!(
            "a computed pattern of `matches` may have {MAX_PATTERN} bytes"
        )));
    }
    meter.weight(COMPILING)?;
    let compiled = pattern(source).map_err(|_| refused("`matches` was given what is not a pattern"))?;
    Ok(CowVal::owned(CelBool::from(compiled.is_match(subject))))
}

fn index_of<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    let (meter, args) = charged(args)?;
    let (subject, needle) = (string("indexOf", &args, 0)?, string("indexOf", &args, 1)?);
    meter.weight(lengths(&[subject, needle]))?;
    let from = match args.len() {
        3.. => offset("indexOf", int("indexOf", &args, 2)?)?,
        _ => 0,
    };
    let Some(start) = byte_of(subject, from) else {
        return if needle.is_empty() {
            Ok(position(Some(subject.chars().count())))
        } else {
            Err(out_of_range("indexOf"))
        };
    };
    Ok(position(
        subject[start..]
            .find(needle)
            .map(|at| from + subject[start..start + at].chars().count()),
    ))
}

fn last_index_of<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    let (meter, args) = charged(args)?;
    let (subject, needle) = (string("lastIndexOf", &args, 0)?, string("lastIndexOf", &args, 1)?);
    meter.weight(lengths(&[subject, needle]))?;
    // A match may start at `from` at the latest, so it ends within as many characters more as the needle has.
    let end = match args.len() {
        3.. => {
            let from = offset("lastIndexOf", int("lastIndexOf", &args, 2)?)?;
            if byte_of(subject, from).is_none_or(|at| at == subject.len()) && !needle.is_empty() {
                return Err(out_of_range("lastIndexOf"));
            }
            byte_of(subject, from.saturating_add(needle.chars().count())).unwrap_or(subject.len())
        }
        _ => subject.len(),
    };
    Ok(position(
        subject[..end].rfind(needle).map(|at| subject[..at].chars().count()),
    ))
}

fn replace<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    let (meter, args) = charged(args)?;
    let (subject, from) = (string("replace", &args, 0)?, string("replace", &args, 1)?);
    let to = string("replace", &args, 2)?;
    meter.weight(lengths(&[subject, from, to]))?;
    let most = match args.len() {
        4.. => usize::try_from(int("replace", &args, 3)?).unwrap_or(usize::MAX),
        _ => usize::MAX,
    };
    let found = subject.matches(from).take(most).count() as u64;
    meter.weight(found.saturating_mul(to.len() as u64))?;
    Ok(CowVal::owned(CelString::from(subject.replacen(from, to, most))))
}

fn split<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    let (meter, args) = charged(args)?;
    let (subject, separator) = (string("split", &args, 0)?, string("split", &args, 1)?);
    meter.weight(lengths(&[subject, separator]))?;
    let most = match args.len() {
        3.. => usize::try_from(int("split", &args, 2)?).unwrap_or(usize::MAX),
        _ => usize::MAX,
    };
    let mut pieces: Vec<Box<dyn Val + 'v>> = Vec::new();
    for piece in parts(subject, separator, most) {
        meter.weight(PIECE)?;
        pieces.push(Box::new(CelString::from(piece.to_owned())));
    }
    Ok(CowVal::owned(CelList::from(pieces)))
}

/// As cel-go's `split`: an empty separator splits between characters, the last piece holds the rest.
fn parts<'s>(subject: &'s str, separator: &'s str, most: usize) -> Box<dyn Iterator<Item = &'s str> + 's> {
    if !separator.is_empty() {
        return Box::new(subject.splitn(most, separator));
    }
    let starts = subject.char_indices().map(|(at, _)| at).take(most);
    Box::new(starts.enumerate().map(move |(n, at)| {
        let end = if n + 1 == most {
            subject.len()
        } else {
            at + subject[at..].chars().next().map_or(0, char::len_utf8)
        };
        &subject[at..end]
    }))
}

fn join<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    let (meter, args) = charged(args)?;
    let separator = if args.len() > 1 { string("join", &args, 1)? } else { "" };
    let list = args
        .first()
        .filter(|v| v.get_type() == &LIST_TYPE)
        .and_then(|v| v.as_iterable());
    let mut items = list.ok_or_else(|| cannot("join", &args))?.iter();
    let mut joined = String::new();
    let mut first = true;
    while let Some(item) = items.next() {
        let item = item
            .downcast_ref::<CelString<'_>>()
            .ok_or_else(|| refused("`join` wants a list of strings"))?
            .inner();
        meter.weight(lengths(&[item, separator]))?;
        if !std::mem::take(&mut first) {
            joined.push_str(separator);
        }
        joined.push_str(item);
    }
    Ok(CowVal::owned(CelString::from(joined)))
}

fn string<'x>(function: &str, args: &'x Args<'_, '_>, at: usize) -> Result<&'x str, ExecutionError> {
    let text = args.get(at).and_then(|v| v.downcast_ref::<CelString<'_>>());
    text.map(CelString::inner).ok_or_else(|| cannot(function, args))
}

fn int(function: &str, args: &Args<'_, '_>, at: usize) -> Result<i64, ExecutionError> {
    args.get(at)
        .and_then(|v| v.downcast_ref::<CelInt>())
        .map(|i| *i.inner())
        .ok_or_else(|| cannot(function, args))
}

fn offset(function: &str, at: i64) -> Result<usize, ExecutionError> {
    usize::try_from(at).map_err(|_| out_of_range(function))
}

/// The byte at which character number `at` starts; the end counts as one.
fn byte_of(text: &str, at: usize) -> Option<usize> {
    text.char_indices().map(|(byte, _)| byte).chain([text.len()]).nth(at)
}

fn position<'b, 'v>(at: Option<usize>) -> CowVal<'b, 'v> {
    CowVal::owned(CelInt::from(at.and_then(|n| i64::try_from(n).ok()).unwrap_or(-1)))
}

fn lengths(texts: &[&str]) -> u64 {
    texts.iter().fold(8, |n, text| n + text.len() as u64)
}

fn out_of_range(function: &str) -> ExecutionError {
    refused(&format!("`{function}` was given an offset outside the string"))
}

fn cannot(function: &str, args: &Args<'_, '_>) -> ExecutionError {
    let types: Vec<_> = args.iter().map(|v| v.get_type().name()).collect();
    refused(&format!("`{function}` cannot take ({})", types.join(", ")))
}

/// A fault of ours; its text holds no value, so it may be shown.
fn refused(why: &str) -> ExecutionError {
    ExecutionError::InternalError(why.into())
}
