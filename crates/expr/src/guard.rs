//! Rewrites a checked expression so that it pays for what it does.
//!
//! Each rewrite wraps an operand in a function that charges the meter and hands the operand on. What a literal
//! bounds by the 4 KiB of the source is left alone, which keeps the common rule as fast as it was written.

use std::sync::Arc;

use cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, ListExpr, LiteralValue, operators as op,
};

use crate::check::{function_of, literal_text};
use crate::functions::{Compiled, Cost, pattern};

pub(crate) const METER: &str = "@meter";

/// The guarded expression, and the patterns to bind under the names it uses.
#[derive(Debug)]
pub(crate) struct Guarded {
    pub(crate) expression: IdedExpr,
    pub(crate) patterns: Vec<(String, Compiled)>,
}

pub(crate) fn guard(expression: IdedExpr) -> Guarded {
    let mut guard = Guard { patterns: Vec::new() };
    let expression = guard.expr(expression);
    Guarded {
        expression,
        patterns: guard.patterns,
    }
}

struct Guard {
    patterns: Vec<(String, Compiled)>,
}

impl Guard {
    fn expr(&mut self, mut e: IdedExpr) -> IdedExpr {
        e.expr = match e.expr {
            Expr::Call(call) => self.call(e.id, call),
            Expr::Comprehension(c) => Expr::Comprehension(Box::new(self.comprehension(*c))),
            Expr::List(list) => Expr::List(self.list(list)),
            Expr::Map(mut map) => {
                for entry in &mut map.entries {
                    if let EntryExpr::MapEntry(entry) = &mut entry.expr {
                        entry.key = self.unless_literal("@index", std::mem::take(&mut entry.key));
                        entry.value = self.unless_literal("@share", std::mem::take(&mut entry.value));
                    }
                }
                Expr::Map(map)
            }
            Expr::Select(mut select) => {
                *select.operand = self.expr(std::mem::take(&mut *select.operand));
                Expr::Select(select)
            }
            leaf @ (Expr::Ident(_) | Expr::Literal(_) | Expr::Struct(_) | Expr::Unspecified) => leaf,
        };
        e
    }

    // INVARIANT: whatever becomes an element or a value of a container is shared, so cloning elements is cheap.
    fn list(&mut self, list: ListExpr) -> ListExpr {
        let elements = list
            .elements
            .into_iter()
            .map(|e| self.unless_literal("@share", e))
            .collect();
        ListExpr { elements, ..list }
    }

    fn comprehension(&mut self, c: ComprehensionExpr) -> ComprehensionExpr {
        ComprehensionExpr {
            iter_range: {
                let range = self.expr(c.iter_range);
                paid("@spread", range)
            },
            accu_init: self.expr(c.accu_init),
            loop_cond: self.expr(c.loop_cond),
            loop_step: self.expr(c.loop_step),
            result: self.expr(c.result),
            ..c
        }
    }

    fn call(&mut self, id: u64, mut call: CallExpr) -> Expr {
        if appends(&call) || counts(&call) {
            call.args = call.args.into_iter().map(|a| self.expr(a)).collect();
            return Expr::Call(call);
        }
        match call.func_name.as_str() {
            op::EQUALS | op::NOT_EQUALS if call.args.iter().any(is_literal) => self.args(call, None),
            op::EQUALS
            | op::NOT_EQUALS
            | op::LESS
            | op::LESS_EQUALS
            | op::GREATER
            | op::GREATER_EQUALS
            | op::ADD
            | op::SUBSTRACT
            | op::MULTIPLY
            | op::DIVIDE
            | op::MODULO
            | op::NEGATE => self.args(call, Some("@scan")),
            op::IN => self.membership(call),
            op::INDEX | op::OPT_INDEX => self.lookup(call),
            op::CONDITIONAL
            | op::LOGICAL_AND
            | op::LOGICAL_OR
            | op::LOGICAL_NOT
            | op::NOT_STRICTLY_FALSE
            | op::OPT_SELECT => self.args(call, None),
            _ => self.function(id, call),
        }
    }

    fn args(&mut self, mut call: CallExpr, wrapper: Option<&str>) -> Expr {
        call.args = call
            .args
            .into_iter()
            .map(|a| match wrapper {
                Some(wrapper) => self.unless_literal(wrapper, a),
                None => self.expr(a),
            })
            .collect();
        Expr::Call(call)
    }

    fn membership(&mut self, mut call: CallExpr) -> Expr {
        let mut args = std::mem::take(&mut call.args).into_iter();
        if let (Some(needle), Some(haystack)) = (args.next(), args.next()) {
            let needle = self.unless_literal("@scan", needle);
            let constant = matches!(&haystack.expr, Expr::List(list) if list.elements.iter().all(is_literal));
            let haystack = self.expr(haystack);
            call.args = vec![
                needle,
                if constant {
                    haystack
                } else {
                    paid("@haystack", haystack)
                },
            ];
        }
        Expr::Call(call)
    }

