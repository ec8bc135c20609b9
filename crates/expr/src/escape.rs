//! Kubernetes' spelling of fields that are no names in CEL: `__dot__`, `__dash__`, `__slash__`, `__underscores__`, and `__in__` for a word
//! that CEL keeps for itself.
//!
//! In: a parsed tree. Out: the same with each field as it is in the data. As apiserver `pkg/cel/escaping.go`, Unescape, which is asked there
//! when a field is looked up; here it is done once, for fields that the source spells. A name that is no escaped one stays as it is.

use std::sync::LazyLock;

use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators as op};
use regex::{Captures, Regex};

/// apiserver `pkg/cel/escaping.go`, celReservedSymbols.
const RESERVED: [&str; 21] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

pub(crate) fn unescape(mut e: IdedExpr) -> IdedExpr {
    e.expr = match e.expr {
        Expr::Select(mut select) => {
            *select.operand = unescape(std::mem::take(&mut *select.operand));
            select.field = name(&select.field);
            Expr::Select(select)
        }
        Expr::Call(call) => Expr::Call(unescape_call(call)),
        Expr::Comprehension(mut c) => {
            for part in [
                &mut c.iter_range,
                &mut c.accu_init,
                &mut c.loop_cond,
                &mut c.loop_step,
                &mut c.result,
            ] {
                *part = unescape(std::mem::take(part));
            }
            Expr::Comprehension(c)
        }
        Expr::List(mut list) => {
            list.elements = list.elements.into_iter().map(unescape).collect();
            Expr::List(list)
        }
        Expr::Map(mut map) => {
            for entry in &mut map.entries {
                if let EntryExpr::MapEntry(entry) = &mut entry.expr {
                    entry.key = unescape(std::mem::take(&mut entry.key));
                    entry.value = unescape(std::mem::take(&mut entry.value));
                }
            }
            Expr::Map(map)
        }
        leaf @ (Expr::Ident(_) | Expr::Literal(_) | Expr::Struct(_) | Expr::Unspecified) => leaf,
    };
    e
}

fn unescape_call(mut call: CallExpr) -> CallExpr {
    let looks_up = matches!(call.func_name.as_str(), op::INDEX | op::OPT_INDEX | op::OPT_SELECT);
    call.target = call.target.map(|target| Box::new(unescape(*target)));
    call.args = call.args.into_iter().map(unescape).collect();
    if let (true, Some(key)) = (looks_up, call.args.get_mut(1))
        && let Expr::Literal(LiteralValue::String(text)) = &key.expr
    {
        key.expr = Expr::Literal(LiteralValue::String(name(text.inner()).into()));
    }
    call
}

fn name(written: &str) -> String {
    static ESCAPE: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new("__([a-z]+)__").ok());
    let Some(escape) = ESCAPE.as_ref() else {
        return written.to_owned();
    };
    let mut known = true;
    let plain = escape.replace_all(written, |found: &Captures<'_>| match &found[1] {
        "underscores" => "__".to_owned(),
        "dot" => ".".to_owned(),
        "dash" => "-".to_owned(),
        "slash" => "/".to_owned(),
        word if RESERVED.contains(&word) && found[0].len() == written.len() => word.to_owned(),
        _ => {
            known = false;
            String::new()
        }
    });
    if known { plain.into_owned() } else { written.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::name;

    #[test]
    fn names_are_unescaped_as_kubernetes_does() {
        for (written, plain) in [
            ("sub", "sub"),
            ("email_verified", "email_verified"),
            ("kubernetes__dot__io", "kubernetes.io"),
            ("a__dash__b__slash__c", "a-b/c"),
            ("a__underscores__b", "a__b"),
            ("__namespace__", "namespace"),
            ("__namespace__x", "__namespace__x"),
            ("a__other__b", "a__other__b"),
        ] {
            assert_eq!(name(written), plain);
        }
    }
}
