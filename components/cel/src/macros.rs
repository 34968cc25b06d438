//! Macros: calls that are rewritten while parsing, most of them into loops.

use crate::ast::{ACCUMULATOR, Const, Expr, Fold, Item, Kind};
use crate::error::Issue;
use crate::parser::{Maker, Parsed};

/// What a call of a macro stands for; none if the call is of a function.
pub(crate) fn expand(
    make: &mut Maker,
    at: usize,
    target: Option<&Expr>,
    name: &str,
    args: &[Expr],
) -> Parsed<Option<Expr>> {
    let Some(target) = target else {
        return match (name, args) {
            ("has", [arg]) => has(make, at, arg).map(Some),
            _ => Ok(None),
        };
    };
    let mut make = Builder { make, at };
    let folded = match (name, args) {
        ("all", [var, condition]) => make.all(target, Vars::one(var)?, condition),
        ("all", [var, var2, condition]) => make.all(target, Vars::two(var, var2)?, condition),
        ("exists", [var, condition]) => make.exists(target, Vars::one(var)?, condition),
        ("exists", [var, var2, condition]) => make.exists(target, Vars::two(var, var2)?, condition),
        ("exists_one", [var, condition]) => make.exists_one(target, Vars::one(var)?, condition),
        ("exists_one" | "existsOne", [var, var2, condition]) => {
            make.exists_one(target, Vars::two(var, var2)?, condition)
        }
        ("map", [var, transform]) => make.list(target, Vars::one(var)?, None, transform),
        ("map", [var, filter, transform]) => make.list(target, Vars::one(var)?, Some(filter), transform),
        ("filter", [var, filter]) => make.list(target, Vars::one(var)?, Some(filter), var),
        ("transformList", [var, var2, transform]) => make.list(target, Vars::two(var, var2)?, None, transform),
        ("transformList", [var, var2, filter, transform]) => {
            make.list(target, Vars::two(var, var2)?, Some(filter), transform)
        }
        ("transformMap" | "transformMapEntry", [var, var2, transform]) => {
            make.map(target, Vars::two(var, var2)?, None, transform, name == "transformMap")
        }
        ("transformMap" | "transformMapEntry", [var, var2, filter, transform]) => {
            make.map(target, Vars::two(var, var2)?, Some(filter), transform, name == "transformMap")
        }
        ("optMap", [var, transform]) => make.opt_map(target, Vars::one(var)?, transform, true),
        ("optFlatMap", [var, transform]) => make.opt_map(target, Vars::one(var)?, transform, false),
        ("sortBy", [var, key]) => make.sort_by(target, Vars::one(var)?, key),
        _ => return Ok(None),
    };
    Ok(Some(folded))
}

fn has(make: &mut Maker, at: usize, arg: &Expr) -> Parsed<Expr> {
    match &arg.kind {
        Kind::Select { operand, field, test: false } => {
            Ok(make.node(at, Kind::Select { operand: operand.clone(), field: field.clone(), test: true }))
        }
        _ => Err(Issue { at: arg.at, text: "invalid argument to has() macro".to_owned() }),
    }
}

struct Vars {
    first: String,
    second: Option<String>,
}

impl Vars {
    fn one(var: &Expr) -> Parsed<Self> {
        Ok(Self { first: variable(var, "argument must be a simple name")?, second: None })
    }

    fn two(var: &Expr, var2: &Expr) -> Parsed<Self> {
        let wrong = "argument must be a simple variable name";
        let (first, second) = (variable(var, wrong)?, variable(var2, wrong)?);
        if first == second {
            return Err(Issue { at: var2.at, text: format!("duplicate variable name: {first}") });
        }
        Ok(Self { first, second: Some(second) })
    }
}

fn variable(node: &Expr, wrong: &str) -> Parsed<String> {
    match &node.kind {
        Kind::Ident(name) if name == "__result__" => {
            Err(Issue { at: node.at, text: "iteration variable overwrites accumulator variable".to_owned() })
        }
        Kind::Ident(name) => Ok(name.clone()),
        _ => Err(Issue { at: node.at, text: wrong.to_owned() }),
    }
}

struct Builder<'a> {
    make: &'a mut Maker,
    at: usize,
}

