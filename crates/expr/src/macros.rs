//! The macros that `cel-go` adds for Kubernetes: comprehensions on two variables.
//!
//! In: a call as written. Out: a comprehension that names both variables, which the check sees as it is and the guard makes one on pairs, since the
//! interpreter knows one variable only. What they end in are functions that no source can name.

use cel::common::ast::{CallExpr, ComprehensionExpr, Expr, IdedExpr, ListExpr, LiteralValue, operators as op};
use cel::parser::{Macro, MacroExprHelper, ParseError};
use cel::{DeclarationError, Env};

/// What macros accumulate into.
const RESULT: &str = "@result";

pub(crate) fn add(env: &mut Env) -> Result<(), DeclarationError> {
    let mut receiver = |name: &'static str, args, expand: Expand| {
        env.add_macro(Macro::receiver(name, args, move |helper, target, args| {
            let target = target.take().unwrap_or_default();
            expand(&mut Expander(helper), target, std::mem::take(args)).map(Some)
        }))
    };
    receiver("all", 3, all)?;
    receiver("exists", 3, exists)?;
    receiver("existsOne", 3, exists_one)?;
    receiver("exists_one", 3, exists_one)?;
    receiver("transformList", 3, transform_list)?;
    receiver("transformList", 4, transform_list)?;
    receiver("transformMap", 3, transform_map)?;
    receiver("transformMap", 4, transform_map)?;
    receiver("transformMapEntry", 3, transform_map_entry)?;
    receiver("transformMapEntry", 4, transform_map_entry)
}

type Expand = fn(&mut Expander<'_, '_>, IdedExpr, Vec<IdedExpr>) -> Result<IdedExpr, ParseError>;

struct Expander<'h, 'p>(&'h mut MacroExprHelper<'p>);

/// The loop, without what it goes over and its variables.
struct Loop {
    init: IdedExpr,
    condition: IdedExpr,
    step: IdedExpr,
    result: IdedExpr,
}

impl Expander<'_, '_> {
    fn node(&mut self, expr: Expr) -> IdedExpr {
        self.0.next_expr(expr)
    }

    fn literal(&mut self, value: LiteralValue) -> IdedExpr {
        self.node(Expr::Literal(value))
    }

    fn truth(&mut self, value: bool) -> IdedExpr {
        self.literal(LiteralValue::Boolean(value.into()))
    }

    fn result(&mut self) -> IdedExpr {
        self.node(Expr::Ident(RESULT.to_owned()))
    }

    fn list(&mut self, elements: Vec<IdedExpr>) -> IdedExpr {
        self.node(Expr::List(ListExpr::new(elements)))
    }

    fn call(&mut self, name: &str, args: Vec<IdedExpr>) -> IdedExpr {
        self.node(Expr::Call(CallExpr {
            func_name: name.to_owned(),
            target: None,
            args,
        }))
    }

    fn name(&mut self, e: &IdedExpr) -> Result<String, ParseError> {
        match &e.expr {
            Expr::Ident(name) if !name.starts_with('.') => Ok(name.clone()),
            _ => Err(self.0.new_error(e.id, "argument must be a simple name")),
        }
    }

    /// The two names in front of the rest of the arguments.
    fn names(&mut self, args: &mut Vec<IdedExpr>) -> Result<(String, String), ParseError> {
        let rest = args.split_off(args.len().min(2));
        let [one, two] = std::mem::replace(args, rest).try_into().unwrap_or_default();
        let names = (self.name(&one)?, self.name(&two)?);
        if names.0 == names.1 {
            let fault = format!("duplicate variable name: {}", names.0);
            return Err(self.0.new_error(two.id, fault));
        }
        Ok(names)
    }

    fn comprehension(&mut self, over: IdedExpr, (one, two): (String, String), a_loop: Loop) -> IdedExpr {
        self.node(Expr::Comprehension(Box::new(ComprehensionExpr {
            iter_range: over,
            iter_var: one,
            iter_var2: Some(two),
            accu_var: RESULT.to_owned(),
            accu_init: a_loop.init,
            loop_cond: a_loop.condition,
            loop_step: a_loop.step,
            result: a_loop.result,
        })))
    }

