//! What can be said about an expression before it runs. The crate itself compiles anything that parses.
//!
//! In: the parsed tree. Out: the roots and variables it names. Refuses: unknown roots, variables and functions, wrong
//! numbers of arguments, types that can never fit. A field of a root may be anything; schemas come with their own issue.

use std::collections::BTreeSet;

use cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, SelectExpr, SourceInfo, operators as op,
};

use crate::functions::{FUNCTIONS, Function, LATER, pattern};
use crate::program::{Environment, Fault, VARIABLES, Wants};
use crate::types::Ty;

/// What an expression needs to be evaluated.
#[derive(Debug, Default)]
pub(crate) struct Named {
    pub(crate) roots: BTreeSet<String>,
    pub(crate) variables: BTreeSet<String>,
}

pub(crate) fn check(env: &Environment, e: &IdedExpr, at: &SourceInfo, wants: Wants) -> Result<Named, Vec<Fault>> {
    let mut check = Check {
        env,
        at,
        scope: Vec::new(),
        named: Named::default(),
        faults: Vec::new(),
    };
    let ty = check.expr(e);
    let wanted = match wants {
        Wants::Bool => Ty::Bool,
        Wants::Text => Ty::Text,
        Wants::Any => Ty::Any,
    };
    if check.faults.is_empty() && !ty.may_be(wanted) {
        check.fault(e.id, format!("the result must be {wanted}, this is {ty}"));
    }
    if check.faults.is_empty() {
        Ok(check.named)
    } else {
        Err(check.faults)
    }
}

/// Levels of the tree.
pub(crate) fn depth(e: &IdedExpr) -> usize {
    1 + children(e).into_iter().map(depth).max().unwrap_or(0)
}

fn children(e: &IdedExpr) -> Vec<&IdedExpr> {
    match &e.expr {
        Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).collect(),
        Expr::Comprehension(c) => vec![&c.iter_range, &c.accu_init, &c.loop_cond, &c.loop_step, &c.result],
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Map(map) => map.entries.iter().flat_map(|e| entry(&e.expr)).collect(),
        Expr::Select(select) => vec![&select.operand],
        Expr::Struct(message) => message.entries.iter().flat_map(|e| entry(&e.expr)).collect(),
        Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified => Vec::new(),
    }
}

/// Every `ROOT.FIELD` and `ROOT.?FIELD`, whatever a comprehension may have called ROOT.
pub(crate) fn collect_fields<'e>(e: &'e IdedExpr, root: &str, fields: &mut BTreeSet<&'e str>) {
    let is_root = |e: &IdedExpr| matches!(&e.expr, Expr::Ident(name) if name.strip_prefix('.').unwrap_or(name) == root);
    match &e.expr {
        Expr::Select(select) if is_root(&select.operand) => {
            fields.insert(&select.field);
        }
        Expr::Call(call) if call.func_name == op::OPT_SELECT && call.args.first().is_some_and(is_root) => {
            fields.extend(call.args.get(1).and_then(literal_text));
        }
        _ => {}
    }
    for child in children(e) {
        collect_fields(child, root, fields);
    }
}

fn entry(e: &EntryExpr) -> Vec<&IdedExpr> {
    match e {
        EntryExpr::StructField(field) => vec![&field.value],
        EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
    }
}

/// The function a call names, and whether its target is a namespace (`optional.of`) instead of a receiver.
pub(crate) fn function_of(call: &CallExpr) -> Option<(bool, &'static Function)> {
    candidates(call).map(|(namespaced, rows)| rows.first().map(|row| (namespaced, *row)))?
}

fn candidates(call: &CallExpr) -> Option<(bool, Vec<&'static Function>)> {
    let rows = |name: &str, member: bool| -> Vec<_> {
        FUNCTIONS
            .iter()
            .filter(|f| f.name == name && f.on.is_some() == member)
            .collect()
    };
    if let Some(Expr::Ident(space)) = call.target.as_ref().map(|t| &t.expr) {
        let found = rows(&format!("{space}.{}", call.func_name), false);
        if !found.is_empty() {
            return Some((true, found));
        }
    }
    let found = rows(&call.func_name, call.target.is_some());
    (!found.is_empty()).then_some((false, found))
}

