//! What can be said about an expression before it runs. The crate itself compiles anything that parses.
//!
//! In: the parsed tree. Out: the roots and variables it names, and what is known of its result. Refuses: unknown roots, variables and functions, wrong
//! numbers of arguments, types that can never fit, fields that a root whose shape is known cannot have. What could be right is never refused.

use std::collections::BTreeSet;

use cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, SelectExpr, SourceInfo, operators as op,
};

use crate::functions::{AUTHORIZER, FUNCTIONS, Function};
use crate::pattern::pattern;
use crate::program::{Environment, Fault, VARIABLES, Wants};
use crate::shape::nearest;
use crate::types::{Known, Ty};

/// What an expression needs to be evaluated.
#[derive(Debug, Default)]
pub(crate) struct Named {
    pub(crate) roots: BTreeSet<String>,
    pub(crate) variables: BTreeSet<String>,
}

/// What a comprehension's variables and the accumulators of macros are called, and what is known of them.
type Scope<'c> = Vec<(&'c str, Known)>;

pub(crate) fn check(
    env: &Environment,
    e: &IdedExpr,
    at: &SourceInfo,
    wants: Wants,
) -> Result<(Named, Known), Vec<Fault>> {
    let mut check = Check {
        env,
        at,
        scope: Vec::new(),
        named: Named::default(),
        faults: Vec::new(),
    };
    let known = check.known(e);
    let ty = known.ty;
    let wanted = match wants {
        Wants::Bool => Ty::Bool,
        Wants::Text => Ty::Text,
        Wants::Any => Ty::Any,
    };
    if check.faults.is_empty() && !ty.may_be(wanted) {
        check.fault(e.id, format!("the result must be {wanted}, this is {ty}"));
    }
    if check.faults.is_empty() {
        Ok((check.named, known))
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
    scope: Scope<'c>,
    named: Named,
    faults: Vec<Fault>,
}

impl<'c> Check<'c> {
    fn expr(&mut self, e: &'c IdedExpr) -> Ty {
        self.known(e).ty
    }

    fn known(&mut self, e: &'c IdedExpr) -> Known {
        match &e.expr {
            Expr::Literal(literal) => Ty::of(literal).into(),
            Expr::Ident(name) => self.ident(e.id, name),
            Expr::Select(select) => self.select(e, select),
            Expr::Call(call) => self.call(e.id, call),
            Expr::Comprehension(c) => self.comprehension(c),
            Expr::List(list) => {
                let items: Vec<_> = list.elements.iter().map(|e| self.known(e)).collect();
                // An optional element is what it holds.
                let plain = list.optional_indices.is_empty();
                match items.into_iter().reduce(Known::joined) {
                    Some(item) if plain => Known::list(item),
                    Some(_) => Ty::List.into(),
                    None => Known::empty(Ty::List),
                }
            }
            Expr::Map(map) => {
                map.entries
                    .iter()
                    .flat_map(|e| entry(&e.expr))
                    .for_each(|e| _ = self.expr(e));
                match map.entries.is_empty() {
                    true => Known::empty(Ty::Map),
                    false => Ty::Map.into(),
                }
            }
            Expr::Struct(message) => self
                .fault(e.id, format!("messages cannot be built here: `{}`", message.type_name))
                .into(),
            Expr::Unspecified => self.fault(e.id, "this is no expression".into()).into(),
        }
    }

    fn ident(&mut self, id: u64, name: &str) -> Known {
        // A leading dot names a root even where a comprehension has a variable of that name.
        let (absolute, name) = name.strip_prefix('.').map_or((false, name), |name| (true, name));
        if let (false, Some((_, known))) = (absolute, self.scope.iter().rev().find(|(n, _)| *n == name)) {
            return known.clone();
        }
        if name == VARIABLES && self.env.knows(name) {
            return self.fault(id, "a variable is named as `variables.NAME`".into()).into();
        }
        if self.env.knows(name) {
            self.named.roots.insert(name.to_owned());
            return match name {
                "now" => Ty::Timestamp.into(),
                _ => self.env.shape(name).into(),
            };
        }
        if TYPES.contains(&name) {
            return Ty::Type.into();
        }
        if name.starts_with("authorizer") {
            return self
                .fault(id, format!("`{name}` is not offered here: {NO_AUTHORIZER}"))
                .into();
        }
        let (place, listed) = (self.env.name(), self.env.listed());
        self.fault(id, format!("`{name}` is not known in {place}, which has {listed}"))
            .into()
    }

    fn select(&mut self, e: &'c IdedExpr, select: &'c SelectExpr) -> Known {
        if let Expr::Ident(name) = &select.operand.expr {
            let name = name.strip_prefix('.').unwrap_or(name);
            if name == VARIABLES && self.env.knows(name) && !self.scope.iter().any(|(n, _)| *n == name) {
                return self.variable(e.id, select);
            }
        }
        if QUALIFIED_TYPES.iter().any(|name| spells(e, name)) {
            return Ty::Type.into();
        }
        let on = self.known(&select.operand);
        match on.ty {
            Ty::Any | Ty::Map | Ty::Optional => {
                let found = self.field(e.id, &on, &select.field);
                match on.ty {
                    _ if select.test => Ty::Bool.into(),
                    Ty::Optional => Known::optional(found),
                    _ => found,
                }
            }
            ty => self.fault(e.id, format!("{ty} has no field `{}`", select.field)).into(),
        }
    }

    fn field(&mut self, id: u64, on: &Known, name: &str) -> Known {
        if let Some(field) = on.field(name) {
            return field;
        }
        let meant = on.fields().and_then(|fields| nearest(name, fields));
        let told = match meant {
            Some(meant) => format!("there is no field `{name}` here, did you mean `{meant}`?"),
            None => format!("there is no field `{name}` here; if there is one all the same, write `[?'{name}']`"),
        };
        self.fault(id, told).into()
    }

    fn variable(&mut self, id: u64, select: &SelectExpr) -> Known {
        let name = &select.field;
        if !self.env.has_variable(name) {
            let listed = self.env.listed_variables();
            return self
                .fault(id, format!("`variables.{name}` is not defined; variables: {listed}"))
                .into();
        }
        if select.test {
            // A variable whose expression failed must not look like one that says no.
            return self
                .fault(
                    id,
                    format!("`variables.{name}` is always defined, `has()` does not apply"),
                )
                .into();
        }
        self.named.roots.insert(VARIABLES.to_owned());
        self.named.variables.insert(name.clone());
        self.env.variable_shape(name).into()
    }

    fn comprehension(&mut self, c: &'c ComprehensionExpr) -> Known {
        let over = self.known(&c.iter_range);
        if !over.ty.may_be(Ty::List) && !over.ty.may_be(Ty::Map) {
            self.fault(
                c.iter_range.id,
                format!("{} cannot be iterated, only a list or a map can", over.ty),
            );
        }
        let accumulated = self.known(&c.accu_init);
        let outside = self.scope.len();
        self.scope.push((&c.accu_var, accumulated));
        let [one, two] = over.visited(1 + usize::from(c.iter_var2.is_some()));
        self.scope.push((&c.iter_var, one));
        self.scope
            .extend(c.iter_var2.iter().map(|name| (name.as_str(), two.clone())));
        self.expr(&c.loop_cond);
        let step = self.known(&c.loop_step);
        self.scope.truncate(outside + 1);
        // What `map` and `filter` append is what their list then holds.
        if let (Ty::List, Some((accumulator, known))) = (step.ty, self.scope.last_mut())
            && accumulator.starts_with('@')
        {
            *known = step;
        }
        let result = self.known(&c.result);
        self.scope.truncate(outside);
        result
    }

    fn call(&mut self, id: u64, call: &'c CallExpr) -> Known {
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
                let then = self.known(then);
                match call.args.get(2) {
                    // The accumulator, which stays as it is: what it holds is in `then`.
                    Some(unchanged) if is_internal(unchanged) => then,
                    Some(otherwise) => then.joined(self.known(otherwise)),
                    None => Known::any(),
                }
            }
            (name @ (op::EQUALS | op::NOT_EQUALS), Some(a), Some(b)) => self.equality(id, name, a, b).into(),
            (name @ (op::LESS | op::LESS_EQUALS | op::GREATER | op::GREATER_EQUALS), Some(a), Some(b)) => {
                self.order(id, name, a, b).into()
            }
            (name @ (op::ADD | op::SUBSTRACT | op::MULTIPLY | op::DIVIDE | op::MODULO), Some(a), Some(b)) => {
                self.arithmetic(id, name, a, b)
            }
            (op::NEGATE, Some(a), None) => match self.expr(a) {
                ty @ (Ty::Int | Ty::Double) => ty.into(),
                Ty::Any | Ty::Sum | Ty::Amount | Ty::Scalar => Ty::Amount.into(),
                ty => self.fault(id, format!("`-` wants a number, this is {ty}")).into(),
            },
            (op::IN, Some(a), Some(b)) => {
                self.expr(a);
                match self.expr(b) {
                    ty if ty.may_be(Ty::List) || ty.may_be(Ty::Map) => Ty::Bool.into(),
                    ty => self
                        .fault(id, format!("`in` wants a list or a map, this is {ty}"))
                        .into(),
                }
            }
            (name @ (op::INDEX | op::OPT_INDEX), Some(a), Some(b)) => self.index(id, name == op::OPT_INDEX, a, b),
            (op::OPT_SELECT, Some(a), Some(field)) => {
                if matches!(&a.expr, Expr::Ident(name) if name == VARIABLES) {
                    return self.ident(id, VARIABLES);
                }
                let on = self.known(a);
                match (on.ty, literal_text(field)) {
                    (Ty::Any | Ty::Map | Ty::Optional, Some(name)) => Known::optional(self.field(id, &on, name)),
                    (Ty::Any | Ty::Map | Ty::Optional, None) => Ty::Optional.into(),
                    (ty, _) => self.fault(id, format!("{ty} has no fields")).into(),
                }
            }
            _ => self.function(id, call),
        }
    }

    fn logical(&mut self, call: &'c CallExpr, name: &str) -> Known {
        for e in &call.args {
            self.wanted(e, Ty::Bool, &format!("`{name}`"));
        }
        Ty::Bool.into()
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
        let ordered = |ty: Ty| match ty {
            Ty::List | Ty::Map | Ty::Null | Ty::Type | Ty::Optional => false,
            Ty::Quantity | Ty::Ip | Ty::Cidr | Ty::Url | Ty::Semver | Ty::Format => false,
            Ty::Any | Ty::Sum | Ty::Amount | Ty::Scalar | Ty::Bool | Ty::Bytes | Ty::Text => true,
            Ty::Int | Ty::Uint | Ty::Double | Ty::Timestamp | Ty::Duration => true,
        };
        if !ordered(a) || !ordered(b) || !a.may_equal(b) {
            self.fault(id, format!("`{}` cannot compare {a} with {b}", symbol(name)));
        }
        Ty::Bool
    }

    fn arithmetic(&mut self, id: u64, name: &str, a: &'c IdedExpr, b: &'c IdedExpr) -> Known {
        let appends = is_internal(a);
        let (a, b) = (self.known(a), self.known(b));
        match result_of(name, a.ty, b.ty) {
            Some(Ty::List) if appends => b,
            Some(Ty::List) => a.joined(b),
            Some(ty) => ty.into(),
            None => self
                .fault(id, format!("`{}` cannot take {} and {}", symbol(name), a.ty, b.ty))
                .into(),
        }
    }

    fn index(&mut self, id: u64, optional: bool, a: &'c IdedExpr, b: &'c IdedExpr) -> Known {
        if matches!(&a.expr, Expr::Ident(name) if name == VARIABLES) {
            return self.ident(id, VARIABLES);
        }
        let (on, by) = (self.known(a), self.expr(b));
        let key = !by.is_known() || matches!(by, Ty::Int | Ty::Uint | Ty::Text | Ty::Bool);
        if !key {
            return self.fault(b.id, format!("{by} is no index")).into();
        }
        let found = match on.ty {
            Ty::List if matches!(by, Ty::Text | Ty::Bool) => {
                return self.fault(b.id, format!("a list has no element {by}")).into();
            }
            Ty::List => on.item(),
            // A name that no shape knows may be there all the same: this is how to say so.
            Ty::Map | Ty::Optional => literal_text(b).and_then(|name| on.field(name)).unwrap_or(Known::any()),
            Ty::Any => Known::any(),
            ty => return self.fault(id, format!("{ty} cannot be indexed")).into(),
        };
        match optional || on.ty == Ty::Optional {
            true => Known::optional(found),
            false => found,
        }
    }

    fn function(&mut self, id: u64, call: &'c CallExpr) -> Known {
        let Some((namespaced, rows)) = candidates(call) else {
            return self.unknown(id, call).into();
        };
        let on = match &call.target {
            Some(target) if !namespaced => self.known(target),
            _ => Known::any(),
        };
        let arguments: Vec<Known> = call.args.iter().map(|e| self.known(e)).collect();
        let given: Vec<Ty> = arguments.iter().map(|known| known.ty).collect();
        let name = rows.first().map_or("", |row| row.name);
        let rows: Vec<_> = rows
            .into_iter()
            .filter(|f| on.ty.may_be(f.on.unwrap_or(Ty::Any)))
            .collect();
        if rows.is_empty() {
            return self.fault(id, format!("{} has no function `{name}`", on.ty)).into();
        }
        let counted: Vec<_> = rows
            .into_iter()
            .filter(|f| (f.args.len() - f.optional..=f.args.len()).contains(&given.len()))
            .collect();
        let Some(first) = counted.first() else {
            return self
                .fault(id, format!("`{name}` does not take {} arguments", given.len()))
                .into();
        };
        let misfit = |f: &Function| given.iter().zip(f.args).position(|(ty, wanted)| !ty.may_be(*wanted));
        let fitting: Vec<_> = counted.iter().filter(|f| misfit(f).is_none()).collect();
        if let (Some(at), true) = (misfit(first), fitting.is_empty()) {
            let (wanted, ty) = (first.args[at], given[at]);
            return self
                .fault(call.args[at].id, format!("`{name}` wants {wanted} here, this is {ty}"))
                .into();
        }
        self.literal_pattern(call);
        let ty = fitting.iter().map(|f| f.result).reduce(Ty::joined).unwrap_or(Ty::Any);
        result(name, ty, on, arguments)
    }

    fn literal_pattern(&mut self, call: &CallExpr) {
        let at = usize::from(call.target.is_none());
        let Some((written, source)) = call.args.get(at).and_then(|e| Some((e, literal_text(e)?))) else {
            return;
        };
        if let (true, Err(why)) = (PATTERNED.contains(&call.func_name.as_str()), pattern(source)) {
            self.fault(written.id, format!("not a pattern: {why}"));
        }
    }

    fn unknown(&mut self, id: u64, call: &CallExpr) -> Ty {
        let name = &call.func_name;
        if MACROS.contains(&name.as_str()) {
            return self.fault(id, format!("`{name}` does not take these arguments"));
        }
        if AUTHORIZER.contains(&name.as_str()) {
            return self.fault(id, format!("unknown function `{name}`: {NO_AUTHORIZER}"));
        }
        let space = call.target.as_ref().and_then(|t| match &t.expr {
            Expr::Ident(space) if !self.env.knows(space) && !self.scope.iter().any(|(n, _)| n == space) => Some(space),
            _ => None,
        });
        self.fault(
            id,
            match space {
                Some(space) if space == "cel" && name == "bind" => {
                    "unknown function `cel.bind`: Kubernetes has none either, name the value under `variables`"
                        .to_owned()
                }
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
const QUALIFIED_TYPES: &[&str] = &[
    "google.protobuf.Timestamp",
    "google.protobuf.Duration",
    "kubernetes.NamedFormat",
    "kubernetes.Quantity",
    "kubernetes.Semver",
    "kubernetes.URL",
    "net.CIDR",
    "net.IP",
];
/// The functions whose second argument, the receiver counted, is a pattern.
pub(crate) const PATTERNED: &[&str] = &["matches", "find", "findAll"];
const NO_AUTHORIZER: &str = "what RBAC allows is said by the cluster, once a request that policies let pass goes there";
pub(crate) const MACROS: &[&str] = &[
    "has",
    "all",
    "exists",
    "exists_one",
    "existsOne",
    "map",
    "filter",
    "optMap",
    "optFlatMap",
    "sortBy",
    "transformList",
    "transformMap",
    "transformMapEntry",
];

fn spells(e: &IdedExpr, name: &str) -> bool {
    match (&e.expr, name.rsplit_once('.')) {
        (Expr::Ident(ident), None) => ident == name,
        (Expr::Select(s), Some((rest, last))) => !s.test && s.field == last && spells(&s.operand, rest),
        _ => false,
    }
}

fn result_of(name: &str, a: Ty, b: Ty) -> Option<Ty> {
    use Ty::{Amount, Bytes, Duration, List, Sum, Text, Timestamp};
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
        _ if unknown(a) && unknown(b) => Some(if name == op::ADD { Sum } else { Amount }),
        _ if unknown(a) || unknown(b) => {
            let (free, known) = if unknown(a) { (a, b) } else { (b, a) };
            match known {
                Ty::Int | Ty::Uint | Ty::Double if free.may_be(known) => Some(known),
                Text | Bytes | List if name == op::ADD && free != Amount => Some(known),
                Timestamp | Duration if matches!(name, op::ADD | op::SUBSTRACT) => Some(Amount),
                _ => None,
            }
        }
        _ => None,
    }
}

/// What a function gives, where its arguments say more than its row.
fn result(name: &str, ty: Ty, on: Known, mut arguments: Vec<Known>) -> Known {
    match (name, on.ty) {
        ("value", Ty::Optional) => on.item(),
        ("orValue", Ty::Optional) => match arguments.pop() {
            Some(otherwise) => on.item().joined(otherwise),
            None => Known::any(),
        },
        ("or", Ty::Optional) => match arguments.pop() {
            Some(otherwise) => on.joined(otherwise),
            None => ty.into(),
        },
        ("optional.of" | "optional.ofNonZeroValue", _) => arguments.pop().map_or(ty.into(), Known::optional),
        ("min" | "max", Ty::List) => on.item(),
        ("sort" | "slice" | "distinct" | "reverse" | "@sortByAssociatedKeys", Ty::List) => on,
        ("split" | "findAll", _) => Known::list(Ty::Text.into()),
        _ => ty.into(),
    }
}

/// What a macro accumulates into; no source can name it.
fn is_internal(e: &IdedExpr) -> bool {
    matches!(&e.expr, Expr::Ident(name) if name.starts_with('@'))
}

fn symbol(operator: &str) -> &str {
    operator.trim_matches('_')
}