impl Builder<'_> {
    fn accumulator(&mut self) -> Expr {
        self.make.ident(self.at, ACCUMULATOR)
    }

    fn constant(&mut self, value: Const) -> Expr {
        self.make.constant(self.at, value)
    }

    fn call(&mut self, function: &str, args: Vec<Expr>) -> Expr {
        self.make.call(self.at, function, args)
    }

    fn fold(&mut self, range: &Expr, vars: Vars, parts: [Expr; 4]) -> Expr {
        let [init, condition, step, result] = parts;
        let (var, var2) = (vars.first, vars.second);
        let fold = Fold { range: range.clone(), var, var2, init, condition, step, result, bind: false };
        self.make.node(self.at, Kind::Fold(Box::new(fold)))
    }

    fn all(&mut self, range: &Expr, vars: Vars, wanted: &Expr) -> Expr {
        let init = self.constant(Const::Bool(true));
        let accumulator = self.accumulator();
        let condition = self.call("@not_strictly_false", vec![accumulator]);
        let accumulator = self.accumulator();
        let step = self.call("_&&_", vec![accumulator, wanted.clone()]);
        let result = self.accumulator();
        self.fold(range, vars, [init, condition, step, result])
    }

    fn exists(&mut self, range: &Expr, vars: Vars, wanted: &Expr) -> Expr {
        let init = self.constant(Const::Bool(false));
        let accumulator = self.accumulator();
        let not = self.call("!_", vec![accumulator]);
        let condition = self.call("@not_strictly_false", vec![not]);
        let accumulator = self.accumulator();
        let step = self.call("_||_", vec![accumulator, wanted.clone()]);
        let result = self.accumulator();
        self.fold(range, vars, [init, condition, step, result])
    }

    fn exists_one(&mut self, range: &Expr, vars: Vars, wanted: &Expr) -> Expr {
        let init = self.constant(Const::Int(0));
        let condition = self.constant(Const::Bool(true));
        let (accumulator, one) = (self.accumulator(), self.constant(Const::Int(1)));
        let more = self.call("_+_", vec![accumulator, one]);
        let step = self.if_or_same(wanted, more);
        let (accumulator, one) = (self.accumulator(), self.constant(Const::Int(1)));
        let result = self.call("_==_", vec![accumulator, one]);
        self.fold(range, vars, [init, condition, step, result])
    }

    fn if_or_same(&mut self, condition: &Expr, changed: Expr) -> Expr {
        let same = self.accumulator();
        self.call("_?_:_", vec![condition.clone(), changed, same])
    }

    fn list(&mut self, range: &Expr, vars: Vars, filter: Option<&Expr>, transform: &Expr) -> Expr {
        let init = self.make.node(self.at, Kind::List(Vec::new()));
        let condition = self.constant(Const::Bool(true));
        let item = Item { value: transform.clone(), optional: false };
        let one = self.make.node(self.at, Kind::List(vec![item]));
        let accumulator = self.accumulator();
        let mut step = self.call("_+_", vec![accumulator, one]);
        if let Some(filter) = filter {
            step = self.if_or_same(filter, step);
        }
        let result = self.accumulator();
        self.fold(range, vars, [init, condition, step, result])
    }

    fn map(&mut self, range: &Expr, vars: Vars, filter: Option<&Expr>, transform: &Expr, keyed: bool) -> Expr {
        let init = self.make.node(self.at, Kind::Map(Vec::new()));
        let condition = self.constant(Const::Bool(true));
        let mut args = vec![self.accumulator()];
        if keyed {
            args.push(self.make.ident(self.at, &vars.first));
        }
        args.push(transform.clone());
        let mut step = self.call("cel.@mapInsert", args);
        if let Some(filter) = filter {
            step = self.if_or_same(filter, step);
        }
        let result = self.accumulator();
        self.fold(range, vars, [init, condition, step, result])
    }

    /// `result` with the variable standing for `value`.
    fn bind(&mut self, vars: Vars, value: Expr, result: Expr) -> Expr {
        let range = self.make.node(self.at, Kind::List(Vec::new()));
        let condition = self.constant(Const::Bool(false));
        let step = self.make.ident(self.at, &vars.first);
        let fold = Fold { range, var: vars.first, var2: None, init: value, condition, step, result, bind: true };
        self.make.node(self.at, Kind::Fold(Box::new(fold)))
    }

    fn method(&mut self, target: &Expr, function: &str) -> Expr {
        let target = Some(Box::new(target.clone()));
        self.make.node(self.at, Kind::Call { function: function.to_owned(), target, args: Vec::new() })
    }

    fn opt_map(&mut self, target: &Expr, vars: Vars, transform: &Expr, wrap: bool) -> Expr {
        let present = self.method(target, "hasValue");
        let value = self.method(target, "value");
        let mut mapped = self.bind(vars, value, transform.clone());
        if wrap {
            mapped = self.call("optional.of", vec![mapped]);
        }
        let none = self.call("optional.none", Vec::new());
        self.call("_?_:_", vec![present, mapped, none])
    }

    /// The list sorted by the keys that belong to its items.
    fn sort_by(&mut self, target: &Expr, vars: Vars, key: &Expr) -> Expr {
        let keys = self.list(target, vars, None, key);
        let target = Some(Box::new(target.clone()));
        let function = "@sortByAssociatedKeys".to_owned();
        self.make.node(self.at, Kind::Call { function, target, args: vec![keys] })
    }
}
