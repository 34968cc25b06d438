use std::collections::HashMap;

use proptest::prelude::*;
use serde_json::json;

use crate::{EvalError, Program, Scope, Type, Value};

fn scope() -> Scope {
    let variables = [("self", Type::Dyn), ("n", Type::Int), ("s", Type::String), ("l", Type::list(Type::Int))];
    let variables: HashMap<String, Type> = variables.map(|(name, kind)| (name.to_owned(), kind)).into();
    Scope { variables, structs: vec!["Object", "JSONPatch"] }
}

fn run(source: &str) -> Result<String, String> {
    let object = json!({"a": {"b": [1, 2, 3], "c": "text", "namespace": true}, "m": {"x": 1, "y": 2}, "f": 1.5});
    let list = json!([3, 1, 2]);
    let program = Program::compile(source, &scope()).map_err(|error| error.to_string())?;
    let variables = [
        ("self", Value::of_json(&object, None)),
        ("n", Value::Int(7)),
        ("s", Value::text("hello")),
        ("l", Value::of_json(&list, None)),
    ];
    let (result, _) = program.run(&variables, crate::CALL_LIMIT);
    let value = result.map_err(|error| error.to_string())?;
    Ok(value.to_json().map_or_else(|| value.type_name().to_string(), |json| json.to_string()))
}

