//! Apply patches in YAML to put to both readers: every scalar in every place, and lines put together at random.

use crate::requests::Dice;

const RANDOM: usize = 2400;

/// Plain scalars that readers of YAML take for one thing or another.
const SCALARS: [&str; 96] = [
    "a",
    "~",
    "null",
    "Null",
    "NULL",
    "nULL",
    "true",
    "True",
    "TRUE",
    "tRue",
    "false",
    "False",
    "FALSE",
    "y",
    "Y",
    "yes",
    "Yes",
    "YES",
    "n",
    "N",
    "no",
    "No",
    "NO",
    "on",
    "On",
    "ON",
    "off",
    "Off",
    "OFF",
    "0",
    "-0",
    "+0",
    "1",
    "-1",
    "+1",
    "12",
    "007",
    "0777",
    "08",
    "0o17",
    "0O17",
    "0x1f",
    "0X1F",
    "-0x1F",
    "0b11",
    "-0b11",
    "1_000",
    "_1",
    "1__0",
    "1_",
    "1.0",
    "1.",
    ".5",
    "-.5",
    "+.5",
    "1e3",
    "1E3",
    "1e+3",
    "1e-3",
    "1.5e3",
    "1_0.5",
    "1e400",
    "1e",
    "e1",
    "0e0",
    "00.5",
    ".",
    "..",
    "-",
    "+",
    ".inf",
    "-.Inf",
    "+.INF",
    ".nan",
    ".NaN",
    "1:20",
    "190:20:30",
    "1:20.5",
    "8080:80",
    "12:61",
    "2026-11-23",
    "2026-11-23T17:00:00Z",
    "2026-11-23 17:00:00",
    "10.0.0.1",
    "1.2.3",
    "5m",
    "100Mi",
    "0.1.2",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "0123abc",
    "00:11:22:aa:bb:cc",
    "=",
    "<<",
];

/// Whole patches, each with something that is refused or that is easily read wrong.
const WHOLE: [&str; 62] = [
    "a: &x 1\nb: *x\n",
    "a: &x {b: 1}\n",
    "a: *x\n",
    "a: !!str 1\n",
    "a: !!binary aGk=\n",
    "a: !x y\n",
    "a: ! y\n",
    "!!map {a: 1}\n",
    "%YAML 1.1\n---\na: 1\n",
    "%TAG ! x\n---\na: 1\n",
    "---\na: 1\n",
    "--- {a: 1}\n",
    "a: 1\n...\n",
    "a: 1\n---\nb: 2\n",
    "a: 1\n---\n",
    "---\n---\na: 1\n",
    "a: 1\n...\nb: 2\n",
    "",
    "---\n",
    "# nothing\n",
    "- a\n",
    "a\n",
    "a: 1\na: 2\n",
    "a: 1\n\"a\": 2\n",
    "<<: {a: 1}\n",
    "\"<<\": {a: 1}\n",
    "a: {<<: {b: 1}}\n",
    "1: a\n",
    "1.5: a\n",
    "~: a\n",
    "null: a\n",
    "yes: a\n",
    "true: a\n",
    "y: 1\n",
    "? a\n: b\n",
    "? [a]\n: b\n",
    "? {a: b}\n: c\n",
    "[a]: b\n",
    "{a: b}: c\n",
    "a:\n- b\n- c\n",
    "a:\n  - b\n  -   c: d\n      e: f\n",
    "a: [b, {c: d}, ]\n",
    "a: {b: c, }\n",
    "{a: b, c}\n",
    "a: [b\n, c]\n",
    "{\"a\":\"b\"}\n",
    "{\"a\":1,\"a\":2}\n",
    "{a: 1,\n b: 2}\n",
    "a: {b: \n c}\n",
    "a:\n\tb: c\n",
    "a:\tb\n",
    "a: b\t# c\n",
    "a: b # c\n",
    "a: b# c\n",
    "\ta: b\n",
    "kind: Pod\nKind: Secret\n",
    "kind: Pod\nspec:\n  hostPID: true\n  hostpid: false\n",
    "a: \"\\/\\x41\\u00e9\\N\\_\\L\\P\\e\"\n",
    "a: \"\\ud83d\\ude00\"\n",
    "a: \"\\U0001F600\"\n",
    "a: 'it''s'\n",
    "a: b: c\n",
];

