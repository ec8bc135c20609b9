//! `quantity('1.5Gi')`: amounts as Kubernetes writes them.
//!
//! As `k8s.io/apimachinery/pkg/api/resource`: an amount is a 64-bit number and a power of ten where that holds it, else a decimal
//! rounded up to billionths. Which of the two it is shows: `quantity('1000m').isInteger()` is false, and so is that of `1.5Gi`.
//! An amount of over [`MAX_DIGITS`] digits has no value here, while Kubernetes computes with it.

use std::cmp::Ordering;

use cel::common::types::{CelDouble, CelInt, Type};
use cel::common::value::CowVal;
use num_bigint::BigInt;

use super::{Fault, Thing, answer, reading, text, thing, truth, whole};
use crate::functions::{Answer, Args, Own, cannot, charged, refused};

pub(super) static TYPE: Type = Type::new_unspecified_type("kubernetes.Quantity");

pub(super) static OWN: &[Own] = &[
    ("quantity", 1, quantity),
    ("isQuantity", 1, is_quantity),
    ("sign", 1, sign),
    ("isInteger", 1, is_integer),
    ("asInteger", 1, as_integer),
    ("asApproximateFloat", 1, as_float),
    ("add", 2, add),
    ("sub", 2, sub),
];

const MAX_DIGITS: i32 = 512;

/// `value` times ten to the `scale`, or to the minus `scale` for a decimal: as the two Go types have it.
#[derive(Debug, Clone)]
pub(super) enum Quantity {
    Int { value: i64, scale: i32 },
    Dec { value: BigInt, scale: i32 },
}

impl Thing for Quantity {
    fn ty() -> &'static Type {
        &TYPE
    }
    fn weight(&self) -> u64 {
        8
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Quantity) -> bool {
        self.compare(other) == Ordering::Equal
    }
}

enum Unread {
    NotOne,
    TooLarge,
}

impl Quantity {
    fn parse(text: &str) -> Result<Quantity, Unread> {
        let written = Written::of(text).ok_or(Unread::NotOne)?;
        let (binary, exponent) = power(written.suffix).ok_or(Unread::NotOne)?;
        let length = |digits: &str| i32::try_from(digits.len()).unwrap_or(i32::MAX);
        let (whole, fraction) = (length(written.whole), length(written.fraction));
        if whole.saturating_add(fraction) > MAX_DIGITS || exponent.unsigned_abs() > MAX_DIGITS.unsigned_abs() {
            return Err(Unread::TooLarge);
        }
        if let Some(quick) = written.quick(binary, exponent, whole, fraction) {
            return Ok(quick);
        }
        Ok(written.slow(binary, exponent, fraction))
    }

    pub(super) fn compare(&self, other: &Quantity) -> Ordering {
        let ((a, b), _) = aligned(self, other);
        a.cmp(&b)
    }

    /// The unscaled value and how many of its digits are behind the point.
    fn decimal(&self) -> (BigInt, i32) {
        match self {
            Quantity::Int { value, scale } => (BigInt::from(*value), -scale),
            Quantity::Dec { value, scale } => (value.clone(), *scale),
        }
    }

    fn plus(&self, other: &Quantity) -> Result<Quantity, Fault> {
        if let (Quantity::Int { value: a, scale: p }, Quantity::Int { value: b, scale: q }) = (self, other)
            && let Some(sum) = quick_sum((*a, *p), (*b, *q))
        {
            return Ok(sum);
        }
        let ((a, b), scale) = aligned(self, other);
        let value = a + b;
        // 3.32 bits are a digit; two of the largest have three times as many, for one may be tiny and the other huge.
        if value.bits() > 4 * u64::from(MAX_DIGITS.unsigned_abs()) * 3 {
            return Err(too_large());
        }
        Ok(Quantity::Dec { value, scale })
    }

    fn minus(&self, other: &Quantity) -> Result<Quantity, Fault> {
        let negated = match other {
            Quantity::Int { value, scale } => match value.checked_neg() {
                Some(value) => Quantity::Int { value, scale: *scale },
                None => Quantity::Dec {
                    value: -BigInt::from(*value),
                    scale: -scale,
                },
            },
            Quantity::Dec { value, scale } => Quantity::Dec {
                value: -value,
                scale: *scale,
            },
        };
        self.plus(&negated)
    }

    fn integer(&self) -> Option<i64> {
        match self {
            Quantity::Int { value, scale } if *scale >= 0 => scaled(*value, scale.unsigned_abs()),
            Quantity::Int { .. } | Quantity::Dec { .. } => None,
        }
    }