/// Expressions that are true.
const TRUE: &[&str] = &[
    "1 + 2 * 3 == 7 && 7 / 2 == 3 && -7 % 3 == -1",
    "1u + 2u == 3u && 1.5 * 2.0 == 3.0",
    "dyn(1) == 1.0 && dyn(1u) == 1 && 1 < 1.5 && 2u > 1",
    "-9223372036854775808 < 0",
    "'a' + \"b\" == 'ab' && b'ab' == bytes('ab') && r'\\n'.size() == 2 && '''a'b''' == \"a'b\"",
    "'\\u00e9\\x41\\101' == 'éAA'",
    "[1, 2] + [3] == [1, 2, 3] && 2 in [1, 2] && 'a' in {'a': 1} && !('b' in {'a': 1})",
    "{'a': 1}.a == 1 && {'a': 1}['a'] == 1 && {1: 'x'}[1] == 'x'",
    "self.a.b[1] == 2 && has(self.a.c) && !has(self.a.d) && self.a.b.all(x, x > 0)",
    "self.a.b.exists(x, x == 2) && self.a.b.exists_one(x, x == 2) && !self.a.b.exists_one(x, x > 1)",
    "self.a.b.map(x, x * 2) == [2, 4, 6] && self.a.b.map(x, x > 1, x * 2) == [4, 6]",
    "self.a.b.filter(x, x != 2) == [1, 3] && self.m.all(k, k in ['x', 'y'])",
    "self.m.all(k, v, v > 0) && self.a.b.exists(i, v, i == 2 && v == 3) && self.a.b.existsOne(i, v, i == 0)",
    "[1, 2].transformList(i, v, i + v) == [1, 3] && self.m.transformMap(k, v, v * 2) == {'x': 2, 'y': 4}",
    "{'a': 'b'}.transformMapEntry(k, v, {v: k}) == {'b': 'a'}",
    "(1 / 0 == 1 || true) && !(1 / 0 == 1 && false)",
    "n > 5 ? true : false",
    "type(1) == int && type('a') == string && type([]) == list && type(null) == null_type && type(type(1)) == type",
    "int('12') == 12 && string(12) == '12' && double('1.5') == 1.5 && uint(3) == 3u && bool('true') && int(2.9) == 2",
    "string(1.0) == '1' && string(true) == 'true' && string(b'x') == 'x'",
    "timestamp('2024-05-06T07:08:09Z').getFullYear() == 2024 && timestamp('2024-05-06T07:08:09Z').getMonth() == 4",
    "timestamp('2024-05-06T07:08:09Z').getHours('+02:00') == 9",
    "timestamp('2024-01-01T00:00:00Z') + duration('1h') > timestamp('2024-01-01T00:00:00Z')",
    "duration('90m') == duration('1h30m') && duration('1.5s').getMilliseconds() == 1500 && string(duration('90m')) == '5400s'",
    "s.startsWith('he') && s.endsWith('lo') && s.contains('ell') && s.matches('^h.*o$') && s.size() == 5 && size(s) == 5",
    "'tacocat'.charAt(3) == 'o' && 'hello mellow'.indexOf('ello', 2) == 7 && 'hello mellow'.lastIndexOf('ello') == 7",
    "'TacoCat'.lowerAscii() == 'tacocat' && 'abc'.upperAscii() == 'ABC' && ' a '.trim() == 'a'",
    "'hello hello'.replace('he', 'we', 1) == 'wello hello' && 'a,b,c'.split(',') == ['a', 'b', 'c'] && 'a,b,c'.split(',', 2) == ['a', 'b,c']",
    "'tacocat'.substring(4) == 'cat' && 'tacocat'.substring(0, 4) == 'taco' && ['a', 'b'].join('-') == 'a-b'",
    "'%s is %d and %.2f'.format([dyn('x'), 3, 1.5]) == 'x is 3 and 1.50' && '%x'.format([255]) == 'ff' && '%s'.format([[dyn(1), 'a']]) == '[1, a]'",
    "strings.quote('a\"b') == '\"a\\\\\"b\"'",
    "'abc 123'.find('[0-9]+') == '123' && '1 2 3'.findAll('[0-9]') == ['1', '2', '3'] && '1 2 3'.findAll('[0-9]', 1) == ['1']",
    "[1, 2, 3].isSorted() && ![2, 1].isSorted() && [1, 2].sum() == 3 && [1, 5, 2].max() == 5 && [3, 1].min() == 1",
    "[1, 2, 1].indexOf(1) == 0 && [1, 2, 1].lastIndexOf(1) == 2 && [].sum() == 0",
    "[1, 2, 3, 4].slice(1, 3) == [2, 3] && [[1], [2, 3]].flatten() == [1, 2, 3] && [3, 1, 2].sort() == [1, 2, 3]",
    "['aaa', 'b', 'cc'].sortBy(e, e.size()) == ['b', 'cc', 'aaa'] && lists.range(3) == [0, 1, 2] && [1, 2].reverse() == [2, 1] && [1, 1, 2].distinct() == [1, 2]",
    "sets.contains([1, 2], [2]) && sets.equivalent([1, 2], [2, 1, 1]) && sets.intersects([1], [1, 2]) && !sets.intersects([1], [2])",
    "optional.of(1).hasValue() && !optional.none().hasValue() && optional.of(1).orValue(2) == 1 && optional.none().orValue(2) == 2",
    "self.?a.?d.orValue('none') == 'none' && self.?a.?c.orValue('none') == 'text' && self[?'zz'].hasValue() == false",
    "[1, ?optional.none(), ?optional.of(2)] == [1, 2] && {?'a': optional.none(), ?'b': optional.of(1)} == {'b': 1}",
    "optional.of(2).optMap(x, x * 2).value() == 4 && optional.of(2).optFlatMap(x, optional.of(x + 1)).value() == 3",
    "optional.ofNonZeroValue('').hasValue() == false && optional.none().or(optional.of(1)).value() == 1",
    "url('https://example.com:80/path?k=v').getHost() == 'example.com:80' && url('https://a.b/x').getScheme() == 'https' && isURL('https://x.y') && !isURL('x')",
    "url('https://example.com/p?k=a&k=b').getQuery() == {'k': ['a', 'b']} && url('/path').getEscapedPath() == '/path'",
    "quantity('1k') == quantity('1000') && quantity('50k').add(20).isGreaterThan(quantity('50k')) && isQuantity('1Gi') && !isQuantity('x') && quantity('1.5').isInteger() == false",
    "quantity('200M').compareTo(quantity('0.2G')) == 0 && quantity('50000000G').isInteger() && sign(quantity('-1')) == -1",
    "ip('10.0.0.1').family() == 4 && isIP('::1') && !isIP('::ffff:1.2.3.4') && ip('127.0.0.1').isLoopback() && ip.isCanonical('127.0.0.1') && !ip.isCanonical('2001:DB8::1')",
    "cidr('10.0.0.0/8').containsIP('10.1.2.3') && cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16') && cidr('10.1.2.3/8').masked() == cidr('10.0.0.0/8') && cidr('10.0.0.0/8').prefixLength() == 8",
    "string(ip('10.0.0.1')) == '10.0.0.1' && string(cidr('10.0.0.0/8')) == '10.0.0.0/8' && cidr('10.0.0.0/8').ip() == ip('10.0.0.0')",
    "!format.dns1123Label().validate('my-name').hasValue() && format.dns1123Label().validate('My').hasValue() && format.named('uuid').hasValue() && !format.named('x').hasValue()",
    "semver('1.2.3').isLessThan(semver('1.10.0')) && semver('1.2.3').major() == 1 && isSemver('1.0.0-alpha') && !isSemver('v1.0') && semver('v01.1', true) == semver('1.1.0')",
    "jsonpatch.escapeKey('k8s.io/my~label') == 'k8s.io~1my~0label'",
    "dyn(1) == 1 && dyn('a') != 1 && [dyn(1), dyn('a')].size() == 2",
    "// a comment\n n == 7",
    "!!true && --n == 7 && !(n < 7)",
    "Object{spec: Object.spec{replicas: 3}}.spec.replicas == 3",
];