    /// `[..]`, to which each pair that passes the filter adds `item`: the shape by which the interpreter knows that it may append in place.
    fn appending(&mut self, filter: Option<IdedExpr>, item: IdedExpr) -> Loop {
        let items = self.list(vec![item]);
        let so_far = self.result();
        let mut step = self.call(op::ADD, vec![so_far, items]);
        if let Some(filter) = filter {
            let unchanged = self.result();
            step = self.call(op::CONDITIONAL, vec![filter, step, unchanged]);
        }
        Loop {
            init: self.list(Vec::new()),
            condition: self.truth(true),
            step,
            result: self.result(),
        }
    }
}

fn all(e: &mut Expander<'_, '_>, over: IdedExpr, mut args: Vec<IdedExpr>) -> Result<IdedExpr, ParseError> {
    let names = e.names(&mut args)?;
    let so_far = e.result();
    let condition = e.call(op::NOT_STRICTLY_FALSE, vec![so_far]);
    let so_far = e.result();
    let a_loop = Loop {
        init: e.truth(true),
        condition,
        step: e.call(op::LOGICAL_AND, vec![so_far, args.pop().unwrap_or_default()]),
        result: e.result(),
    };
    Ok(e.comprehension(over, names, a_loop))
}

fn exists(e: &mut Expander<'_, '_>, over: IdedExpr, mut args: Vec<IdedExpr>) -> Result<IdedExpr, ParseError> {
    let names = e.names(&mut args)?;
    let so_far = e.result();
    let not_yet = e.call(op::LOGICAL_NOT, vec![so_far]);
    let condition = e.call(op::NOT_STRICTLY_FALSE, vec![not_yet]);
    let so_far = e.result();
    let a_loop = Loop {
        init: e.truth(false),
        condition,
        step: e.call(op::LOGICAL_OR, vec![so_far, args.pop().unwrap_or_default()]),
        result: e.result(),
    };
    Ok(e.comprehension(over, names, a_loop))
}

fn exists_one(e: &mut Expander<'_, '_>, over: IdedExpr, mut args: Vec<IdedExpr>) -> Result<IdedExpr, ParseError> {
    let names = e.names(&mut args)?;
    let (so_far, unchanged, counted) = (e.result(), e.result(), e.result());
    let [first, second] = [(); 2].map(|()| e.literal(LiteralValue::Int(1.into())));
    let more = e.call(op::ADD, vec![so_far, first]);
    let a_loop = Loop {
        init: e.literal(LiteralValue::Int(0.into())),
        condition: e.truth(true),
        step: e.call(op::CONDITIONAL, vec![args.pop().unwrap_or_default(), more, unchanged]),
        result: e.call(op::EQUALS, vec![counted, second]),
    };
    Ok(e.comprehension(over, names, a_loop))
}

fn transform_list(e: &mut Expander<'_, '_>, over: IdedExpr, mut args: Vec<IdedExpr>) -> Result<IdedExpr, ParseError> {
    let names = e.names(&mut args)?;
    let item = args.pop().unwrap_or_default();
    let a_loop = e.appending(args.pop(), item);
    Ok(e.comprehension(over, names, a_loop))
}

fn transform_map(e: &mut Expander<'_, '_>, over: IdedExpr, mut args: Vec<IdedExpr>) -> Result<IdedExpr, ParseError> {
    let names = e.names(&mut args)?;
    let item = args.pop().unwrap_or_default();
    let key = e.node(Expr::Ident(names.0.clone()));
    let pair = e.list(vec![key, item]);
    let a_loop = e.appending(args.pop(), pair);
    let pairs = e.comprehension(over, names, a_loop);
    Ok(e.call("@mapped", vec![pairs]))
}

fn transform_map_entry(
    e: &mut Expander<'_, '_>,
    over: IdedExpr,
    mut args: Vec<IdedExpr>,
) -> Result<IdedExpr, ParseError> {
    let names = e.names(&mut args)?;
    let item = args.pop().unwrap_or_default();
    let a_loop = e.appending(args.pop(), item);
    let maps = e.comprehension(over, names, a_loop);
    Ok(e.call("@merged", vec![maps]))
}
