//! Strings and regular expressions. Positions count characters.

use super::collections::place;
use super::operators::text;
use super::{Cost, Rewrite, Row, f, fail, printf, row};
use crate::error::EvalError;
use crate::value::Value::{Bool, Int, List, String as Str};
use crate::value::{List as Items, Result, Text, Value};

const ONE: Cost = Cost::Fixed(1);
const MAP: Cost = Cost::Scan { sized: true };
const REPLACE: Cost = Cost::Rewrite(Rewrite::Replace);
const SPLIT: Cost = Cost::Rewrite(Rewrite::Split);
/// How large a compiled regular expression may be.
const MAX_REGEX: usize = 1 << 20;

pub(super) fn rows() -> Vec<Row> {
    vec![
        row("string:startsWith(string)->bool", Cost::Affix, f!([Str(s), Str(p)] => Ok(Bool(s.starts_with(&**p))))),
        row("string:endsWith(string)->bool", Cost::Affix, f!([Str(s), Str(p)] => Ok(Bool(s.ends_with(&**p))))),
        row("string:contains(string)->bool", Cost::Contains, f!([Str(s), Str(p)] => Ok(Bool(s.contains(&**p))))),
        row("string:matches(string)->bool", Cost::Matches, f!([Str(s), Str(p)] => Ok(Bool(regex(p)?.is_match(s))))),
        row("matches(string,string)->bool", Cost::Matches, f!([Str(s), Str(p)] => Ok(Bool(regex(p)?.is_match(s))))),
        row(
            "string:find(string)->string",
            Cost::Find,
            f!([Str(s), Str(p)] => {
                Ok(text(regex(p)?.find(s).map_or("", |found| found.as_str())))
            }),
        ),
        row("string:findAll(string)->list<string>", Cost::Find, f!([Str(s), Str(p)] => find_all(s, p, -1))),
        row("string:findAll(string,int)->list<string>", Cost::Find, f!([Str(s), Str(p), Int(n)] => find_all(s, p, *n))),
        row("string:charAt(int)->string", ONE, f!([Str(s), Int(at)] => char_at(s, *at))),
        row("string:indexOf(string)->int", Cost::Traverse, f!([Str(s), Str(p)] => index_of(s, p, 0))),
        row("string:indexOf(string,int)->int", Cost::Traverse, f!([Str(s), Str(p), Int(at)] => index_of(s, p, *at))),
        row("string:lastIndexOf(string)->int", Cost::Traverse, f!([Str(s), Str(p)] => last_index_of(s, p, None))),
        row(
            "string:lastIndexOf(string,int)->int",
            Cost::Traverse,
            f!([Str(s), Str(p), Int(at)] => {
                last_index_of(s, p, Some(*at))
            }),
        ),
        row("string:lowerAscii()->string", MAP, f!([Str(s)] => Ok(s.to_ascii_lowercase().into()))),
        row("string:upperAscii()->string", MAP, f!([Str(s)] => Ok(s.to_ascii_uppercase().into()))),
        row("string:trim()->string", MAP, f!([Str(s)] => Ok(text(s.trim())))),
        row(
            "string:substring(int)->string",
            MAP,
            f!([Str(s), Int(start)] => {
                substring(s, *start, i64::try_from(s.chars().count()).unwrap_or(i64::MAX))
            }),
        ),
        row("string:substring(int,int)->string", MAP, f!([Str(s), Int(start), Int(end)] => substring(s, *start, *end))),
        row(
            "string:replace(string,string)->string",
            REPLACE,
            f!([Str(s), Str(a), Str(b)] => {
                replace(s, a, b, -1)
            }),
        ),
        row(
            "string:replace(string,string,int)->string",
            REPLACE,
            f!([Str(s), Str(a), Str(b), Int(n)] => {
                replace(s, a, b, *n)
            }),
        ),
        row("string:split(string)->list<string>", SPLIT, f!([Str(s), Str(p)] => Ok(split(s, p, -1)))),
        row("string:split(string,int)->list<string>", SPLIT, f!([Str(s), Str(p), Int(n)] => Ok(split(s, p, *n)))),
        row("list<string>:join()->string", Cost::Join, f!([List(list)] => join(list, ""))),
        row("list<string>:join(string)->string", Cost::Join, f!([List(list), Str(by)] => join(list, by))),
        row("string:format(list<dyn>)->string", Cost::Format, f!([Str(s), List(args)] => printf::format(s, args))),
        row("strings.quote(string)->string", Cost::Quote, f!([Str(s)] => Ok(quote(s).into()))),
        row(
            "jsonpatch.escapeKey(string)->string",
            MAP,
            f!([Str(s)] => {
                Ok(s.replace('~', "~0").replace('/', "~1").into())
            }),
        ),
    ]
}

/// A compiled regular expression; its size is bounded.
pub(crate) fn regex(pattern: &str) -> Result<regex::Regex> {
    let built = regex::RegexBuilder::new(pattern).size_limit(MAX_REGEX).unicode(true).build();
    built.map_err(|error| EvalError::new(format!("error parsing regexp: {error}")))
}

