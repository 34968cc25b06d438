//! What upstream looks for in literals once the types are known: lists and maps of one type, and formats that fit what they
//! are given.

use crate::ast::{Const, Expr, Item, Kind};
use crate::error::Issue;
use crate::types::Type;

/// Functions whose literals may have values of any types, however deep they are.
const MIXED: &str = "format";
/// Functions that are evaluated before anything is, where what they convert is written.
const CONVERSIONS: [&str; 9] = ["bool", "bytes", "double", "duration", "dyn", "int", "string", "timestamp", "uint"];

/// What is wrong with the literals of a tree whose nodes have these types.
pub(crate) fn check(tree: &Expr, types: &[Type]) -> Vec<Issue> {
    let mut found = Vec::new();
    walk(tree, &mut |node, within| {
        if !within.contains(&MIXED) {
            alike(node, types, &mut found);
        }
        if let Kind::Call { function, target: Some(target), args } = &node.kind
            && function == MIXED
            && let (Kind::Const(Const::String(pattern)), [Expr { kind: Kind::List(items), .. }]) =
                (&target.kind, &args[..])
        {
            found.extend(
                format(pattern, items, types).err().map(|(at, text)| Issue { at: at.unwrap_or(node.at), text }),
            );
        }
    });
    found
}

/// The conversions of what is written.
pub(crate) fn conversions(tree: &Expr) -> Vec<&Expr> {
    let mut found = Vec::new();
    walk(tree, &mut |node, _| {
        if let Kind::Call { function, target: None, args } = &node.kind
            && CONVERSIONS.contains(&function.as_str())
            && matches!(&args[..], [Expr { kind: Kind::Const(_), .. }])
        {
            found.push(node);
        }
    });
    found
}

/// Shows every node, with the functions that it is within.
fn walk<'e>(node: &'e Expr, show: &mut impl FnMut(&'e Expr, &[&'e str])) {
    fn down<'e>(node: &'e Expr, within: &mut Vec<&'e str>, show: &mut impl FnMut(&'e Expr, &[&'e str])) {
        show(node, within);
        match &node.kind {
            Kind::Const(_) | Kind::Ident(_) => {}
            Kind::Select { operand, .. } => down(operand, within, show),
            Kind::Call { function, target, args } => {
                within.push(function);
                target.as_deref().into_iter().chain(args).for_each(|arg| down(arg, within, show));
                within.pop();
            }
            Kind::List(items) => items.iter().for_each(|item| down(&item.value, within, show)),
            Kind::Map(entries) => {
                entries.iter().flat_map(|entry| [&entry.key, &entry.value]).for_each(|part| down(part, within, show));
            }
            Kind::Struct { fields, .. } => fields.iter().for_each(|field| down(&field.value, within, show)),
            Kind::Fold(fold) => {
                let parts = [&fold.range, &fold.init, &fold.condition, &fold.step, &fold.result];
                parts.into_iter().for_each(|part| down(part, within, show));
            }
        }
    }
    down(node, &mut Vec::new(), show);
}

/// Whether all items of a list, all keys of a map and all its values are of one type.
fn alike(node: &Expr, types: &[Type], found: &mut Vec<Issue>) {
    let of = |value: &Expr, optional: bool| match &types[value.id] {
        Type::Optional(inner) if optional => (**inner).clone(),
        other => other.clone(),
    };
    let differs = |first: &Option<Type>, own: &Type, at: usize| {
        let first = first.as_ref().filter(|first| !first.same(own))?;
        Some(Issue { at, text: format!("expected type '{first}' but found '{own}'") })
    };
    match &node.kind {
        Kind::List(items) => {
            let first = items.first().map(|item| of(&item.value, item.optional));
            // Of a list the first that differs is told.
            found.extend(items.iter().find_map(|it| differs(&first, &of(&it.value, it.optional), it.value.at)));
        }
        Kind::Map(entries) => {
            let key = entries.first().map(|entry| of(&entry.key, false));
            let value = entries.first().map(|entry| of(&entry.value, entry.optional));
            for entry in entries {
                found.extend(differs(&key, &of(&entry.key, false), entry.key.at));
                found.extend(differs(&value, &of(&entry.value, entry.optional), entry.value.at));
            }
        }
        _ => {}
    }
}

/// Whether a pattern can be filled with items: where what is wrong stands if it is an item, and what it is.
fn format(pattern: &str, items: &[Item], types: &[Type]) -> Result<(), (Option<usize>, String)> {
    let mut letters = pattern.chars().peekable();
    let mut asked = 0;
    let unparsed = |why: &str| Err((None, format!("could not parse formatting clause: {why}")));
    while let Some(letter) = letters.next() {
        if letter != '%' || letters.next_if_eq(&'%').is_some() {
            continue;
        }
        let (at, missing) = (asked, format!("index {asked} out of range"));
        asked += 1;
        if letters.peek().is_none() {
            return Err((None, "unexpected end of string".to_owned()));
        }
        let Some(item) = items.get(at) else { return Err((None, missing)) };
        if letters.next_if_eq(&'.').is_some() {
            let digits = std::iter::from_fn(|| letters.next_if(char::is_ascii_digit)).count();
            if digits == 0 && letters.peek().is_some() {
                return unparsed(
                    "error while parsing precision: error while converting precision to integer: strconv.Atoi: parsing \"\": \
                     invalid syntax",
                );
            }
        }
        let Some(verb) = letters.next() else {
            return unparsed("error while parsing precision: could not find end of precision specifier");
        };
        fits(verb, &item.value, types).map_err(|wrong| match wrong {
            Some((at, text)) => (Some(at), format!("error during formatting: {text}")),
            None => (None, format!("could not parse formatting clause: unrecognized formatting clause \"{verb}\"")),
        })?;
    }
    if items.len() > asked {
        let text = format!("too many arguments supplied to string.format (expected {asked}, got {})", items.len());
        return Err((None, text));
    }
    Ok(())
}