#[test]
fn true_expressions_are_true() {
    let wrong: Vec<_> =
        TRUE.iter().map(|source| (source, run(source))).filter(|(_, found)| found.as_deref() != Ok("true")).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_does_not_fit_is_said_in_upstreams_words() {
    for (source, wanted) in [
        (
            "n > 'a'",
            "ERROR: <input>:1:3: found no matching overload for '_>_' applied to '(int, string)'\n | n > 'a'\n | ..^",
        ),
        ("'a' + n", "found no matching overload for '_+_' applied to '(string, int)'"),
        ("s.startsWith(1)", "found no matching overload for 'startsWith' applied to 'string.(int)'"),
        ("unknown", "undeclared reference to 'unknown' (in container '')"),
        ("nothing(1)", "undeclared reference to 'nothing' (in container '')"),
        ("n.x", "type 'int' does not support field selection"),
        (
            "n.all(x, true)",
            "expression of type 'int' cannot be range of a comprehension (must be list, map, or dynamic)",
        ),
        ("[1, 'a']", "expected type 'int' but found 'string'"),
        ("n && true", "expected type 'bool' but found 'int'"),
        ("self = 42", "Syntax error: token recognition error at: '= '"),
        ("1 +", "Syntax error: mismatched input '<EOF>' expecting"),
        ("(1", "<input>:1:3: Syntax error: missing ')' at '<EOF>'"),
        ("l[0", "Syntax error: missing ']' at '<EOF>'"),
        ("[1", "Syntax error: mismatched input '<EOF>' expecting {']', ','}"),
        ("{'a': 1", "Syntax error: mismatched input '<EOF>' expecting {'}', ','}"),
        ("l[", "mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', '?', 'true'"),
        ("l.all(", "mismatched input '<EOF>' expecting {'[', '{', '(', ')', '.', '-', '!', 'true'"),
        ("* 1", "<input>:1:1: Syntax error: extraneous input '*' expecting {'[', "),
        ("s ==== 'abc'", "<input>:1:5: Syntax error: extraneous input '==' expecting {'[', "),
        ("n n == 1", "<input>:1:3: Syntax error: mismatched input 'n' expecting <EOF>"),
        ("s.", "Syntax error: no viable alternative at input '.'"),
        ("in == 1", "<input>:1:4: Syntax error: extraneous input '==' expecting {'[', "),
        ("n / * n * /", "<input>:1:12: Syntax error: mismatched input '<EOF>' expecting {'[', "),
        ("'a", "<input>:1:3: Syntax error: mismatched input '<EOF>' expecting {'[', "),
        ("'\\x1'", "Syntax error: token recognition error at: ''\\x1''"),
        ("b'\\u00e9' == b''", "<input>:1:1: unable to unescape string"),
        ("self.`a` == 1", "<input>:1:6: unsupported syntax: '`'"),
        ("1 2", "Syntax error: extraneous input '2' expecting <EOF>"),
        ("self.all(1, true)", "argument must be a simple name"),
        ("has(self)", "invalid argument to has() macro"),
        ("for", "reserved identifier: for"),
        ("n == null", "found no matching overload for '_==_' applied to '(int, null)'"),
        ("s.matches('(')", "invalid matches argument"),
        ("duration('x')", "invalid duration argument"),
        ("99999999999999999999", "invalid int literal"),
    ] {
        let error = run(source).unwrap_err();
        assert!(error.contains(wanted), "{source}: {error}");
    }
}

#[test]
fn failing_evaluations_say_why() {
    for (source, wanted) in [
        ("1 / 0", "division by zero"),
        ("n % 0", "modulus by zero"),
        ("9223372036854775807 + n", "integer overflow"),
        ("self.nothing", "no such key: nothing"),
        ("l[5]", "index out of bounds: 5"),
        ("self.f + 1", "no such overload"),
        ("dyn(1).field == 1", "no such key: field"),
        ("dyn(null).field == 1", "no such key: field"),
        ("dyn('a').field == 1", "no such key: field"),
        ("int('x')", "type conversion error from 'string' to 'int'"),
        ("optional.none().value()", "optional.none() dereference"),
        ("[].min()", "min called on empty list"),
        ("{'a': 1, 'a': 2}", "Failed with repeated key: a"),
        ("1u - 2u", "unsigned integer overflow"),
    ] {
        let error = run(source).unwrap_err();
        assert!(error.contains(wanted), "{source}: {error}");
    }
}

#[test]
fn costs_are_counted_and_end_what_costs_too_much() {
    let cost = |source: &str| {
        let program = Program::compile(source, &scope()).unwrap();
        let list = json!([1, 2, 3]);
        let object = json!({"a": {"b": 1}});
        let variables = [
            ("n", Value::Int(1)),
            ("s", Value::text("hello")),
            ("l", Value::of_json(&list, None)),
            ("self", Value::of_json(&object, None)),
        ];
        program.run(&variables, crate::CALL_LIMIT).1
    };
    for (source, wanted) in [
        ("1", 0),
        ("n", 1),
        ("n == 1", 2),
        ("self.a.b", 3),
        ("has(self.a.b)", 2),
        ("[1, 2]", 10),
        ("{'a': 1}", 30),
        ("s == 'hello'", 2),
        ("s + s", 3),
        ("true || n == 1", 0),
        // The range, and for each item the condition (2), the accumulator and the comparison (1 + 1 + 1), then the result.
        ("l.all(x, x > 0)", 1 + 3 * (2 + 1 + 2) + 1),
        ("s.matches('h.*')", 2),
    ] {
        assert_eq!(cost(source), wanted, "{source}");
    }
    let program = Program::compile("[1, 2].all(x, [1, 2].all(y, x != y || true))", &scope()).unwrap();
    let (result, spent) = program.run(&[("n", Value::Null)], 50);
    assert_eq!(result, Err(EvalError::CostLimit));
    assert!(spent > 50 && spent < 100, "{spent}");
}

#[test]
fn deep_expressions_are_refused_and_wide_ones_are_not() {
    let deep = format!("{}1{}", "(".repeat(10_000), ")".repeat(10_000));
    assert!(run(&deep).unwrap_err().contains("recursion limit exceeded"));
    let chain = vec!["1"; 5_000].join(" + ");
    assert!(run(&chain).unwrap_err().contains("recursion limit exceeded"));
    let calls = format!("s{}", ".trim()".repeat(5_000));
    assert!(run(&calls).unwrap_err().contains("recursion limit exceeded"));
    let wide = vec!["n == 7"; 2_000].join(" && ");
    assert_eq!(run(&wide).as_deref(), Ok("true"));
}

proptest! {
    #[test]
    fn no_source_panics(source in "\\PC{0,60}") {
        let _ = run(&source);
    }

    #[test]
    fn no_expression_panics(parts in prop::collection::vec(prop::sample::select(&[
        "self", "n", "s", "l", "1", "2u", "1.5", "'a'", "b'x'", "null", "true", "[", "]", "{", "}", "(", ")", ".", ",",
        ":", "?", "+", "-", "*", "/", "%", "&&", "||", "!", "==", "<", "in", ".all(x, ", ".map(x, ", ".size()", "x",
        ".?a", "[?0]", "optional.of(", ".slice(", ".format([", "timestamp(", "duration('", "1h')", "-1", ".substring(",
    ][..]), 0..14)) {
        let _ = run(&parts.concat());
    }

    #[test]
    fn arithmetic_is_rusts(a in any::<i64>(), b in any::<i64>()) {
        let known = Scope { variables: HashMap::from([("a".into(), Type::Int), ("b".into(), Type::Int)]), structs: vec![] };
        for (operator, wanted) in [
            ("+", a.checked_add(b)), ("-", a.checked_sub(b)), ("*", a.checked_mul(b)),
            ("/", a.checked_div(b)), ("%", a.checked_rem(b)),
        ] {
            let program = Program::compile(&format!("a {operator} b"), &known).unwrap();
            let (found, _) = program.run(&[("a", Value::Int(a)), ("b", Value::Int(b))], 100);
            prop_assert_eq!(found.ok().map(|value| value == Value::Int(wanted.unwrap_or(0))), wanted.map(|_| true));
        }
    }
}