    fn float(&self) -> f64 {
        let (value, exponent) = match self {
            Quantity::Int { value, scale } => (*value as f64, *scale),
            Quantity::Dec { value, scale } => (value.to_string().parse().unwrap_or(f64::NAN), -scale),
        };
        if exponent == 0 {
            return value;
        }
        // Go `math.Pow10` is the nearest to the power of ten, as a parsed literal is.
        value * format!("1e{exponent}").parse::<f64>().unwrap_or(f64::NAN)
    }

    fn sign(&self) -> i64 {
        match self.decimal().0.sign() {
            num_bigint::Sign::Minus => -1,
            num_bigint::Sign::NoSign => 0,
            num_bigint::Sign::Plus => 1,
        }
    }
}

/// Both as whole numbers of the finer of their last digits.
fn aligned(a: &Quantity, b: &Quantity) -> ((BigInt, BigInt), i32) {
    let ((a, p), (b, q)) = (a.decimal(), b.decimal());
    let scale = p.max(q);
    ((a * ten(scale - p), b * ten(scale - q)), scale)
}

fn ten(power: i32) -> BigInt {
    BigInt::from(10).pow(power.max(0).unsigned_abs())
}

fn scaled(value: i64, power: u32) -> Option<i64> {
    if value == 0 {
        Some(0)
    } else {
        value.checked_mul(10_i64.checked_pow(power)?)
    }
}

/// `amount.go`, int64Amount.Add: none where 64 bits do not hold the sum.
fn quick_sum((a, p): (i64, i32), (b, q): (i64, i32)) -> Option<Quantity> {
    let of = |value, scale| Some(Quantity::Int { value, scale });
    match (a, b) {
        (_, 0) => of(a, p),
        (0, _) => of(b, q),
        _ if p > q => of(scaled(a, p.abs_diff(q))?.checked_add(b)?, q),
        _ => of(scaled(b, q.abs_diff(p))?.checked_add(a)?, p),
    }
}

/// A quantity in its parts, as `parseQuantityString` finds them.
struct Written<'t> {
    positive: bool,
    whole: &'t str,
    fraction: &'t str,
    suffix: &'t str,
}