const TEXTS: [&str; 34] = [
    "|\n    x\n    y\n",
    "|-\n    x\n",
    "|+\n    x\n\n",
    "|2\n      x\n    y\n",
    ">\n    x\n    y\n\n    z\n",
    ">-\n    x\n      y\n    z\n",
    ">+\n    x\n\n\n",
    "|\n    x\n\n\n",
    "|\n\n    x\n",
    ">\n    x\n\n      y\n\n    z\n",
    "| # c\n    x\n",
    "\"x\n    y\"\n",
    "\"x\n\n    y\"\n",
    "\"x\\\n    y\"\n",
    "'x\n    y'\n",
    "'x\n\n    y'\n",
    "x\n    y\n",
    "x\n\n    y\n",
    "\"x \\\n    y\"\n",
    "\"\tx\t\"\n",
    "'\tx'\n",
    "|\n    \tx\n",
    "|\n    x \n    y\t\n",
    ">\n    x\n    \ty\n",
    "\" x \"\n",
    "\"x  \n    y\"\n",
    "|\r\n    x\r\n    y\r\n",
    "x # y\n",
    "x#y\n",
    "x: y\n",
    "'x' \n",
    "\"x\" # y\n",
    "|9\n    x\n",
    ">1-\n    x\n",
];

/// None twice would need no set: they are few, and a line that stands twice does no harm.
pub(crate) fn all() -> Vec<String> {
    let mut patches: Vec<String> = WHOLE.iter().map(|text| (*text).to_owned()).collect();
    for scalar in SCALARS {
        patches.push(format!("a: {scalar}\n"));
        patches.push(format!("a: [{scalar}, b]\n"));
        patches.push(format!("{scalar}: a\n"));
        patches.push(format!("a: '{scalar}'\n"));
    }
    for text in TEXTS {
        patches.push(format!("a:\n  b: {text}  c: d\n"));
        patches.push(format!("a:\n  b: {}", text.trim_end_matches(['\n', '\r'])));
        patches.push(format!("a:\n  - {text}  - d\n"));
    }
    let mut dice = Dice(0x6d61_6e74_6c65_7432);
    patches.extend((0..RANDOM).map(|_| lines(&mut dice)));
    patches
}

const STARTS: [&str; 16] = [
    "a:", "b:", "c:", "a: ", "b: ", "- ", "-", "- a: ", "? a", ": b", "\"a\": ", "'b': ", "kind: ", "d: {", "e: [", "}",
];
const REST: [&str; 34] = [
    "",
    "",
    "",
    "x",
    "x y",
    "\"x\"",
    "'x'",
    "\"x\\ty\"",
    "|",
    ">",
    "|-",
    ">+",
    "[1, x]",
    "{x: y}",
    "{x: 1, y: [z]}",
    "]",
    "}",
    "# c",
    "x # c",
    "'x",
    "\"x",
    "x'",
    "x\"",
    ", x",
    "x, y",
    "x: y",
    "- x",
    "@x",
    "`x`",
    "%x",
    "x\r",
    "\t",
    "  ",
    "x:",
];

fn lines(dice: &mut Dice) -> String {
    let mut text = String::new();
    let mut indent = 0;
    for _ in 0..1 + dice.below(4) {
        text.push_str(&" ".repeat(indent));
        text.push_str(dice.pick(&STARTS));
        text.push_str(if dice.percent(15) {
            dice.pick(&SCALARS)
        } else {
            dice.pick(&REST)
        });
        text.push_str(if dice.percent(4) { "\r\n" } else { "\n" });
        indent = match dice.below(5) {
            0 => indent + 2,
            1 => indent.saturating_sub(2),
            2 if dice.percent(20) => indent + 1,
            _ => indent,
        };
    }
    text
}