fn find_all<'a>(source: &str, pattern: &str, limit: i64) -> Result<Value<'a>> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    Ok(Value::list(regex(pattern)?.find_iter(source).take(limit).map(|found| text(found.as_str())).collect()))
}

/// The byte where the character of that number starts, or the end.
fn offset(source: &str, at: usize) -> Option<usize> {
    source.char_indices().map(|(byte, _)| byte).chain([source.len()]).nth(at)
}

fn char_at<'a>(source: &str, at: i64) -> Result<Value<'a>> {
    let found = usize::try_from(at).ok().and_then(|at| offset(source, at));
    match found {
        Some(byte) => Ok(source[byte..].chars().next().map_or(text(""), |c| c.to_string().into())),
        None => fail(format!("index out of range: {at}")),
    }
}

fn index_of<'a>(source: &str, wanted: &str, from: i64) -> Result<Value<'a>> {
    if wanted.is_empty() {
        return Ok(Int(from));
    }
    let Some(start) = usize::try_from(from).ok().and_then(|from| offset(source, from)) else {
        return fail(format!("index out of range: {from}"));
    };
    Ok(place(source[start..].find(wanted).map(|byte| source[..start + byte].chars().count())))
}

fn last_index_of<'a>(source: &str, wanted: &str, to: Option<i64>) -> Result<Value<'a>> {
    let length = source.chars().count();
    let to = match to {
        None => length,
        Some(to) => match usize::try_from(to) {
            Ok(to) if to < length.max(1) => to,
            _ => return fail(format!("index out of range: {to}")),
        },
    };
    if wanted.is_empty() {
        return Ok(place(Some(to)));
    }
    let end = offset(source, to).unwrap_or(source.len()).saturating_add(wanted.len()).min(source.len());
    let mut end = end;
    while !source.is_char_boundary(end) {
        end += 1;
    }
    let found = source[..end].rfind(wanted).map(|byte| source[..byte].chars().count());
    Ok(place(found.filter(|at| *at <= to)))
}

fn substring<'a>(source: &str, start: i64, end: i64) -> Result<Value<'a>> {
    if start > end {
        return fail(format!("invalid substring range. start: {start}, end: {end}"));
    }
    let place = |at: i64| usize::try_from(at).ok().and_then(|at| offset(source, at));
    match (place(start), place(end)) {
        (Some(start), Some(end)) => Ok(text(&source[start..end])),
        (None, _) => fail(format!("index out of range: {start}")),
        _ => fail(format!("index out of range: {end}")),
    }
}

fn replace<'a>(source: &str, old: &str, new: &str, limit: i64) -> Result<Value<'a>> {
    // What comes out can be far longer than what went in; nothing that long could be stored.
    const MOST: usize = 64 << 20;
    let times = source.len() / old.len().max(1) + 1;
    if times.saturating_mul(new.len()) > MOST {
        return Err(EvalError::CostLimit);
    }
    let changed = match usize::try_from(limit) {
        Ok(limit) => source.replacen(old, new, limit),
        Err(_) => source.replace(old, new),
    };
    Ok(changed.into())
}

fn split<'a>(source: &str, by: &str, limit: i64) -> Value<'a> {
    let pieces: Vec<&str> = match (limit, by) {
        (0, _) => Vec::new(),
        (1, _) => vec![source],
        (limit, "") => {
            let most = usize::try_from(limit).unwrap_or(usize::MAX);
            let mut rest = source;
            let mut pieces = Vec::new();
            while let Some(first) = rest.chars().next() {
                if pieces.len() + 1 >= most {
                    break;
                }
                let (piece, after) = rest.split_at(first.len_utf8());
                pieces.push(piece);
                rest = after;
            }
            if !rest.is_empty() {
                pieces.push(rest);
            }
            pieces
        }
        (limit, by) => match usize::try_from(limit) {
            Ok(limit) => source.splitn(limit, by).collect(),
            Err(_) => source.split(by).collect(),
        },
    };
    Value::list(pieces.into_iter().map(text).collect())
}

fn join<'a>(list: &Items<'a>, by: &str) -> Result<Value<'a>> {
    let mut joined = String::new();
    for (index, item) in list.iter().enumerate() {
        let Str(item) = item else { return Err(EvalError::NoSuchOverload) };
        if index > 0 {
            joined.push_str(by);
        }
        joined.push_str(&item);
    }
    Ok(Str(Text::Owned(joined.into())))
}

/// The string in double quotes, with what is special escaped.
fn quote(source: &str) -> String {
    let mut quoted = String::from("\"");
    for character in source.chars() {
        match character {
            '\x07' => quoted.push_str("\\a"),
            '\x08' => quoted.push_str("\\b"),
            '\x0c' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\x0b' => quoted.push_str("\\v"),
            '\\' => quoted.push_str("\\\\"),
            '"' => quoted.push_str("\\\""),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}
