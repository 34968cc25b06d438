//! Tokens to a tree. Binary operators are read by precedence climbing; depth is bounded.

use crate::ast::{Const, Entry, Expr, Field, Item, Kind};
use crate::error::{CompileError, Issue};
use crate::lexer::{self, Spot, Token};
use crate::macros;

/// How many nodes may stand above each other.
const MAX_DEPTH: usize = 250;
/// How long an expression may be, in characters.
const MAX_LENGTH: usize = 100_000;

/// Words that can't name a variable.
pub(crate) const RESERVED: [&str; 17] = [
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

pub(crate) type Parsed<T> = Result<T, Issue>;

/// Makes nodes with numbers of their own.
#[derive(Default)]
pub(crate) struct Maker {
    next: usize,
}

impl Maker {
    pub fn node(&mut self, at: usize, kind: Kind) -> Expr {
        self.next += 1;
        let depth = 1 + depth_below(&kind);
        Expr { id: self.next - 1, at, depth, kind }
    }

    pub fn call(&mut self, at: usize, function: &str, args: Vec<Expr>) -> Expr {
        self.node(at, Kind::Call { function: function.to_owned(), target: None, args })
    }

    pub fn ident(&mut self, at: usize, name: &str) -> Expr {
        self.node(at, Kind::Ident(name.to_owned()))
    }

    pub fn constant(&mut self, at: usize, value: Const) -> Expr {
        self.node(at, Kind::Const(value))
    }
}

fn depth_below(kind: &Kind) -> usize {
    let deepest = |nodes: &mut dyn Iterator<Item = usize>| nodes.max().unwrap_or(0);
    match kind {
        Kind::Const(_) | Kind::Ident(_) => 0,
        Kind::Select { operand, .. } => operand.depth,
        Kind::Call { target, args, .. } => deepest(&mut args.iter().chain(target.as_deref()).map(|node| node.depth)),
        Kind::List(items) => deepest(&mut items.iter().map(|item| item.value.depth)),
        Kind::Map(entries) => deepest(&mut entries.iter().map(|entry| entry.key.depth.max(entry.value.depth))),
        Kind::Struct { fields, .. } => deepest(&mut fields.iter().map(|field| field.value.depth)),
        Kind::Fold(fold) => {
            let parts = [&fold.range, &fold.init, &fold.condition, &fold.step, &fold.result];
            deepest(&mut parts.into_iter().map(|node| node.depth))
        }
    }
}

/// What an expression can begin with, as upstream's grammar lists it.
const OPERAND: &str =
    "'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER";

struct Parser {
    tokens: Vec<Spot>,
    position: usize,
    /// What was wrong and could be passed over.
    issues: Vec<Issue>,
    /// Nothing was read since something was wrong, so nothing more is told.
    recovering: bool,
    /// What else the place of an operand takes, among those of [`OPERAND`].
    also: Option<&'static str>,
    nesting: usize,
    maker: Maker,
}

/// The tree of a source with its macros expanded, and how many nodes it has.
pub fn parse(source: &str) -> Result<(Expr, usize), CompileError> {
    let fail = |issues| CompileError::new(source, issues);
    if source.chars().count() > MAX_LENGTH {
        let text = format!("expression code point size exceeds limit: size: {}, limit {MAX_LENGTH}", source.len());
        return Err(fail(vec![Issue { at: 0, text }]));
    }
    let (tokens, issues) = lexer::tokens(source);
    let mut parser =
        Parser { tokens, position: 0, issues, recovering: false, also: None, nesting: 0, maker: Maker::default() };
    let tree = parser.expression().and_then(|tree| match parser.peek() {
        Token::End => Ok(tree),
        _ => Err(parser.unexpected("<EOF>", &Token::End)),
    });
    match tree {
        Ok(tree) if parser.issues.is_empty() => Ok((tree, parser.maker.next)),
        Ok(_) => Err(fail(parser.issues)),
        Err(issue) => {
            parser.report(issue);
            Err(fail(parser.issues))
        }
    }
}

impl Parser {
    fn peek(&self) -> &Token {
        &self.tokens[self.position].token
    }

    fn at(&self) -> usize {
        self.tokens[self.position].at
    }

    fn advance(&mut self) -> Spot {
        let spot = self.tokens[self.position].clone();
        if spot.token != Token::End {
            self.position += 1;
        }
        self.recovering = false;
        spot
    }

    /// The token after the next one.
    fn second(&self) -> &Token {
        &self.tokens[(self.position + 1).min(self.tokens.len() - 1)].token
    }

    fn report(&mut self, issue: Issue) {
        if !self.recovering {
            self.issues.push(issue);
        }
        self.recovering = true;
    }

    fn take(&mut self, mark: &str) -> bool {
        let found = matches!(self.peek(), Token::Mark(found) if *found == mark);
        if found {
            self.position += 1;
            self.recovering = false;
        }
        found
    }

    /// A mark that has to stand here. One that is missing where all ends, or that a single token stands before, is told of, and
    /// the rest is looked at as well.
    fn expect(&mut self, mark: &'static str) -> Parsed<usize> {
        let at = self.at();
        if self.take(mark) {
            return Ok(at);
        }
        let closes = matches!(mark, ")" | "]");
        if *self.second() == Token::Mark(mark) {
            let issue = self.unexpected(&format!("'{mark}'"), &Token::Mark(mark));
            self.report(issue);
            self.advance();
            self.advance();
            return Ok(at);
        }
        if closes && *self.peek() == Token::End {
            self.report(Issue { at, text: format!("Syntax error: missing '{mark}' at '<EOF>'") });
            return Ok(at);
        }
        Err(self.unexpected(&format!("'{mark}'"), &Token::Mark(mark)))
    }

    /// The end of a list or a map, after an item.
    fn close(&mut self, mark: &'static str) -> Parsed<()> {
        if self.take(mark) { Ok(()) } else { Err(self.unexpected(&format!("{{'{mark}', ','}}"), &Token::Mark(mark))) }
    }

    /// What is told of a token that is not what is wanted: it is too much where what is wanted comes behind it.
    fn unexpected(&self, wanted: &str, behind: &Token) -> Issue {
        let spot = &self.tokens[self.position];
        let extraneous = spot.token != Token::End && self.second() == behind;
        let what = if extraneous { "extraneous" } else { "mismatched" };
        Issue { at: spot.at, text: format!("Syntax error: {what} input '{}' expecting {wanted}", spot.text) }
    }

    /// Passes over what is no operand: told of and left out where one comes behind it, else an operand is made up where
    /// something may stand that comes after one.
    fn no_operand(&mut self) -> Parsed<Expr> {
        let spot = self.tokens[self.position].clone();
        let wanted = match self.also.take() {
            // The lists are in the order of the grammar's tokens.
            Some(")") => format!("{{{}}}", OPERAND.replacen("'(', ", "'(', ')', ", 1)),
            Some("?") => format!("{{{}}}", OPERAND.replacen("'!', ", "'!', '?', ", 1)),
            _ => format!("{{{OPERAND}}}"),
        };
        let begins = |token: &Token| match token {
            Token::Const(_) | Token::Ident(_) => true,
            Token::Mark(mark) => matches!(*mark, "[" | "{" | "(" | "." | "-" | "!"),
            Token::Quoted(_) | Token::End => false,
        };
        let extraneous = spot.token != Token::End && begins(self.second());
        let what = if extraneous { "extraneous" } else { "mismatched" };
        let text = format!("Syntax error: {what} input '{}' expecting {wanted}", spot.text);
        let issue = Issue { at: spot.at, text };
        if extraneous {
            self.report(issue);
            self.position += 1;
            return self.unary();
        }
        // An operator may follow what is made up here, once.
        let follows = matches!(&spot.token, Token::Mark(mark)
            if matches!(*mark, "in" | "==" | "!=" | "<" | "<=" | ">" | ">=" | "+" | "*" | "/" | "%" | "&&" | "||"));
        if self.recovering || !(follows || spot.token == Token::End) {
            return Err(issue);
        }
        self.report(issue);
        self.node(spot.at, Kind::Const(Const::Null))
    }

    fn node(&mut self, at: usize, kind: Kind) -> Parsed<Expr> {
        let node = self.maker.node(at, kind);
        if node.depth > MAX_DEPTH { Err(too_deep(at)) } else { Ok(node) }
    }

    fn call(&mut self, at: usize, function: &str, args: Vec<Expr>) -> Parsed<Expr> {
        self.node(at, Kind::Call { function: function.to_owned(), target: None, args })
    }

    fn expression(&mut self) -> Parsed<Expr> {
        self.nesting += 1;
        if self.nesting > MAX_DEPTH / 2 {
            return Err(too_deep(self.at()));
        }
        let condition = self.chain("||", "_||_")?;
        let at = self.at();
        let tree = if self.take("?") {
            let yes = self.chain("||", "_||_")?;
            self.expect(":")?;
            let no = self.expression()?;
            self.call(at, "_?_:_", vec![condition, yes, no])?
        } else {
            condition
        };
        self.nesting -= 1;
        Ok(tree)
    }

    /// A chain of `||`, of chains of `&&`: made into a balanced tree, since rules with a hundred terms are usual.
    fn chain(&mut self, mark: &'static str, function: &'static str) -> Parsed<Expr> {
        let mut terms = Vec::new();
        let mut marks = Vec::new();
        loop {
            terms.push(if mark == "||" { self.chain("&&", "_&&_")? } else { self.binary(0)? });
            let at = self.at();
            if !self.take(mark) {
                break;
            }
            marks.push(at);
        }
        let mut terms: Vec<Option<Expr>> = terms.into_iter().map(Some).collect();
        self.balance(function, &mut terms, &marks)
    }

    fn balance(&mut self, function: &str, terms: &mut [Option<Expr>], marks: &[usize]) -> Parsed<Expr> {
        if let [term] = terms {
            return Ok(term.take().expect("each term is taken once"));
        }
        let middle = terms.len().div_ceil(2);
        let (before, after) = terms.split_at_mut(middle);
        let left = self.balance(function, before, &marks[..middle - 1])?;
        let right = self.balance(function, after, &marks[middle..])?;
        self.call(marks[middle - 1], function, vec![left, right])
    }

    /// Relations (level 0), sums (1) and products (2), all of which group to the left.
    fn binary(&mut self, level: usize) -> Parsed<Expr> {
        const LEVELS: [&[(&str, &str)]; 3] = [
            &[
                ("<", "_<_"),
                ("<=", "_<=_"),
                (">", "_>_"),
                (">=", "_>=_"),
                ("==", "_==_"),
                ("!=", "_!=_"),
                ("in", "@in"),
            ],
            &[("+", "_+_"), ("-", "_-_")],
            &[("*", "_*_"), ("/", "_/_"), ("%", "_%_")],
        ];
        let Some(operators) = LEVELS.get(level) else { return self.unary() };
        let mut left = self.binary(level + 1)?;
        while let Token::Mark(mark) = self.peek()
            && let Some((_, function)) = operators.iter().find(|(known, _)| known == mark)
        {
            let at = self.advance().at;
            let right = self.binary(level + 1)?;
            left = self.call(at, function, vec![left, right])?;
        }
        Ok(left)
    }

    fn unary(&mut self) -> Parsed<Expr> {
        let at = self.at();
        if self.take("!") {
            let mut count = 1;
            while self.take("!") {
                count += 1;
            }
            let operand = self.member()?;
            return if count % 2 == 0 { Ok(operand) } else { self.call(at, "!_", vec![operand]) };
        }
        if self.take("-") {
            match self.peek().clone() {
                Token::Const(Const::Int(number)) => {
                    self.position += 1;
                    let node = self.node(at, Kind::Const(Const::Int(number.wrapping_neg())))?;
                    return self.member_of(node);
                }
                Token::Const(Const::Double(number)) => {
                    self.position += 1;
                    let node = self.node(at, Kind::Const(Const::Double(-number)))?;
                    return self.member_of(node);
                }
                _ => {}
            }
            let mut count = 1;
            while self.take("-") {
                count += 1;
            }
            let operand = self.member()?;
            return if count % 2 == 0 { Ok(operand) } else { self.call(at, "-_", vec![operand]) };
        }
        self.member()
    }

    fn member(&mut self) -> Parsed<Expr> {
        let node = self.primary()?;
        self.member_of(node)
    }

    fn member_of(&mut self, mut node: Expr) -> Parsed<Expr> {
        loop {
            let at = self.at();
            if self.take(".") {
                let optional = self.take("?");
                let quoted = matches!(self.peek(), Token::Quoted(_));
                let field = self.field_name()?;
                if optional {
                    let name = self.node(at, Kind::Const(Const::String(field)))?;
                    node = self.call(at, "_?._", vec![node, name])?;
                } else if quoted {
                    return Err(Issue {
                        at: self.tokens[self.position - 1].at,
                        text: "unsupported syntax: '`'".to_owned(),
                    });
                } else if matches!(self.peek(), Token::Mark("(")) {
                    let open = self.advance().at;
                    let args = self.arguments(")")?;
                    node = match macros::expand(&mut self.maker, open, Some(&node), &field, &args)? {
                        Some(expanded) => self.bounded(expanded)?,
                        None => self.node(open, Kind::Call { function: field, target: Some(Box::new(node)), args })?,
                    };
                } else {
                    node = self.node(at, Kind::Select { operand: Box::new(node), field, test: false })?;
                }
            } else if self.take("[") {
                let function = if self.take("?") { "_[?_]" } else { "_[_]" };
                self.also = if function == "_[_]" { Some("?") } else { None };
                let index = self.expression()?;
                self.expect("]")?;
                node = self.call(at, function, vec![node, index])?;
            } else if matches!(self.peek(), Token::Mark("{"))
                && let Some(name) = node.qualified()
            {
                node = self.structure(at, name)?;
            } else {
                return Ok(node);
            }
        }
    }

    fn bounded(&self, node: Expr) -> Parsed<Expr> {
        if node.depth > MAX_DEPTH { Err(too_deep(node.at)) } else { Ok(node) }
    }

    fn field_name(&mut self) -> Parsed<String> {
        match self.peek().clone() {
            Token::Ident(name) | Token::Quoted(name) => {
                self.position += 1;
                Ok(name)
            }
            Token::Mark("in") => {
                self.position += 1;
                Ok("in".to_owned())
            }
            _ => {
                let spot = &self.tokens[self.position];
                let shown = if spot.token == Token::End { "" } else { spot.text.as_str() };
                Err(Issue { at: spot.at, text: format!("Syntax error: no viable alternative at input '.{shown}'") })
            }
        }
    }

    fn primary(&mut self) -> Parsed<Expr> {
        let begins = match self.peek() {
            Token::Const(_) | Token::Ident(_) => true,
            Token::Mark(mark) => matches!(*mark, "." | "(" | "[" | "{"),
            Token::Quoted(_) | Token::End => false,
        };
        if !begins {
            return self.no_operand();
        }
        self.also = None;
        let spot = self.advance();
        match spot.token {
            Token::Const(Const::Int(i64::MIN)) => Err(Issue { at: spot.at, text: "invalid int literal".to_owned() }),
            Token::Const(value) => self.node(spot.at, Kind::Const(value)),
            Token::Ident(name) => self.named(spot.at, name),
            Token::Mark(".") => {
                let at = self.at();
                let name = self.field_name()?;
                self.named(at, name)
            }
            Token::Mark("(") => {
                let inner = self.expression()?;
                self.expect(")")?;
                Ok(inner)
            }
            Token::Mark("[") => self.list(spot.at),
            _ => self.map(spot.at),
        }
    }

    fn named(&mut self, at: usize, name: String) -> Parsed<Expr> {
        if RESERVED.contains(&name.as_str()) {
            return Err(Issue { at, text: format!("reserved identifier: {name}") });
        }
        if !matches!(self.peek(), Token::Mark("(")) {
            return self.node(at, Kind::Ident(name));
        }
        let open = self.advance().at;
        let args = self.arguments(")")?;
        match macros::expand(&mut self.maker, open, None, &name, &args)? {
            Some(expanded) => self.bounded(expanded),
            None => self.call(open, &name, args),
        }
    }

    fn arguments(&mut self, close: &'static str) -> Parsed<Vec<Expr>> {
        let mut args = Vec::new();
        self.also = Some(")");
        while !self.take(close) {
            args.push(self.expression()?);
            if !self.take(",") {
                self.expect(close)?;
                break;
            }
        }
        Ok(args)
    }

    fn list(&mut self, at: usize) -> Parsed<Expr> {
        let mut items = Vec::new();
        while !self.take("]") {
            let optional = self.take("?");
            items.push(Item { value: self.expression()?, optional });
            if !self.take(",") {
                self.close("]")?;
                break;
            }
        }
        self.node(at, Kind::List(items))
    }

    fn map(&mut self, at: usize) -> Parsed<Expr> {
        let mut entries = Vec::new();
        while !self.take("}") {
            let optional = self.take("?");
            let key = self.expression()?;
            self.expect(":")?;
            entries.push(Entry { key, value: self.expression()?, optional });
            if !self.take(",") {
                self.close("}")?;
                break;
            }
        }
        self.node(at, Kind::Map(entries))
    }

    fn structure(&mut self, at: usize, name: String) -> Parsed<Expr> {
        self.expect("{")?;
        let mut fields = Vec::new();
        while !self.take("}") {
            let optional = self.take("?");
            let name = self.field_name()?;
            let at = self.expect(":")?;
            fields.push(Field { name, at, value: self.expression()?, optional });
            if !self.take(",") {
                self.close("}")?;
                break;
            }
        }
        self.node(at, Kind::Struct { name, fields })
    }
}

fn too_deep(at: usize) -> Issue {
    Issue { at, text: format!("expression recursion limit exceeded: {MAX_DEPTH}") }
}