    fn lookup(&mut self, mut call: CallExpr) -> Expr {
        let mut args = std::mem::take(&mut call.args).into_iter();
        if let (Some(value), Some(index)) = (args.next(), args.next()) {
            call.args = vec![self.expr(value), self.unless_literal("@index", index)];
        }
        Expr::Call(call)
    }

    fn function(&mut self, id: u64, mut call: CallExpr) -> Expr {
        let Some((namespaced, function)) = function_of(&call) else {
            // The check refuses what is not in the table; should it ever not, this is no function either.
            call.func_name = format!("@unknown {}", call.func_name);
            return Expr::Call(call);
        };
        match function.cost {
            Cost::Own => self.own(id, call),
            Cost::Free => self.arguments(call, namespaced, None),
            Cost::Text => self.arguments(call, namespaced, Some("@text")),
            Cost::List => self.arguments(call, namespaced, Some("@scan")),
            Cost::Sort => self.arguments(call, namespaced, Some("@sort")),
            Cost::Pairs => self.arguments(call, namespaced, Some("@pairs")),
            Cost::Keep => self.arguments(call, namespaced, Some("@share")),
            Cost::Shown => {
                // A literal may be a double too.
                call.args = call.args.into_iter().map(|a| paid("@shown", self.expr(a))).collect();
                Expr::Call(call)
            }
        }
    }

    fn arguments(&mut self, mut call: CallExpr, namespaced: bool, wrapper: Option<&str>) -> Expr {
        if let (Some(target), false) = (&mut call.target, namespaced) {
            let taken = std::mem::take(&mut **target);
            **target = match wrapper {
                Some(wrapper) => self.unless_literal(wrapper, taken),
                None => self.expr(taken),
            };
        }
        self.args(call, wrapper)
    }

    /// `x.replace(a, b)` becomes `@replace(@meter, x, a, b)`.
    fn own(&mut self, id: u64, call: CallExpr) -> Expr {
        let matches = call.func_name == "matches";
        let mut args: Vec<_> = call.target.map(|t| *t).into_iter().chain(call.args).collect();
        if let (true, Some(last)) = (matches, args.last_mut()) {
            self.precompile(last);
        }
        let args = args.into_iter().map(|a| self.expr(a));
        let args = std::iter::once(ident(id, METER)).chain(args).collect();
        Expr::Call(CallExpr {
            func_name: format!("@{}", call.func_name),
            target: None,
            args,
        })
    }

    fn precompile(&mut self, last: &mut IdedExpr) {
        let Some(compiled) = literal_text(last).and_then(|source| pattern(source).ok()) else {
            return;
        };
        let name = format!("@pattern{}", self.patterns.len());
        last.expr = Expr::Ident(name.clone());
        self.patterns.push((name, Compiled(Arc::new(compiled))));
    }

    fn unless_literal(&mut self, wrapper: &str, e: IdedExpr) -> IdedExpr {
        if is_literal(&e) { e } else { paid(wrapper, self.expr(e)) }
    }
}

/// `@result + [x]`, the step of `map` and `filter`: recognized by shape in the interpreter, so left in that shape.
/// What `x` costs is paid where it becomes an element.
fn appends(call: &CallExpr) -> bool {
    call.func_name == op::ADD
        && matches!(&call.args[..], [accu, list] if is_internal(accu) && matches!(list.expr, Expr::List(_)))
}

/// `@result + 1`, the step of `exists_one`.
fn counts(call: &CallExpr) -> bool {
    call.func_name == op::ADD && matches!(&call.args[..], [accu, one] if is_internal(accu) && is_literal(one))
}

fn is_internal(e: &IdedExpr) -> bool {
    matches!(&e.expr, Expr::Ident(name) if name.starts_with('@'))
}

fn is_literal(e: &IdedExpr) -> bool {
    match &e.expr {
        Expr::Literal(
            LiteralValue::Boolean(_)
            | LiteralValue::Int(_)
            | LiteralValue::UInt(_)
            | LiteralValue::Double(_)
            | LiteralValue::Null
            | LiteralValue::String(_)
            | LiteralValue::Bytes(_),
        ) => true,
        Expr::Call(_)
        | Expr::Comprehension(_)
        | Expr::Ident(_)
        | Expr::List(_)
        | Expr::Map(_)
        | Expr::Select(_)
        | Expr::Struct(_)
        | Expr::Unspecified => false,
    }
}

fn paid(wrapper: &str, e: IdedExpr) -> IdedExpr {
    let id = e.id;
    let call = CallExpr {
        func_name: wrapper.to_owned(),
        target: None,
        args: vec![ident(id, METER), e],
    };
    IdedExpr {
        id,
        expr: Expr::Call(call),
    }
}

fn ident(id: u64, name: &str) -> IdedExpr {
    IdedExpr {
        id,
        expr: Expr::Ident(name.to_owned()),
    }
}
