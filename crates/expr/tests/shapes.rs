//! What is said at load of fields and types where the shape of a root is known, and what never is.

use std::sync::Arc;

use mantlet_expr::{Bindings, Environment, Fields, Program, Shape, Wants};
use serde_json::json;

/// A schema that holds itself, as that of a CustomResourceDefinition does.
#[derive(Debug)]
struct Schema;

impl Fields for Schema {
    fn field(&self, name: &str) -> Option<Shape> {
        match name {
            "type" => Some(Shape::Text),
            "items" => Some(Shape::Object(Arc::new(Schema))),
            "properties" => Some(Shape::map(Shape::Object(Arc::new(Schema)))),
            _ => None,
        }
    }
    fn names(&self) -> Vec<String> {
        ["type", "items", "properties"].map(str::to_owned).into()
    }
}

fn env() -> Environment {
    let container = || {
        Shape::record([
            ("name", Shape::Text),
            ("image", Shape::Text),
            ("privileged", Shape::Bool),
            ("limits", Shape::map(Shape::Scalar)),
        ])
    };
    let spec = Shape::record([
        ("replicas", Shape::Int),
        ("ratio", Shape::Number),
        ("port", Shape::Scalar),
        ("containers", Shape::list(container())),
        ("initContainers", Shape::list(container())),
        ("open", Shape::Any),
        ("schema", Shape::Object(Arc::new(Schema))),
    ]);
    let metadata = Shape::record([("name", Shape::Text), ("labels", Shape::map(Shape::Text))]);
    Environment::new("a test", &["object", "claims"])
        .with_shape("object", Shape::record([("spec", spec), ("metadata", metadata)]))
}

fn faults(source: &str) -> Vec<String> {
    let faults = Program::compile(&env(), source, Wants::Any).err().unwrap_or_default();
    faults.iter().map(ToString::to_string).collect()
}

#[test]
fn what_can_never_be_right_is_told_with_its_place() {
    for (source, told) in [
        (
            "object.spec.replica == 3",
            "there is no field `replica` here, did you mean `replicas`? (line 1, column 12)",
        ),
        (
            "true &&\n object.spce.replicas == 3",
            "there is no field `spce` here, did you mean `spec`? (line 2, column 8)",
        ),
        (
            "has(object.spec.hostNetwork)",
            "there is no field `hostNetwork` here; if there is one all the same, write `[?'hostNetwork']`",
        ),
        ("object.spec.?replica.hasValue()", "did you mean `replicas`?"),
        ("object.?spec.?replica.hasValue()", "did you mean `replicas`?"),
        ("object.?spec.replica.hasValue()", "did you mean `replicas`?"),
        ("object.spec.containers.all(c, c.imgae != '')", "did you mean `image`?"),
        (
            "object.spec.containers.exists(i, c, c.imgae != '')",
            "did you mean `image`?",
        ),
        ("object.spec.containers[0].imgae", "did you mean `image`?"),
        ("object.spec.containers[?0].imgae", "did you mean `image`?"),
        (
            "object.spec.containers.filter(c, c.privileged).all(c, c.imgae != '')",
            "did you mean `image`?",
        ),
        (
            "object.spec.containers.map(c, c.limits).all(l, l.cpu.memory != '')",
            "a number or a string has no field `memory`",
        ),
        (
            "(object.spec.containers + object.spec.initContainers).all(c, c.imgae != '')",
            "did you mean `image`?",
        ),
        (
            "(object.spec.containers + object.spec.?initContainers.orValue([])).all(c, c.imgae != '')",
            "did you mean `image`?",
        ),
        (
            "object.spec.?containers.orValue([]).all(c, c.imgae != '')",
            "did you mean `image`?",
        ),
        ("optional.of(object.spec).value().replica", "did you mean `replicas`?"),
        (
            "object.?spec.optMap(s, s.replica).hasValue()",
            "did you mean `replicas`?",
        ),
        (
            "object.spec.containers.sort().all(c, c.imgae != '')",
            "did you mean `image`?",
        ),
        (
            "object.spec.containers.transformList(i, c, c.image).all(t, t > 1)",
            "cannot compare a string with an int",
        ),
        (
            "object.spec.replicas == '3'",
            "compares an int with a string, which are never equal",
        ),
        (
            "object.metadata.name == 1",
            "compares a string with an int, which are never equal",
        ),
        ("object.metadata.labels.app == 1", "compares a string with an int"),
        ("object.metadata.labels['app'] == true", "compares a string with a bool"),
        (
            "object.metadata.labels.all(k, v, v == 1)",
            "compares a string with an int",
        ),
        ("object.metadata.labels.all(k, k == 1)", "compares a string with an int"),
        ("object.spec.port == true", "compares a number or a string with a bool"),
        (
            "object.spec.replicas.startsWith('3')",
            "an int has no function `startsWith`",
        ),
        ("object.spec.replicas && true", "`&&` wants a bool, this is an int"),
        (
            "object.spec.containers[0].privileged ? 1 : object.spec.nope",
            "there is no field `nope`",
        ),
        (
            "quantity(object.spec.replicas)",
            "`quantity` wants a string here, this is an int",
        ),
        (
            "object.metadata.name.matches(object.spec.replicas)",
            "`matches` wants a string here",
        ),
        ("object.spec.replicas.all(x, true)", "an int cannot be iterated"),
        (
            "object.spec.schema.items.items.properties.a.nope",
            "there is no field `nope`",
        ),
        (
            "object.spec.schema.properties.all(k, v, v.type == 1)",
            "compares a string with an int",
        ),
        (
            "object.metadata.name.split('-').all(part, part == 1)",
            "compares a string with an int",
        ),
        ("[1, 2].map(x, x + 'a')", "`+` cannot take an int and a string"),
        ("object == 'x'", "compares a map with a string"),
        ("object.spec + object.metadata", "`+` cannot take a map and a map"),
    ] {
        let found = faults(source);
        assert!(found.len() == 1 && found[0].contains(told), "{source}: {found:?}");
    }
}