pub(crate) fn literal_text(e: &IdedExpr) -> Option<&str> {
    match &e.expr {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner()),
        _ => None,
    }
}

struct Check<'c> {
    env: &'c Environment,
    at: &'c SourceInfo,
    scope: Vec<(&'c str, Ty)>,
    named: Named,
    faults: Vec<Fault>,
}

impl<'c> Check<'c> {
    fn expr(&mut self, e: &'c IdedExpr) -> Ty {
        match &e.expr {
            Expr::Literal(literal) => Ty::of(literal),
            Expr::Ident(name) => self.ident(e.id, name),
            Expr::Select(select) => self.select(e, select),
            Expr::Call(call) => self.call(e.id, call),
            Expr::Comprehension(c) => self.comprehension(c),
            Expr::List(list) => {
                list.elements.iter().for_each(|e| _ = self.expr(e));
                Ty::List
            }
            Expr::Map(map) => {
                map.entries
                    .iter()
                    .flat_map(|e| entry(&e.expr))
                    .for_each(|e| _ = self.expr(e));
                Ty::Map
            }
            Expr::Struct(message) => {
                self.fault(e.id, format!("messages cannot be built here: `{}`", message.type_name))
            }
            Expr::Unspecified => self.fault(e.id, "this is no expression".into()),
        }
    }

    fn ident(&mut self, id: u64, name: &str) -> Ty {
        // A leading dot names a root even where a comprehension has a variable of that name.
        let (absolute, name) = name.strip_prefix('.').map_or((false, name), |name| (true, name));
        if let (false, Some((_, ty))) = (absolute, self.scope.iter().rev().find(|(n, _)| *n == name)) {
            return *ty;
        }
        if name == VARIABLES && self.env.knows(name) {
            return self.fault(id, "a variable is named as `variables.NAME`".into());
        }
        if self.env.knows(name) {
            self.named.roots.insert(name.to_owned());
            return if name == "now" { Ty::Timestamp } else { Ty::Any };
        }
        if TYPES.contains(&name) {
            return Ty::Type;
        }
        self.fault(
            id,
            format!(
                "`{name}` is not known in {}, which has {}",
                self.env.name(),
                self.env.listed()
            ),
        )
    }

    fn select(&mut self, e: &'c IdedExpr, select: &'c SelectExpr) -> Ty {
        if let Expr::Ident(name) = &select.operand.expr {
            let name = name.strip_prefix('.').unwrap_or(name);
            if name == VARIABLES && self.env.knows(name) && !self.scope.iter().any(|(n, _)| *n == name) {
                return self.variable(e.id, select);
            }
        }
        if QUALIFIED_TYPES.iter().any(|name| spells(e, name)) {
            return Ty::Type;
        }
        let on = self.expr(&select.operand);
        match on {
            Ty::Any | Ty::Map | Ty::Optional if select.test => Ty::Bool,
            Ty::Any | Ty::Map => Ty::Any,
            Ty::Optional => Ty::Optional,
            _ => self.fault(e.id, format!("{on} has no field `{}`", select.field)),
        }
    }

    fn variable(&mut self, id: u64, select: &SelectExpr) -> Ty {
        let name = &select.field;
        if !self.env.has_variable(name) {
            return self.fault(
                id,
                format!(
                    "`variables.{name}` is not defined; variables: {}",
                    self.env.listed_variables()
                ),
            );
        }
        if select.test {
            // A variable whose expression failed must not look like one that says no.
            return self.fault(
                id,
                format!("`variables.{name}` is always defined, `has()` does not apply"),
            );
        }
        self.named.roots.insert(VARIABLES.to_owned());
        self.named.variables.insert(name.clone());
        Ty::Any
    }