/// Whether a clause can show a value: nothing where there is no such clause, else which value it cannot show.
fn fits(verb: char, value: &Expr, types: &[Type]) -> Result<(), Option<(usize, String)>> {
    let own = &types[value.id];
    let (takes, what) = match verb {
        's' => return shown(value, types).map_err(Some),
        'd' => (matches!(own, Type::Int | Type::Uint), "decimal clause can only be used on integers"),
        'f' => (matches!(own, Type::Double | Type::String), "fixed-point clause can only be used on doubles"),
        'e' => (matches!(own, Type::Double | Type::String), "scientific clause can only be used on doubles"),
        'b' => {
            let takes = matches!(own, Type::Int | Type::Uint | Type::Bool);
            (takes, "only integers and bools can be formatted as binary")
        }
        'x' | 'X' => {
            let takes = matches!(own, Type::Int | Type::Uint | Type::String | Type::Bytes);
            (takes, "only integers, byte buffers, and strings can be formatted as hex")
        }
        'o' => (matches!(own, Type::Int | Type::Uint), "octal clause can only be used on integers"),
        _ => return Err(None),
    };
    if takes || matches!(own, Type::Dyn) {
        Ok(())
    } else {
        Err(Some((value.at, format!("{what}, was given {}", named(own)))))
    }
}

/// Whether a value, and all that is written within it, can be shown as a string.
fn shown(value: &Expr, types: &[Type]) -> Result<(), (usize, String)> {
    let own = &types[value.id];
    if matches!(own, Type::Object(_) | Type::Free(_) | Type::Opaque(_) | Type::Optional(_)) {
        let what = "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, \
                    and timestamps";
        return Err((value.at, format!("{what}, was given {}", named(own))));
    }
    match &value.kind {
        Kind::List(items) => items.iter().try_for_each(|item| shown(&item.value, types)),
        Kind::Map(entries) => {
            entries.iter().flat_map(|entry| [&entry.key, &entry.value]).try_for_each(|part| shown(part, types))
        }
        _ => Ok(()),
    }
}

/// A type by its name alone.
fn named(own: &Type) -> String {
    match own {
        Type::List(_) => "list".to_owned(),
        Type::Map(..) => "map".to_owned(),
        Type::Type(_) => "type".to_owned(),
        Type::Optional(_) => "optional_type".to_owned(),
        Type::Null => "null_type".to_owned(),
        Type::Timestamp => "google.protobuf.Timestamp".to_owned(),
        Type::Duration => "google.protobuf.Duration".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use crate::{Program, Scope};

    fn told(source: &str) -> String {
        let scope = Scope { variables: HashMap::from([("n".to_owned(), crate::Type::Int)]), structs: Vec::new() };
        match Program::compile(source, &scope) {
            Err(error) => error.issues.iter().map(|it| format!("{} {}", it.at, it.text)).collect::<Vec<_>>().join("; "),
            Ok(program) => program.instantiate().err().map(|error| error.to_string()).unwrap_or_default(),
        }
    }

    #[test]
    fn literals_are_of_one_type_but_where_they_are_formatted() {
        for (source, wanted) in [
            ("[1, 'a'].size() == 2", "4 expected type 'int' but found 'string'"),
            (
                "{1: 'a', 'b': 2}.size() == 2",
                "9 expected type 'int' but found 'string'; 14 expected type 'string' but found 'int'",
            ),
            (
                "[1, [2, [3]]].flatten(2) == [1]",
                "4 expected type 'int' but found 'list(dyn)'; 8 expected type 'int' but found 'list(int)'",
            ),
            ("'%d %s %s %%'.format([1, 'a', [1, 'b']]) == ''", ""),
            (
                "'%d'.format(['a']) == ''",
                "13 error during formatting: decimal clause can only be used on integers, was given string",
            ),
            ("'%q'.format(['a']) == ''", "11 could not parse formatting clause: unrecognized formatting clause \"q\""),
            ("'%s'.format([]) == ''", "11 index 0 out of range"),
            ("'%s'.format([1, 2]) == ''", "11 too many arguments supplied to string.format (expected 1, got 2)"),
            ("int('x') == 1", "type conversion error from 'string' to 'int'"),
            ("int('1') == n", ""),
        ] {
            assert!(
                if wanted.is_empty() { told(source).is_empty() } else { told(source).starts_with(wanted) },
                "{source}: {}",
                told(source)
            );
        }
    }
}