#[test]
fn what_could_be_right_is_taken() {
    for source in [
        "object.spec.replicas == null",
        "object == null || object.spec.replicas > 3",
        "object.spec.replicas == 3.0 && object.spec.replicas < 2.5",
        "object.spec.ratio + 1 > 2 || object.spec.ratio + 0.5 > 2.0 || object.spec.ratio == 1",
        "object.spec.port == 80 || object.spec.port == 'http'",
        "quantity(object.spec.containers[0].limits.cpu).isGreaterThan(quantity('1'))",
        "int(object.spec.port) > 1024 || string(object.spec.port) == 'x'",
        "object.spec.open.anything.at.all == 1",
        "object.spec.open == 'x' || object.spec.open.all(x, x == 1)",
        "claims.anything == 1",
        "object['spec']['nope'] == 1",
        "object.spec[?'nope'].hasValue()",
        "object.spec[object.metadata.name] == 1",
        "'nope' in object.spec",
        "dyn(object).nope == 1",
        "object.spec.all(k, k != '') && object.spec.all(k, v, v == 1 || v == 'x')",
        "object.metadata.labels.anything == 'x'",
        "object.spec.schema.items.items.items.type == 'x'",
        "[object.spec, object.metadata].all(x, x.name == 'y' || x.replicas == 1)",
        "(object.spec.replicas > 1 ? object.spec : object.metadata).name == 'x'",
        "object.spec.?replicas.orValue('none') == 'none' || object.spec.?replicas.orValue(0) == 1",
        "[1, 'a'].all(x, x == 1 || x == 'a')",
        "[].all(x, x.anything == 1) && {}.all(k, v, v.anything == k)",
        "[?object.spec.?replicas].all(x, x == 1)",
        "object.spec.containers.map(c, c.name) == ['a']",
        "object.spec.containers.indexOf({'name': 'a'}) == 0",
        "object.spec.containers.map(object, object.image)[0] == 'x'",
    ] {
        assert_eq!(faults(source), Vec::<String>::new(), "{source}");
    }
}

#[test]
fn a_variable_has_the_shape_of_its_expression() {
    let shape = |source| Program::compile(&env(), source, Wants::Any).unwrap().shape().clone();
    let env = env().with_variables([
        (
            "containers".to_owned(),
            shape("object.spec.containers + object.spec.?initContainers.orValue([])"),
        ),
        ("count".to_owned(), shape("size(object.spec.containers)")),
        ("images".to_owned(), shape("object.spec.containers.map(c, c.image)")),
        ("open".to_owned(), shape("claims.x")),
        ("unsigned".to_owned(), shape("uint(1)")),
    ]);
    let fault = |source| {
        let faults = Program::compile(&env, source, Wants::Bool).err();
        faults.map(|faults| faults[0].message.clone())
    };
    assert!(
        fault("variables.containers.all(c, c.imgae != '')")
            .unwrap()
            .contains("did you mean `image`")
    );
    assert!(fault("variables.count == 'x'").unwrap().contains("never equal"));
    assert!(
        fault("variables.images.exists(i, i == 1)")
            .unwrap()
            .contains("never equal")
    );
    assert_eq!(fault("variables.open.anything == 1"), None);
    // What was a uint comes back from JSON as an int.
    assert_eq!(fault("variables.unsigned == 1 && variables.unsigned + 1 == 2"), None);
}

#[test]
fn a_shape_changes_nothing_of_what_an_expression_comes_to() {
    let object =
        json!({"spec": {"replicas": 3, "containers": [{"image": "a"}, {"image": "b"}]}, "metadata": {"name": "x"}});
    let mut bindings = Bindings::new(None);
    bindings.bind("object", &object);
    let open = Environment::new("a test", &["object", "claims"]);
    for source in [
        "object.spec.containers.filter(c, c.image == 'a').map(c, c.image)",
        "object.spec.?initContainers.orValue([])",
        "object.spec.containers.transformMap(i, c, c.image)",
        "object.spec.ratio == 1",
    ] {
        let run = |env| Program::compile(env, source, Wants::Any).unwrap().evaluate(&bindings);
        assert_eq!(run(&env()), run(&open), "{source}");
    }
}