    fn comprehension(&mut self, c: &'c ComprehensionExpr) -> Ty {
        let over = self.expr(&c.iter_range);
        if !over.may_be(Ty::List) && !over.may_be(Ty::Map) {
            self.fault(
                c.iter_range.id,
                format!("{over} cannot be iterated, only a list or a map can"),
            );
        }
        let accumulated = self.expr(&c.accu_init);
        let outside = self.scope.len();
        self.scope.push((&c.accu_var, accumulated));
        let inside = c
            .iter_var2
            .iter()
            .chain([&c.iter_var])
            .map(|name| (name.as_str(), Ty::Any));
        self.scope.extend(inside);
        self.expr(&c.loop_cond);
        self.expr(&c.loop_step);
        self.scope.truncate(outside + 1);
        let result = self.expr(&c.result);
        self.scope.truncate(outside);
        result
    }

    fn call(&mut self, id: u64, call: &'c CallExpr) -> Ty {
        if call.target.is_some() {
            return self.function(id, call);
        }
        let [one, two] = [0, 1].map(|n| call.args.get(n));
        match (call.func_name.as_str(), one, two) {
            (op::LOGICAL_AND, ..) => self.logical(call, "&&"),
            (op::LOGICAL_OR, ..) => self.logical(call, "||"),
            (op::LOGICAL_NOT, ..) => self.logical(call, "!"),
            (op::NOT_STRICTLY_FALSE, ..) => self.logical(call, "the condition"),
            (op::CONDITIONAL, Some(condition), Some(then)) => {
                self.wanted(condition, Ty::Bool, "the condition of `?:`");
                let then = self.expr(then);
                let otherwise = call.args.get(2).map_or(Ty::Any, |e| self.expr(e));
                then.joined(otherwise)
            }
            (name @ (op::EQUALS | op::NOT_EQUALS), Some(a), Some(b)) => self.equality(id, name, a, b),
            (name @ (op::LESS | op::LESS_EQUALS | op::GREATER | op::GREATER_EQUALS), Some(a), Some(b)) => {
                self.order(id, name, a, b)
            }
            (name @ (op::ADD | op::SUBSTRACT | op::MULTIPLY | op::DIVIDE | op::MODULO), Some(a), Some(b)) => {
                self.arithmetic(id, name, a, b)
            }
            (op::NEGATE, Some(a), None) => match self.expr(a) {
                ty @ (Ty::Int | Ty::Double) => ty,
                Ty::Any | Ty::Sum | Ty::Quantity => Ty::Quantity,
                ty => self.fault(id, format!("`-` wants a number, this is {ty}")),
            },
            (op::IN, Some(a), Some(b)) => {
                self.expr(a);
                match self.expr(b) {
                    ty if ty.may_be(Ty::List) || ty.may_be(Ty::Map) => Ty::Bool,
                    ty => self.fault(id, format!("`in` wants a list or a map, this is {ty}")),
                }
            }
            (name @ (op::INDEX | op::OPT_INDEX), Some(a), Some(b)) => self.index(id, name == op::OPT_INDEX, a, b),
            (op::OPT_SELECT, Some(a), Some(_)) => {
                if matches!(&a.expr, Expr::Ident(name) if name == VARIABLES) {
                    return self.ident(id, VARIABLES);
                }
                match self.expr(a) {
                    Ty::Any | Ty::Map | Ty::Optional => Ty::Optional,
                    ty => self.fault(id, format!("{ty} has no fields")),
                }
            }
            _ => self.function(id, call),
        }
    }

    fn logical(&mut self, call: &'c CallExpr, name: &str) -> Ty {
        for e in &call.args {
            self.wanted(e, Ty::Bool, &format!("`{name}`"));
        }
        Ty::Bool
    }

    fn wanted(&mut self, e: &'c IdedExpr, wanted: Ty, by: &str) {
        let ty = self.expr(e);
        if !ty.may_be(wanted) {
            self.fault(e.id, format!("{by} wants {wanted}, this is {ty}"));
        }
    }