impl<'t> Written<'t> {
    fn of(text: &'t str) -> Option<Written<'t>> {
        if text.is_empty() {
            return None;
        }
        let positive = !text.starts_with('-');
        let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
        let digits = unsigned.trim_start_matches('0');
        let (whole, rest) = split(digits, |c| c.is_ascii_digit());
        let (fraction, suffix) = match rest.strip_prefix('.') {
            Some(rest) => split(rest, |c| c.is_ascii_digit()),
            None => ("", rest),
        };
        let (_, tail) = split(suffix, |c| "eEinumkKMGTP".contains(c));
        let (_, tail) = split(tail.strip_prefix(['-', '+']).unwrap_or(tail), |c| c.is_ascii_digit());
        let whole = if whole.is_empty() { "0" } else { whole };
        tail.is_empty().then_some(Written {
            positive,
            whole,
            fraction,
            suffix,
        })
    }

    /// What 64 bits can hold by a look at the number of digits.
    fn quick(&self, binary: bool, exponent: i32, whole: i32, fraction: i32) -> Option<Quantity> {
        let (precision, scale, factor) = match binary {
            false => (18 - whole - fraction, exponent, 1_i64),
            true if exponent >= 0 && fraction == 0 => {
                let taken = (exponent as f32 * 3.0 / 10.0) as i32;
                (15 - whole - taken - 1, 0, 1_i64.checked_shl(exponent.unsigned_abs())?)
            }
            true => return None,
        };
        let scale = scale - fraction;
        if precision < 0 || scale < -9 {
            return None;
        }
        let value: i64 = format!("{}{}", self.whole, self.fraction).parse().ok()?;
        let value = value.checked_mul(factor)?;
        let value = if self.positive { value } else { -value };
        Some(Quantity::Int { value, scale })
    }

    fn slow(&self, binary: bool, exponent: i32, fraction: i32) -> Quantity {
        let digits = format!("{}{}", self.whole, self.fraction);
        let value = digits.parse::<BigInt>().unwrap_or_default();
        let (value, scale) = match binary {
            false => (value, fraction - exponent),
            true => (value << exponent.unsigned_abs(), fraction),
        };
        let (mut value, mut scale) = billionths(value, scale);
        let most = BigInt::from(i64::MAX);
        if binary && value > &most * ten(scale) {
            (value, scale) = (most, 0);
        }
        let value = if self.positive { value } else { -value };
        Quantity::Dec { value, scale }
    }
}

/// Rounded up to billionths, which is also the scale that any decimal is brought to; but for zero.
fn billionths(value: BigInt, scale: i32) -> (BigInt, i32) {
    const NANO: i32 = 9;
    if value == BigInt::ZERO {
        return (value, scale);
    }
    if scale <= NANO {
        return (value * ten(NANO - scale), NANO);
    }
    let unit = ten(scale - NANO);
    let up = &unit - BigInt::from(1);
    ((value + up) / unit, NANO)
}

fn split(text: &str, while_it: impl Fn(char) -> bool) -> (&str, &str) {
    let end = text.find(|c| !while_it(c)).unwrap_or(text.len());
    text.split_at(end)
}

/// Whether a suffix is a power of two, and which power of its base.
fn power(suffix: &str) -> Option<(bool, i32)> {
    Some(match suffix {
        "n" => (false, -9),
        "u" => (false, -6),
        "m" => (false, -3),
        "" => (false, 0),
        "k" => (false, 3),
        "M" => (false, 6),
        "G" => (false, 9),
        "T" => (false, 12),
        "P" => (false, 15),
        "E" => (false, 18),
        "Ki" => (true, 10),
        "Mi" => (true, 20),
        "Gi" => (true, 30),
        "Ti" => (true, 40),
        "Pi" => (true, 50),
        "Ei" => (true, 60),
        _ => {
            let exponent: i64 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            // INVARIANT: beyond `MAX_DIGITS` either way, so what Go cuts to 32 bits is too large here.
            let exponent = exponent.clamp(i64::from(i32::MIN), i64::from(i32::MAX));
            (false, i32::try_from(exponent).ok()?)
        }
    })
}

fn too_large() -> Fault {
    refused(&format!(
        "a quantity of more than {MAX_DIGITS} digits has no value here"
    ))
}

fn quantity<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    let (meter, args) = charged(args)?;
    let text = text(&args, 0).ok_or_else(|| cannot("quantity", &args))?;
    meter.weight(reading(text))?;
    match Quantity::parse(text) {
        Ok(quantity) => Ok(answer(quantity)),
        Err(Unread::NotOne) => Err(refused("`quantity` was given what is none")),
        Err(Unread::TooLarge) => Err(too_large()),
    }
}

fn is_quantity<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    let (meter, args) = charged(args)?;
    let text = text(&args, 0).ok_or_else(|| cannot("isQuantity", &args))?;
    meter.weight(reading(text))?;
    Ok(truth(!matches!(Quantity::parse(text), Err(Unread::NotOne))))
}

fn of_one<'b, 'v>(
    function: &str,
    args: Args<'b, 'v>,
    of: impl FnOnce(&Quantity) -> Result<CowVal<'b, 'v>, Fault>,
) -> Answer<'b, 'v> {
    let (meter, args) = charged(args)?;
    meter.weight(8)?;
    of(thing::<Quantity>(&args, 0).ok_or_else(|| cannot(function, &args))?)
}

fn sign<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    of_one("sign", args, |q| Ok(whole(q.sign())))
}

fn is_integer<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    of_one("isInteger", args, |q| Ok(truth(q.integer().is_some())))
}

fn as_integer<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    of_one("asInteger", args, |q| {
        q.integer()
            .map(whole)
            .ok_or_else(|| refused("`asInteger` was given what is no integer"))
    })
}

fn as_float<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    of_one("asApproximateFloat", args, |q| {
        Ok(CowVal::owned(CelDouble::from(q.float())))
    })
}

fn add<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    combined("add", args, Quantity::plus)
}

fn sub<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    combined("sub", args, Quantity::minus)
}

fn combined<'b, 'v>(
    function: &str,
    args: Args<'b, 'v>,
    combine: fn(&Quantity, &Quantity) -> Result<Quantity, Fault>,
) -> Answer<'b, 'v> {
    let (meter, args) = charged(args)?;
    // Aligning two of the largest makes a thousand digits of each.
    meter.weight(1024)?;
    let one = thing::<Quantity>(&args, 0).ok_or_else(|| cannot(function, &args))?;
    let number = args.get(1).and_then(|v| v.downcast_ref::<CelInt>());
    let number = number.map(|n| Quantity::Int {
        value: *n.inner(),
        scale: 0,
    });
    let other = thing::<Quantity>(&args, 1).or(number.as_ref());
    combine(one, other.ok_or_else(|| cannot(function, &args))?).map(answer)
}