    fn equality(&mut self, id: u64, name: &str, a: &'c IdedExpr, b: &'c IdedExpr) -> Ty {
        let (a, b) = (self.expr(a), self.expr(b));
        if !a.may_equal(b) {
            self.fault(
                id,
                format!("`{}` compares {a} with {b}, which are never equal", symbol(name)),
            );
        }
        Ty::Bool
    }

    fn order(&mut self, id: u64, name: &str, a: &'c IdedExpr, b: &'c IdedExpr) -> Ty {
        let (a, b) = (self.expr(a), self.expr(b));
        let ordered = |ty: Ty| !matches!(ty, Ty::List | Ty::Map | Ty::Null | Ty::Type | Ty::Optional);
        if !ordered(a) || !ordered(b) || !a.may_equal(b) {
            self.fault(id, format!("`{}` cannot compare {a} with {b}", symbol(name)));
        }
        Ty::Bool
    }

    fn arithmetic(&mut self, id: u64, name: &str, a: &'c IdedExpr, b: &'c IdedExpr) -> Ty {
        let (a, b) = (self.expr(a), self.expr(b));
        match result_of(name, a, b) {
            Some(ty) => ty,
            None => self.fault(id, format!("`{}` cannot take {a} and {b}", symbol(name))),
        }
    }

    fn index(&mut self, id: u64, optional: bool, a: &'c IdedExpr, b: &'c IdedExpr) -> Ty {
        if matches!(&a.expr, Expr::Ident(name) if name == VARIABLES) {
            return self.ident(id, VARIABLES);
        }
        let (on, by) = (self.expr(a), self.expr(b));
        let key = !by.is_known() || matches!(by, Ty::Int | Ty::Uint | Ty::Text | Ty::Bool);
        match on {
            _ if !key => self.fault(b.id, format!("{by} is no index")),
            Ty::List if matches!(by, Ty::Text | Ty::Bool) => self.fault(b.id, format!("a list has no element {by}")),
            Ty::Optional => Ty::Optional,
            Ty::Any | Ty::List | Ty::Map if optional => Ty::Optional,
            Ty::Any | Ty::List | Ty::Map => Ty::Any,
            _ => self.fault(id, format!("{on} cannot be indexed")),
        }
    }

    fn function(&mut self, id: u64, call: &'c CallExpr) -> Ty {
        let Some((namespaced, rows)) = candidates(call) else {
            return self.unknown(id, call);
        };
        let on = match &call.target {
            Some(target) if !namespaced => self.expr(target),
            _ => Ty::Any,
        };
        let given: Vec<Ty> = call.args.iter().map(|e| self.expr(e)).collect();
        let name = &call.func_name;
        let rows: Vec<_> = rows
            .into_iter()
            .filter(|f| on.may_be(f.on.unwrap_or(Ty::Any)))
            .collect();
        if rows.is_empty() {
            return self.fault(id, format!("{on} has no function `{name}`"));
        }
        let Some(row) = rows
            .iter()
            .find(|f| (f.args.len() - f.optional..=f.args.len()).contains(&given.len()))
        else {
            return self.fault(id, format!("`{name}` does not take {} arguments", given.len()));
        };
        for (n, (ty, wanted)) in given.iter().zip(row.args).enumerate() {
            if !ty.may_be(*wanted) {
                self.fault(call.args[n].id, format!("`{name}` wants {wanted} here, this is {ty}"));
            }
        }
        self.literal_pattern(call);
        rows.iter().map(|f| f.result).reduce(Ty::joined).unwrap_or(Ty::Any)
    }

    fn literal_pattern(&mut self, call: &CallExpr) {
        let Some((last, source)) = call.args.last().and_then(|e| Some((e, literal_text(e)?))) else {
            return;
        };
        if let ("matches", Err(why)) = (call.func_name.as_str(), pattern(source)) {
            self.fault(last.id, format!("not a pattern: {why}"));
        }
    }

    fn unknown(&mut self, id: u64, call: &CallExpr) -> Ty {
        let name = &call.func_name;
        if MACROS.contains(&name.as_str()) {
            return self.fault(id, format!("`{name}` does not take these arguments"));
        }
        if LATER.contains(&name.as_str()) {
            return self.fault(
                id,
                format!("unknown function `{name}`: Kubernetes' own CEL libraries are not supported yet"),
            );
        }
        let space = call.target.as_ref().and_then(|t| match &t.expr {
            Expr::Ident(space) if !self.env.knows(space) && !self.scope.iter().any(|(n, _)| n == space) => Some(space),
            _ => None,
        });
        self.fault(
            id,
            match space {
                Some(space) => format!("unknown function `{space}.{name}`"),
                None => format!("unknown function `{name}`"),
            },
        )
    }

    fn fault(&mut self, id: u64, message: String) -> Ty {
        let (line, column) = self.place(id);
        self.faults.push(Fault { message, line, column });
        // Any, so that one mistake is reported once.
        Ty::Any
    }

    fn place(&self, id: u64) -> (usize, usize) {
        let offset = self.at.offset_for(id).map_or(0, |(start, _)| start as usize);
        let before: Vec<char> = self
            .at
            .source
            .char_indices()
            .take_while(|(byte, _)| *byte < offset)
            .map(|(_, c)| c)
            .collect();
        let line = before.iter().filter(|c| **c == '\n').count() + 1;
        (line, before.iter().rev().take_while(|c| **c != '\n').count() + 1)
    }
}

/// The names of types, which are values: `type(x) == int`.
const TYPES: &[&str] = &[
    "bool",
    "int",
    "uint",
    "double",
    "string",
    "bytes",
    "list",
    "map",
    "null_type",
    "type",
    "optional_type",
];
const QUALIFIED_TYPES: &[&str] = &["google.protobuf.Timestamp", "google.protobuf.Duration"];
const MACROS: &[&str] = &[
    "has",
    "all",
    "exists",
    "exists_one",
    "existsOne",
    "map",
    "filter",
    "optMap",
    "optFlatMap",
];

fn spells(e: &IdedExpr, name: &str) -> bool {
    match (&e.expr, name.rsplit_once('.')) {
        (Expr::Ident(ident), None) => ident == name,
        (Expr::Select(s), Some((rest, last))) => !s.test && s.field == last && spells(&s.operand, rest),
        _ => false,
    }
}

fn result_of(name: &str, a: Ty, b: Ty) -> Option<Ty> {
    use Ty::{Bytes, Duration, List, Quantity, Sum, Text, Timestamp};
    let unknown = |ty: Ty| !ty.is_known();
    if name == op::MODULO && (a == Ty::Double || b == Ty::Double) {
        return None;
    }
    match (a, b) {
        _ if a.is_number() && b.is_number() => (a == b).then_some(a),
        (Timestamp, Duration) if matches!(name, op::ADD | op::SUBSTRACT) => Some(Timestamp),
        (Duration, Timestamp) if name == op::ADD => Some(Timestamp),
        (Timestamp, Timestamp) if name == op::SUBSTRACT => Some(Duration),
        (Duration, Duration) if matches!(name, op::ADD | op::SUBSTRACT) => Some(Duration),
        (Text, Text) | (Bytes, Bytes) | (List, List) if name == op::ADD => Some(a),
        _ if unknown(a) && unknown(b) => Some(if name == op::ADD { Sum } else { Quantity }),
        _ if unknown(a) || unknown(b) => {
            let (free, known) = if unknown(a) { (a, b) } else { (b, a) };
            match known {
                Ty::Int | Ty::Uint | Ty::Double if free.may_be(known) => Some(known),
                Text | Bytes | List if name == op::ADD && free != Quantity => Some(known),
                Timestamp | Duration if matches!(name, op::ADD | op::SUBSTRACT) => Some(Quantity),
                _ => None,
            }
        }
        _ => None,
    }
}

fn symbol(operator: &str) -> &str {
    operator.trim_matches('_')
}
